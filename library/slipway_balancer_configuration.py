#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the configuration of the host's own HAProxy; see module_utils/slipway/host/balancer_file.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_balancer_configuration
short_description: Write the configuration of the HAProxy before applications of two instances
description:
  - Writes C(/etc/slipway/haproxy.cfg) with a frontend, a backend and two servers for each application with the strategy
    C(blue_green), once HAProxy itself has nothing against it. Neither starts nor reloads HAProxy.
  - A HAProxy with a configuration elsewhere is not touched.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says whether it would be written; with C(--diff) also how it differs. HAProxy is not asked.
options:
  applications:
    description: All of C(slipway_applications); those with other strategies are left out.
    type: dict
    required: true
  timeout_seconds:
    description: How long a request or its answer may stand still before HAProxy ends it.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Write HAProxy's configuration
  slipway_balancer_configuration:
    applications: "{{ slipway_applications }}"
    timeout_seconds: 600
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
applications:
  description: The applications behind this HAProxy.
  returned: success
  type: list
  elements: str
reason:
  description: Stable code of a refusal, e.g. balancer_file_foreign, balancer_file_invalid, balancer_ports_taken.
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

MODULE = MODULES["slipway_balancer_configuration"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
