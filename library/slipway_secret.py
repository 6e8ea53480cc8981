#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_secret
short_description: Set a secret, write its value to a file, or forget what is cached
description:
  - Sets the newest version of a secret at the first provider of C(secrets_chain), if it is not that already; a malformed secret is refused
    before anybody is asked. Or writes the value of a field to a file of mode 0600. Or forgets what is cached of all secrets.
  - Works with the C(secrets_*) variables of the host that the task is for. Runs on the controller and opens no connection to hosts. Use it with C(no_log).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be changed; providers are asked what they have.
options:
  name:
    description: Name of the secret, such as C(database/main). Needed unless O(state=flushed).
    type: str
  state:
    description: What to do.
    type: str
    default: present
    choices: [present, exported, flushed]
  fields:
    description: The fields of the secret. Use C(no_log).
    type: dict
  source:
    description: A JSON file with the fields, instead of O(fields).
    type: path
  type:
    description: What kind of secret it is, so that its fields are checked; as declared in C(secrets_declared) without it.
    type: str
    choices: [database, s3, broker, api_key, encryption_key, jwt]
  description:
    description: What the secret is for; as declared without it.
    type: str
    default: ""
  field:
    description: The field that is written to O(output); not needed where there is only one.
    type: str
  output:
    description: The file that is to have the value, with O(state=exported).
    type: path
"""

EXAMPLES = r"""
- name: Set the password of the shop's database
  slipway_secret:
    name: database/main
    type: database
    source: /run/user/1000/database.json
  no_log: true
  run_once: true
"""

RETURN = r"""
name:
  description: Name of the secret, C(*) for all.
  returned: success
  type: str
  sample: database/main
provider:
  description: Who was asked, null where several may have been.
  returned: success
  type: str
  sample: vault
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
