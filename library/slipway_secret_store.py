#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_secret_store
short_description: Make the encrypted store, fill it from a file, or give it another key
description:
  - Works on the encrypted store of C(secrets_chain), as the C(secrets_*) variables of the host describe it that the task is for. Everything is written by
    one rename, so that it is there whole or not at all. Runs on the controller and opens no connection to hosts.
  - The key is a file of mode 0600; C(SECRETS_KEY_PATH) and C(SECRETS_KEY) of the environment are read as for the lookup.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
options:
  state:
    description:
      - C(present) makes the key and an empty store, each where there is none. C(filled) takes the secrets of O(source) in as well. C(rekeyed) encrypts
        all of it with the key in O(new_key_path).
    type: str
    default: present
    choices: [present, filled, rekeyed]
  source:
    description: A C(.env) or JSON file. It is left as it is; remove it afterwards.
    type: path
  key_path:
    description: Where the key is, or is to be made; as in C(secrets_providers) without it.
    type: path
  new_key_path:
    description: Where the new key is, or is to be made. The old file stays.
    type: path
"""

EXAMPLES = r"""
- name: Encrypt what was in the old .env file
  slipway_secret_store:
    state: filled
    source: /srv/shop/.env
  run_once: true
"""

RETURN = r"""
path:
  description: Where the store is.
  returned: success
  type: str
  sample: /srv/slipway/secrets.enc
key_path:
  description: Where its key is from now on, null where the environment has it.
  returned: success
  type: str
  sample: /root/secrets.key
names:
  description: Names of the secrets that are new in the store, or have a new version.
  returned: success
  type: list
  elements: str
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
