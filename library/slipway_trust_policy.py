#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the first trust policy; what it says and means is in module_utils/slipway/controller/policy_draft.py and policy.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_trust_policy
short_description: Sign the first version of a trust policy
description:
  - The trust policy says whose keys may build and approve, and what each environment requires. It is signed by the keys of
    its own role C(root), and hosts get their copy at bootstrap.
  - A policy that is there and says the same is left alone, whatever its age. One that says something else is refused, as
    the hosts trust the old one.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Builds and signs the policy without keeping it. Keys must be there.
  diff_mode:
    support: none
options:
  path:
    description: Where the signed policy is kept, a DSSE envelope.
    type: path
    required: true
  keys:
    description:
      - The keys of the policy. There must be one of the role C(root) and one of the role C(builder).
      - Those of the role C(root) that have a C(path) sign it.
    type: list
    elements: dict
    required: true
    suboptions:
      holder:
        description: The person or machine whose key it is, by an id (no name and no address).
        type: str
        required: true
      role:
        description: What the key may do. C(root) signs trust policies, C(builder) releases, others approve.
        type: str
        required: true
      public_key:
        description: The public key, 64 lower-case hex digits; not needed where C(path) says where to read it.
        type: str
      path:
        description: Path of the private key, where it lives on this machine.
        type: path
  environments:
    description:
      - What each environment requires. Each value has C(require) (a list of C({role, threshold}), the approvals),
        C(distinct_holders), C(max_manifest_age_days), C(max_approval_age_days), C(rollback_depth) (how many releases back), and may have
        C(rollback_require) (a list of C({role, threshold}) too, who must authorize a rollback that goes back further).
        Without it nobody can.
    type: dict
    required: true
  thresholds:
    description: How many holders of a role must sign; 1 for a role that is not named.
    type: dict
    default: {}
  valid_days:
    description: How long the policy and its keys are valid, from now.
    type: int
    default: 730
"""

EXAMPLES = r"""
- name: Sign the trust policy
  slipway_trust_policy:
    path: .slipway/trust/trust-policy.dsse.json
    keys:
      - {holder: operator, role: root, path: .slipway/keys/root.pem}
      - {holder: build-server, role: builder, public_key: "{{ builder.public_key }}"}
    environments:
      prod:
        require: []
        distinct_holders: true
        max_manifest_age_days: 90
        max_approval_age_days: 7
        rollback_depth: 10
"""

RETURN = r"""
path:
  description: Where the signed policy is kept.
  returned: success
  type: str
  sample: .slipway/trust/trust-policy.dsse.json
version:
  description: The version of the policy.
  returned: success
  type: int
  sample: 1
digest:
  description: SHA-256 of the policy's payload.
  returned: success
  type: str
  sample: 0b1e7a4c1d9f6a53c0e7b8d2f4a6918c3e5d7f90123456789abcdef012345678
expires:
  description: When the policy expires.
  returned: success
  type: str
  sample: "2028-11-20T04:10:00Z"
environments:
  description: The environments that it knows.
  returned: success
  type: list
  elements: str
  sample: [prod, staging]
reason:
  description: Stable code of a refusal, e.g. policy_draft_invalid or policy_exists.
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
from ansible.module_utils.slipway.controller.policy_draft import Draft, establish
from ansible.module_utils.slipway.trust.keys import PublicKey, load_private_key
from ansible.module_utils.slipway.trust.policy import ROOT

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            "holder": {"type": "str", "required": True},
            "role": {"type": "str", "required": True},
            "public_key": {"type": "str", "no_log": False},
            "path": {"type": "path"},
        },
        "required_one_of": [("public_key", "path")],
    },
    "environments": {"type": "dict", "required": True},
    "thresholds": {"type": "dict", "default": {}},
    "valid_days": {"type": "int", "default": 730},
}


def public_half(key):
    """The entry as the policy takes it, its public key read from the private one where only that is given."""
    public = key["public_key"] or PublicKey.of(load_private_key(Path(key["path"]))).hex
    return {"holder": key["holder"], "role": key["role"], "public_key": public}


def handle(params, check):
    """Return the facts of the policy; sign it first when there is none."""
    path = Path(params["path"])
    described = {name: params[name] for name in ("environments", "thresholds", "valid_days")}
    draft = Draft.parse({**described, "keys": [public_half(key) for key in params["keys"]]})
    signing = [Path(key["path"]) for key in params["keys"] if key["role"] == ROOT and key["path"]]
    root_keys = [] if path.exists() else [load_private_key(key) for key in signing]
    signed = establish(draft, path, root_keys, now=int(time.time()), check=check)
    return {
        "changed": signed.changed,
        "path": str(path),
        "version": signed.policy.version,
        "digest": signed.policy.digest,
        "expires": signed.policy.expires,
        "environments": sorted(signed.policy.environments),
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
