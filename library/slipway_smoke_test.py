#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_smoke_test
short_description: Ask an application from outside
description:
  - Asks the declared C(smoke) probes from the controller, until they are well or patience ends.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  description:
    description: The application's entry of C(slipway_applications).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Ask the shop from outside
  slipway_smoke_test:
    application: shop
    description: "{{ slipway_applications.shop }}"
  register: smoke
"""

RETURN = r"""
passed:
  description: True, false, or null when nothing was asked.
  returned: always
  type: bool
outcome:
  description: success, failure or inconclusive.
  returned: always
  type: str
attempts:
  description: How many rounds were asked.
  returned: always
  type: int
detail:
  description: What was found.
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
