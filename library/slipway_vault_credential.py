#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_vault_credential
short_description: Issue a wrapped secret id of an AppRole, or receive one
description:
  - An administrator of Vault issues a file with a wrapping token in it, which opens once and for minutes; whoever is to log in receives it. What was opened on
    the way, or was swapped, is refused. Runs on the controller and opens no connection to hosts.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Issues and opens nothing.
options:
  state:
    description: C(issued) writes O(output); C(received) opens O(source) and puts role id and secret id where O(provider) looks for them.
    type: str
    default: issued
    choices: [issued, received]
  provider:
    description: The provider of C(secrets_providers) that it is about; not needed where C(secrets_chain) has only one of type C(vault).
    type: str
  owner:
    description: What names of ours at Vault begin with, C(vault_owner).
    type: str
    required: true
  roles:
    description: Who may do what, C(vault_roles).
    type: dict
    required: true
  token_path:
    description: The file with the administrator's token, mode 0600.
    type: path
    default: ~/.vault-token
  role:
    description: The role of O(roles) that is to log in; C(<role>-<each>) where there is one for each of several.
    type: str
  wrap_seconds:
    description: For how long the file can be opened.
    type: int
    default: 300
  output:
    description: Where the file for the receiver is written, with mode 0600.
    type: path
  source:
    description: The file that was sent. It is removed once it was opened.
    type: path
"""

EXAMPLES = r"""
- name: Issue a secret id for the deployer
  slipway_vault_credential:
    owner: "{{ vault_owner }}"
    roles: "{{ vault_roles }}"
    role: deployer
    output: /run/user/1000/deployer.json
  run_once: true
"""

RETURN = r"""
role:
  description: Whose secret id it is; null in check mode where that is not known yet.
  returned: success
  type: str
path:
  description: The file that was written.
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
