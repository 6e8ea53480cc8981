#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the unit file of an application; see module_utils/slipway/host/unit_file.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_unit
short_description: Write the unit of an application
description:
  - Writes the systemd unit that the key C(service) of an application describes, with a sandbox and limits.
  - With the strategy C(blue_green) it is a template, and each of its two instances has a file with its port beside it.
  - Never replaces or hides a unit that Slipway did not write for the same application. Neither starts nor restarts it.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be written; with C(--diff) also how it differs.
options:
  application:
    description: Name of the application, a key of C(slipway_applications).
    type: str
    required: true
  description:
    description: The application's entry of C(slipway_applications). It has a C(service).
    type: dict
    required: true
  memory_max:
    description: MemoryMax of an application that says none, such as C(512M), C(80%) or C(infinity).
    type: str
    required: true
  cpu_quota:
    description: CPUQuota of an application that says none, such as C(150%), or C(infinity).
    type: str
    required: true
  tasks_max:
    description: TasksMax of an application that says none.
    type: int
    required: true
  stop_timeout_seconds:
    description: TimeoutStopSec of an application that says none.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Write the shop's unit
  slipway_unit:
    application: shop
    description: "{{ slipway_applications.shop }}"
    memory_max: 1G
    cpu_quota: 100%
    tasks_max: 512
    stop_timeout_seconds: 30
  register: unit

- name: Let systemd read it
  ansible.builtin.systemd_service:
    name: shop.service
    enabled: true
    daemon_reload: "{{ unit.reload_needed }}"
"""

RETURN = r"""
path:
  description: The unit file.
  returned: success
  type: str
units:
  description: What is started at boot, the unit or both instances of a template.
  returned: success
  type: list
  elements: str
reload_needed:
  description: Whether systemd has yet to read the file.
  returned: success
  type: bool
message:
  description: What an operator must know, empty when nothing. A unit that runs goes on as it was started.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. unit_foreign, application_invalid, application_limits_invalid.
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

MODULE = MODULES["slipway_unit"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
