# SPDX-License-Identifier: GPL-3.0-or-later
"""The domain of Slipway: what a release is, who may ask for one, and how a host comes to run it.

Seven rooms, each of which imports only itself and those before it: base, trust, application, host, watch, secrets, controller. The same files
serve the Ansible modules, the controller's plugins and, without the last two rooms, the resident package on a host. They
import the standard library, `cryptography` and each other; only the doors `_module.py` and `_action.py` import Ansible.
"""

__version__ = "0.1.0"
