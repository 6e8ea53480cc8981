# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain of Slipway: what a release is, who may ask for one, and how a host comes to run it.

The same files serve the Ansible modules, the controller's plugins and the resident package on a host. They import the
standard library, `cryptography` and each other; only `_module.py` imports Ansible.
"""

__version__ = "0.1.0"
