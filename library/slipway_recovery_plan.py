#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_recovery_plan
short_description: Which runs of this controller are dead
description:
  - Names this controller and its runs that did not end, so that hosts settle what those left open before their leases end.
  - No run is begun. Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: The same; nothing is changed in either mode.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: The environment of the hosts.
    type: str
    required: true
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Find out which of our runs are dead
  slipway_recovery_plan:
    application: shop
    environment: prod
    state_directory: .slipway
  run_once: true
  register: plan
"""

RETURN = r"""
run:
  description: What C(slipway_release) takes as its run, with the state C(recovered).
  returned: success
  type: dict
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
