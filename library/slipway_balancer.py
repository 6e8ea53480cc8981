#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to a balancer's servers; see module_utils/slipway/host/balancer.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_balancer
short_description: Take a host out of its balancer, or in again
description:
  - Tells a running HAProxy over its socket whether a server gets requests. Runs on the host of the balancer, so mostly with
    C(delegate_to); that host needs nothing of Slipway but python3.
  - What is told is gone when HAProxy is reloaded. Its configuration is not touched.
  - A server in HAProxy's state C(maint) stays as it is, since a failover or a person took it out (M(slipway_failover)).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says how the server is, and whether something would be told to HAProxy.
options:
  backend:
    description: The backend of HAProxy that the server belongs to.
    type: str
    required: true
  server:
    description: The server, named as the host is in the inventory.
    type: str
    required: true
  state:
    description:
      - C(drained) gives it no new requests and waits for those that are open; what is open after C(drain_seconds) goes on.
      - C(ready) gives it its part of them, and fails unless HAProxy finds it up.
    type: str
    choices: [drained, ready]
    required: true
  weight:
    description: With C(ready), its weight beside the other servers', from 0 to 256. Without it the weight stays.
    type: int
  drain_seconds:
    description: With C(drained), how long open requests are waited for.
    type: int
    default: 30
  socket:
    description: Where HAProxy takes orders, its C(stats socket) with C(level admin).
    type: path
    default: /run/haproxy/admin.sock
"""

EXAMPLES = r"""
- name: Take this host out of its balancer
  slipway_balancer:
    backend: shop
    server: "{{ inventory_hostname }}"
    state: drained
    drain_seconds: 60
  delegate_to: balancer-1
"""

RETURN = r"""
status:
  description: What HAProxy says of the server, such as UP, DOWN, DRAIN or MAINT.
  returned: success
  type: str
weight:
  description: Its weight.
  returned: success
  type: int
sessions:
  description: How many requests are open or wait for it.
  returned: success
  type: int
is_held:
  description: Whether the server was taken out by a failover or a person, so that nothing was told.
  returned: success
  type: bool
message:
  description: The same in words.
  returned: success
  type: str
reason:
  description: Stable code of a refusal or failure, e.g. balancer_silent, balancer_server_missing, server_not_up.
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

MODULE = MODULES["slipway_balancer"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
