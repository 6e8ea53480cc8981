#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the signing of a trust policy's next version; see module_utils/slipway/controller/trust_chain.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_trust_signature
short_description: Sign a draft of the trust policy, or take one that others have signed
description:
  - Adds the signature of one root holder to a draft. Copies of one draft that several holders have signed are put together.
  - Once the root threshold of the version before and that of the draft itself are met, it becomes the version in force
    here. Hosts get it by C(playbooks/trust.yml).
  - Runs on a holder's own machine too. It needs the draft, the holder's key and a copy of the trust policy in force.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what the draft changes and who must still sign. Needs no key.
  diff_mode:
    support: full
    description: Says in words what the draft changes.
options:
  trust_policy:
    description: The trust policy in force here.
    type: path
    required: true
  file:
    description: The draft, or a version that is signed already.
    type: path
    required: true
  key:
    description:
      - Whose signature is added, by the path of a private key (PKCS 8 PEM) or C(agent), C(agent:<comment or fingerprint>) for one
        that an ssh-agent keeps. Empty to add none.
    type: str
    default: ""
  passphrase:
    description: Opens an encrypted private key.
    type: str
  digest:
    description: SHA-256 of the payload that the signer was shown. A file that says something else by now is refused.
    type: str
"""

EXAMPLES = r"""
- name: Sign the draft
  slipway_trust_signature:
    trust_policy: .slipway/trust/trust-policy.dsse.json
    file: 2.draft.dsse.json
    key: agent
"""

RETURN = r"""
version:
  description: The version that the file has.
  returned: success
  type: int
  sample: 2
digest:
  description: SHA-256 of its payload.
  returned: success
  type: str
  sample: 0b1e7a4c1d9f6a53c0e7b8d2f4a6918c3e5d7f90123456789abcdef012345678
expires:
  description: When it expires.
  returned: success
  type: str
  sample: "2028-11-20T04:10:00Z"
differences:
  description: In words, what it says otherwise than the version before.
  returned: success
  type: list
  elements: str
words:
  description: The same as text, a line for each. All that the policy says, when the file is the version in force here.
  returned: success
  type: str
lacking:
  description: Who must still sign, empty when nobody. Then it is the version in force here.
  returned: success
  type: list
  elements: str
  sample: ["1 more by the root of version 1, of root-2, root-3"]
reason:
  description: Stable code of a refusal, e.g. root_key_unknown or policy_draft_version.
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

import time
from pathlib import Path

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.controller.signer import open_key
from ansible.module_utils.slipway.controller.trust_chain import TrustChain
from ansible.module_utils.slipway.trust.rotation import described

ARGUMENT_SPEC = {
    "trust_policy": {"type": "path", "required": True},
    "file": {"type": "path", "required": True},
    "key": {"type": "str", "default": "", "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
    "digest": {"type": "str"},
}


def signing_key(params):
    """The key to sign with, as a list; none where none was asked for."""
    if not params["key"]:
        return []
    among = TrustChain(Path(params["trust_policy"])).signers_of(Path(params["file"]))
    return [open_key(params["key"], params["passphrase"].encode() if params["passphrase"] else None, among)]


def handle(params, check):
    """Return what the draft changes and who must still sign it; sign it first."""
    step = TrustChain(Path(params["trust_policy"])).sign(
        Path(params["file"]),
        [] if check else signing_key(params),
        now=int(time.time()),
        digest=params["digest"],
        check=check,
    )
    return {
        "changed": step.changed,
        "version": step.policy.version,
        "digest": step.policy.digest,
        "expires": step.policy.expires,
        "differences": list(step.differences),
        "lacking": list(step.lacking),
        "words": "\n".join(step.differences or described(step.policy)),
        "diff": {"prepared": "".join(f"{line}\n" for line in step.differences)},
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
