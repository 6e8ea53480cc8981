#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_secret_info
short_description: Say which secrets there are and which are needed
description:
  - Lists the names at every provider of C(secrets_chain) and those of C(secrets_declared), with type, description and version and without
    any value; with O(name) it says which fields that secret must have.
  - Works with the C(secrets_*) variables of the host that the task is for. Runs on the controller and opens no connection to hosts.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: It changes nothing.
options:
  name:
    description: Only say what this secret must have; nobody is asked.
    type: str
  type:
    description: What kind of secret that is; as declared without it.
    type: str
    choices: [database, s3, broker, api_key, encryption_key, jwt]
  is_typed:
    description: The fields of O(name) are about to be typed, so refuse where this run has no terminal to ask at.
    type: bool
    default: false
  declared_only:
    description: Only say what is declared; nobody is asked.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: List which secrets are declared
  slipway_secret_info:
    declared_only: true
  run_once: true
  register: secrets
"""

RETURN = r"""
secrets:
  description: Each secret with C(name), C(provider) (null where it is missing), C(type), C(version) and C(description).
  returned: success
  type: list
  elements: dict
table:
  description: The same for people.
  returned: success
  type: str
example:
  description: A C(.env.example) with every variable that is declared and no value.
  returned: success
  type: str
fields:
  description: The fields that the secret O(name) must have.
  returned: success
  type: list
  elements: str
  sample: [host, username, password, database]
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
