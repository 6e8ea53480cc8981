#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_gate
short_description: Hold a run until somebody says how to go on
description:
  - C(held) waits until the run is promoted or aborted, by somebody at its terminal or by another process of the same controller, or until
    the time is over.
  - C(promoted) and C(aborted) say so to a run that is held; to any other they are refused.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides nothing. A run in check mode is never held.
options:
  state:
    description: What is to be.
    type: str
    required: true
    choices: [held, promoted, aborted]
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  run_id:
    description: The run; empty for the only one that is held (C(promoted), C(aborted)).
    type: str
    default: ""
  wave:
    description: The wave after which it is held (C(held)).
    type: int
    default: 0
  why:
    description: Why, for people (C(held)).
    type: str
    default: ""
  seconds:
    description: How long (C(held)).
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Let the run go on
  slipway_gate:
    state: promoted
    state_directory: .slipway
    run_id: run_20261121T040641Z_3f09ab
"""

RETURN = r"""
decision:
  description: C(promoted), C(aborted) or C(expired).
  returned: success
  type: str
decided_by:
  description: Who decided.
  returned: success
  type: str
run_id:
  description: The run.
  returned: success
  type: str
wave:
  description: The wave after which it was held.
  returned: success
  type: int
msg:
  description: The decision, for people.
  returned: always
  type: str
reason:
  description: Stable code of a refusal.
  returned: failure
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
