#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to a failover at one balancer; see module_utils/slipway/host/server_group.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_failover
short_description: Move requests away from servers of a balancer, or back
description:
  - Tells a running HAProxy over its socket which servers get no requests. Runs on the host of the balancer, so mostly with
    C(delegate_to); that host needs nothing of Slipway but python3.
  - What is taken out gets no new requests, then those that are open are waited for, then it is in HAProxy's state C(maint), in which a
    rollout leaves it.
  - Without O(out) and O(admitted) it only looks.
  - What is told is gone when HAProxy is started anew. Its configuration is not touched.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says how the servers are, and whether something would be told to HAProxy. Capacity is judged as it is now.
options:
  backend:
    description: The backend of HAProxy that the servers belong to.
    type: str
    required: true
  out:
    description: The servers that get no requests, named as the hosts are in the inventory.
    type: list
    elements: str
    default: []
  admitted:
    description: The servers that get requests again if they were taken out; others stay as they are.
    type: list
    elements: str
    default: []
  healthy_min:
    description: How many other servers have to be up before any is taken out.
    type: int
    default: 1
  drain_seconds:
    description: How long open requests are waited for. What is open after that goes on.
    type: int
    default: 30
  socket:
    description: Where HAProxy takes orders, its C(stats socket) with C(level admin).
    type: path
    default: /run/haproxy/admin.sock
"""

EXAMPLES = r"""
- name: Move requests away from the hosts of a region
  slipway_failover:
    backend: shop
    out: [eu-1, eu-2]
    admitted: [us-1, us-2]
    healthy_min: 2
  delegate_to: balancer-1
"""

RETURN = r"""
servers:
  description: "What HAProxy says of each server of the backend, as C({name: {status, weight, sessions}})."
  returned: success
  type: dict
held:
  description: The servers that get nothing since they were taken out.
  returned: success
  type: list
  elements: str
serving:
  description: The servers that get requests.
  returned: success
  type: list
  elements: str
not_up:
  description: Those of O(admitted) that HAProxy does not find up. They get requests as soon as it does.
  returned: success
  type: list
  elements: str
message:
  description: The same in words.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. capacity_too_low, failover_running, balancer_silent, balancer_server_missing.
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

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.host.options import MODULES

MODULE = MODULES["slipway_failover"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
