#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_failover_report
short_description: How a failover ended
description:
  - Judges a failover by what every balancer answered after it was told. Fails unless each of them does what was asked, since one that does not
    may send requests where none should go.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be done.
options:
  region:
    description: The region.
    type: str
    required: true
  back:
    description: Whether requests go to it again, instead of away from it.
    type: bool
    default: false
  orders:
    description: What each balancer was to be told, as C(slipway_failover_plan) says.
    type: list
    elements: dict
    required: true
  standings:
    description: What C(slipway_failover) answered when it told them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how it ended
  slipway_failover_report:
    region: eu
    orders: "{{ plan.orders }}"
    standings: "{{ told.results }}"
  run_once: true
"""

RETURN = r"""
as_asked:
  description: Whether every balancer does what was asked.
  returned: success
  type: bool
balancers:
  description: >-
    What became of it at each balancer: C(away), C(back), C(would go away), C(would go back), C(still sent), C(still away), C(not well), C(refused)
    or C(unknown).
  returned: success
  type: dict
reason:
  description: C(not_as_asked).
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
