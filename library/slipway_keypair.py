#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to an Ed25519 key pair; what a key is and which are refused is in module_utils/slipway/trust/keys.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_keypair
short_description: Make an Ed25519 key pair for signing, once
description:
  - Makes a private key (PKCS 8 PEM, mode 0600, in a directory of mode 0700) where there is none, and returns the public
    half. A key that is there is never overwritten, only read.
  - A private key belongs on the machine of its holder. A host or a controller that deploys needs none of them.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says whether a key would be made; its public half is not known then.
  diff_mode:
    support: none
options:
  path:
    description: Where the private key is kept.
    type: path
    required: true
  passphrase:
    description: Encrypts the private key, or opens one that is encrypted.
    type: str
"""

EXAMPLES = r"""
- name: Make the builder's key pair
  slipway_keypair:
    path: .slipway/keys/builder.pem
  register: __builder

- name: Show the public half, for the trust policy
  ansible.builtin.debug:
    var: __builder.public_key
"""

RETURN = r"""
path:
  description: Where the private key is kept.
  returned: success
  type: str
  sample: .slipway/keys/builder.pem
public_key:
  description: The public key, 64 hex digits; null in check mode when the key does not exist yet.
  returned: success
  type: str
  sample: 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c
keyid:
  description: The name of the key as securesystemslib computes it; null in check mode when the key does not exist yet.
  returned: success
  type: str
  sample: 9f2b4cbb1a1a7f2a0ec9d3f2c4a6c0f9c4d2b6f07a5c2e9b8a1d3c5e7f901b23
reason:
  description: Stable code of a refusal, e.g. key_invalid or key_exposed.
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
from ansible.module_utils.slipway.trust.keys import PublicKey, generate_private_key, load_private_key

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "passphrase": {"type": "str", "no_log": True},
}


def handle(params, check):
    """Return the key's facts; make the key first when it is missing."""
    path = Path(params["path"])
    passphrase = params["passphrase"].encode() if params["passphrase"] else None
    missing = not path.exists()
    if missing and check:
        return {"changed": True, "path": str(path), "public_key": None, "keyid": None}
    private = generate_private_key(path, passphrase) if missing else load_private_key(path, passphrase)
    public = PublicKey.of(private)
    return {"changed": missing, "path": str(path), "public_key": public.hex, "keyid": public.keyid}


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
