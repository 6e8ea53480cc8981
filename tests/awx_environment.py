# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX says to a job by the environment without being asked."""

from __future__ import annotations

# AWX 24.6.1 gives each job those of its settings that begin with ANSIBLE_: these, unless an administrator changed them.
SETTINGS = {
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_PARAMIKO_RECORD_HOST_KEYS": "False",
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
}
