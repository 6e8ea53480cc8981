#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_secret_age_info
short_description: How old secrets are, and how old they may get
description:
  - Asks the providers of C(secrets_chain) when the newest version of each secret was made, of all that C(secrets_declared) or C(secrets_rotation) names. Where
    a provider does not know, the access log of this controller tells when it was set. No value is read.
  - Works with the C(secrets_*) variables of the host that the task is for. Runs on the controller and opens no connection to hosts.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Changes nothing in either mode.
options: {}
"""

EXAMPLES = r"""
- name: Find out what is overdue
  slipway_secret_age_info: {}
  run_once: true
  register: ages
"""

RETURN = r"""
ages:
  description:
    - The secrets by name, each as {name, provider, version, written, age_seconds, max_age_seconds, made_by, state, rotation}. The state is fresh, due, overdue,
      unknown, missing or undeclared; rotation is how far one is that was left open, else null.
  returned: success
  type: list
  elements: dict
overdue:
  description: The names of those that are older than they may get.
  returned: success
  type: list
  elements: str
environment:
  description: The environment that they are of.
  returned: success
  type: str
  sample: prod
table:
  description: The same for people.
  returned: success
  type: str
metrics:
  description: The same for node_exporter's textfile collector; names, never values.
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
