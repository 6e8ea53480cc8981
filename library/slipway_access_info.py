#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_access_info
short_description: Say who asked for which secret
description:
  - Reads the access log of this controller, after checking that no line of it was changed. Runs on the controller and opens no connection.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: It changes nothing.
options:
  name:
    description: Only accesses to this secret.
    type: str
  by:
    description: Only accesses by this person or machine.
    type: str
  since:
    description: Only accesses from this time on, such as C(2026-11-22T00:00:00Z).
    type: str
  through:
    description: Only accesses up to this time.
    type: str
"""

EXAMPLES = r"""
- name: Find out who had the password of the database
  slipway_access_info:
    name: database/main
    since: "2026-11-01T00:00:00Z"
  run_once: true
  register: accesses
"""

RETURN = r"""
records:
  description: The accesses, oldest first, as they stand in the log.
  returned: success
  type: list
  elements: dict
table:
  description: The same for people.
  returned: success
  type: str
reason:
  description: Stable code of a refusal.
  returned: refusal
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
