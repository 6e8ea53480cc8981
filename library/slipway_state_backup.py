#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_state_backup
short_description: Back the state of a controller up, or put it back
description:
  - Writes all that a controller remembers to one file, as it is at one moment, or replaces it by such a file. The file is the same for SQLite and
    PostgreSQL (C(slipway_state_url)), so that a state moves from one to the other.
  - No key is in it, and nothing of the catalogue. Runs on the controller and opens no connection to hosts.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Checks the same and writes nothing.
options:
  state:
    description: C(written) writes a new file; C(restored) puts one back.
    type: str
    choices: [written, restored]
    required: true
  path:
    description: The file. One that is there is never written over.
    type: path
    required: true
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  confirmed:
    description: Whether what is there may be lost to what is restored.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Back the state up
  slipway_state_backup:
    state: written
    path: /mnt/backup/slipway/state-2026-11-22.backup
    state_directory: .slipway
  run_once: true
"""

RETURN = r"""
controller_id:
  description: The id of the controller whose state it is.
  returned: success
  type: str
runs:
  description: The number of runs in it.
  returned: success
  type: int
hosts:
  description: The number of hosts in it.
  returned: success
  type: int
checkpoints:
  description: The number of checkpoints of histories in it.
  returned: success
  type: int
accesses:
  description: The number of accesses to secrets in it.
  returned: success
  type: int
msg:
  description: The same for people, and what to do next.
  returned: always
  type: str
reason:
  description: Stable code of a refusal.
  returned: refusal
  type: str
expected:
  description: What should have been there.
  returned: refusal
  type: str
found:
  description: What was there instead.
  returned: refusal
  type: str
remedy:
  description: What to do.
  returned: refusal
  type: str
"""

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
