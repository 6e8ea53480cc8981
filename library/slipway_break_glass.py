#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_break_glass
short_description: Seal, open or shut the emergency access to a Vault
description:
  - The secret id of the role C(emergency) is kept in two halves by two holders. Together they open it, once and for minutes; every step is a line of the access
    log with its reason. Runs on the controller and opens no connection to hosts. docs/runbooks/break-glass.md has the steps.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Seals, opens and shuts nothing.
options:
  state:
    description:
      - C(sealed) makes both halves anew and all older ones worthless; it takes an administrator's token. C(opened) leaves a token and a file of variables in
        O(directory). C(shut) ends it, and proves that.
    type: str
    required: true
    choices: [sealed, opened, shut]
  provider:
    description: The provider of C(secrets_providers) that it is about; not needed where C(secrets_chain) has only one of type C(vault).
    type: str
  owner:
    description: What names of ours at Vault begin with, C(vault_owner); needed to seal.
    type: str
  roles:
    description: Who may do what, C(vault_roles); needed to seal.
    type: dict
  token_path:
    description: The file with the administrator's token, mode 0600.
    type: path
    default: ~/.vault-token
  first:
    description: The file of the first half.
    type: path
  second:
    description: The file of the second half.
    type: path
  directory:
    description: Where an opening leaves what it gives, in memory; it must not be there yet.
    type: path
  reason:
    description: Why, for whoever reads the access log.
    type: str
"""

EXAMPLES = r"""
- name: Open the emergency access
  slipway_break_glass:
    state: opened
    first: /media/first/half.json
    second: /media/second/half.json
    directory: /run/user/1000/slipway-break-glass
    reason: The deployer's AppRole is locked out and the database password is needed
  run_once: true
"""

RETURN = r"""
seal:
  description: The id of the seal, which is in the access log and in Vault's audit log; null in check mode.
  returned: success
  type: str
variables:
  description: A file of extra variables by which every command asks with the emergency token; null but for C(opened).
  returned: success
  type: str
minutes:
  description: After how many minutes it ends by itself; null but for C(opened).
  returned: success
  type: int
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
