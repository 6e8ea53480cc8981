#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_gate
short_description: Hold a run until somebody says how to go on
description:
  - Without O(decision) the run is held until it is promoted or aborted, by somebody at its terminal or by another process of the same
    controller, or until the time is over.
  - With O(decision) this says so to a run that is held, and waits until that run has read it; for any other it is refused.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides nothing, and refuses what would be refused. A run in check mode is never held.
options:
  decision:
    description: How the run that is held goes on, C(promote) to the next wave, or C(abort) and back everywhere. Without it, hold the run.
    type: str
    choices: [promote, abort]
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  run_id:
    description: The run; empty for the only one that is held and is of what the next options say.
    type: str
    default: ""
  application:
    description: What the run that is decided on deploys; empty for any application.
    type: str
    default: ""
  release_id:
    description: What the run that is decided on deploys; empty for any release.
    type: str
    default: ""
  environment:
    description: Where the run that is decided on deploys; empty for anywhere.
    type: str
    default: ""
  run_group:
    description: What joins the run that is decided on with this one, such as the number of a workflow job of AWX; empty for nothing. Not asked with O(run_id).
    type: str
    default: ""
  wave:
    description: The wave after which it is held.
    type: int
    default: 0
  why:
    description: Why, for people.
    type: str
    default: ""
  seconds:
    description: How long.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: Let the run go on
  slipway_gate:
    decision: promote
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
