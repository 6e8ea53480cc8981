#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to a key that signs; where it can be is in module_utils/slipway/controller/signer.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_key_info
short_description: Say which public key a signing key has
description:
  - Reads a private key (PKCS 8 PEM), or asks the ssh-agent for one of its keys, and returns the public half, which whoever keeps the
    trust policy needs. Nothing is signed and nothing is made.
  - Of an encrypted key without its passphrase it says only that it is encrypted.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
options:
  key:
    description:
      - Path of a private key that only its owner can read, C(agent) for the only Ed25519 key of the ssh-agent, or C(agent:) and the
        comment or the fingerprint of one.
    type: str
    required: true
  passphrase:
    description: Opens the key when it is encrypted.
    type: str
"""

EXAMPLES = r"""
- name: Ask the ssh-agent for the public half of my key
  slipway_key_info:
    key: agent:ann@laptop
  register: __key
"""

RETURN = r"""
key:
  description: Where the key is, as it was asked.
  returned: success
  type: str
  sample: agent:ann@laptop
encrypted:
  description: Whether it is a file that needs a passphrase.
  returned: success
  type: bool
public_key:
  description: The public key, 64 hex digits; null for an encrypted key without its passphrase.
  returned: success
  type: str
  sample: 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c
keyid:
  description: The name of the key as securesystemslib computes it; null for an encrypted key without its passphrase.
  returned: success
  type: str
  sample: 9f2b4cbb1a1a7f2a0ec9d3f2c4a6c0f9c4d2b6f07a5c2e9b8a1d3c5e7f901b23
reason:
  description: Stable code of a refusal, e.g. key_invalid or agent_key_unknown.
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

from pathlib import Path

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.controller.signer import is_in_agent, open_key
from ansible.module_utils.slipway.trust.keys import PublicKey, is_encrypted

ARGUMENT_SPEC = {
    "key": {"type": "str", "required": True, "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
}


def handle(params, check):
    """Return the key's facts; an encrypted one is opened only with a passphrase."""
    where = params["key"]
    encrypted = not is_in_agent(where) and is_encrypted(Path(where))
    facts = {"changed": False, "key": where, "encrypted": encrypted, "public_key": None, "keyid": None}
    if encrypted and not params["passphrase"]:
        return facts
    public = PublicKey.of(open_key(where, params["passphrase"].encode() if encrypted else None))
    return {**facts, "public_key": public.hex, "keyid": public.keyid}


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
