#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_vault_access
short_description: Bring policies and AppRoles to a Vault
description:
  - Compares what Vault has with C(vault_roles), and makes it so. What Vault has under names of ours and the data have not is only named, unless its
    removal is asked for. Runs on the controller and opens no connection to hosts.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be changed; with C(--diff) how.
options:
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
  leftovers:
    description: What becomes of policies and AppRoles of ours that O(roles) do not have (any more).
    type: str
    default: kept
    choices: [kept, removed]
"""

EXAMPLES = r"""
- name: Let builder, deployer and hosts have at Vault what they need, and nothing else
  slipway_vault_access:
    owner: "{{ vault_owner }}"
    roles: "{{ vault_roles }}"
  run_once: true
"""

RETURN = r"""
changes:
  description: What was done, each a C(kind) (auth method, policy or approle), a C(name) and an C(action) (create, update or remove).
  returned: success
  type: list
  elements: dict
left_over:
  description: Names that are there, are ours and are in no data; they were left alone.
  returned: success
  type: list
  elements: str
table:
  description: The changes for people.
  returned: success
  type: str
diff:
  description: Before and after of each change.
  returned: success
  type: list
  elements: dict
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
