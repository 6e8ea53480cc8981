#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_failover_plan
short_description: What every balancer is to be told of a region
description:
  - Decides who gets no requests any more, and who gets them again, at every balancer of a region, from what C(slipway_failover) found there.
  - Refuses, before anything is told, what would leave too few hosts, and what would come between a run's switch and its end.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing in either mode.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  region:
    description: The region.
    type: str
    default: ""
  back:
    description: Whether requests go to it again, instead of away from it.
    type: bool
    default: false
  forced:
    description: Go on beside a run that has switched a host and not ended.
    type: bool
    default: false
  readmitted:
    description: Let other regions in again that were failed over themselves.
    type: bool
    default: false
  region_order:
    description: The regions, which are groups of the inventory.
    type: list
    elements: str
    required: true
  groups:
    description: The groups of the inventory with their hosts.
    type: dict
    required: true
  environments:
    description: The environment of each host of the run.
    type: dict
    required: true
  everyone:
    description: The environment of each host of the inventory; one that is in the run's and in a region, but not in the run, is refused.
    type: dict
    required: true
  balancers:
    description: The C(release_balancers) of each host.
    type: dict
    required: true
  answers:
    description: What C(slipway_application_info) answered, by host; nothing where a host did not.
    type: dict
    required: true
  standings:
    description: What C(slipway_failover) answered at each balancer.
    type: list
    elements: dict
    required: true
  healthy_min:
    description: How many hosts of the other regions, or which part of them, have to be up at each balancer; at least one has.
    type: str
    default: "0"
"""

EXAMPLES = r"""
- name: Decide what every balancer is told
  slipway_failover_plan:
    application: shop
    state_directory: .slipway
    region: eu
    region_order: [eu, us]
    groups: "{{ groups }}"
    environments: {eu-1: prod, us-1: prod}
    everyone: {eu-1: prod, us-1: prod, eu-test: staging}
    balancers: {eu-1: [{host: balancer-1, backend: shop}], us-1: [{host: balancer-1, backend: shop}]}
    answers: {}
    standings: "{{ looked.results }}"
  run_once: true
"""

RETURN = r"""
orders:
  description: What each balancer is told, as C({host, backend, socket, drain_seconds, hosts, out, admitted, healthy_min, returning}).
  returned: success
  type: list
  elements: dict
message:
  description: What will be done, in a sentence, and whether the controller's memory could not be read.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. region_unknown, region_incomplete, region_readmitted, capacity_too_low, locked.
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
