#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the first trust policy; what it says and means is in module_utils/slipway/policy_draft.py and policy.py."""

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
    description: Builds and signs the policy without keeping it.
  diff_mode:
    support: none
options:
  path:
    description: Where the signed policy is kept, a DSSE envelope.
    type: path
    required: true
  root_keys:
    description: Paths of the private keys that sign it, as many as the role C(root) has for its threshold.
    type: list
    elements: path
    required: true
  keys:
    description: The keys of the policy. There must be one of the role C(root) and one of the role C(builder).
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
        description: The public key, 64 lower-case hex digits.
        type: str
        required: true
  environments:
    description:
      - What each environment requires. Each value has C(require) (a list of C({role, threshold}), the approvals),
        C(distinct_holders), C(max_manifest_age_days), C(max_approval_age_days) and C(rollback_depth) (how many releases back).
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
    root_keys: [.slipway/keys/root.pem]
    keys:
      - {holder: operator, role: root, public_key: "{{ root.public_key }}"}
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
from ansible.module_utils.slipway.keys import load_private_key
from ansible.module_utils.slipway.policy_draft import Draft, establish

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "root_keys": {"type": "list", "elements": "path", "required": True, "no_log": False},
    "keys": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "no_log": False,
        "options": {
            "holder": {"type": "str", "required": True},
            "role": {"type": "str", "required": True},
            "public_key": {"type": "str", "required": True, "no_log": False},
        },
    },
    "environments": {"type": "dict", "required": True},
    "thresholds": {"type": "dict", "default": {}},
    "valid_days": {"type": "int", "default": 730},
}


def handle(params, check):
    """Return the facts of the policy; sign it first when there is none."""
    described = {name: params[name] for name in ("keys", "environments", "thresholds", "valid_days")}
    root_keys = [load_private_key(Path(path)) for path in params["root_keys"]]
    path = Path(params["path"])
    signed = establish(Draft.parse(described), path, root_keys, now=int(time.time()), check=check)
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
