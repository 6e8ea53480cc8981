#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the trust policy and its next version; see module_utils/slipway/controller/trust_chain.py, policy_draft.py and policy.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_trust_policy
short_description: Sign the first version of a trust policy, or draft the next one
description:
  - The trust policy says whose keys may build and approve, and what each environment requires. It is signed by the keys of
    its own role C(root), and hosts get their copy at bootstrap.
  - A policy that is there is left alone by C(established), whatever its age. Where the description says something else by
    now, C(differences) says what the next version would change.
  - The next version is made by C(drafted). It needs the root threshold of the version before and its own. The root keys
    that live here sign it at once; C(slipway_trust_signature) adds those of others.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Builds and signs the policy without keeping it. Keys must be there.
  diff_mode:
    support: full
    description: Says in words what changes.
options:
  path:
    description: Where the signed policy is kept, a DSSE envelope. Its older versions and the draft of the next lie beside it.
    type: path
    required: true
  state:
    description: Whether version 1 must be there (C(established)), or the next version is made where something changes.
    type: str
    default: established
    choices: [established, drafted]
  renew:
    description: With C(drafted), make a next version also when only its times change.
    type: bool
    default: false
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
        description:
          - The public key, 64 lower-case hex digits or a line of C(ssh-add -L); not needed where C(path) says where to read it.
        type: str
      path:
        description: Path of the private key, where it lives on this machine.
        type: path
      valid_until:
        description:
          - From when on the key does not sign any more, a time like C(2026-11-21T03:12:56Z). What it signed before stays
            valid. A key that was stolen goes into C(revoked_keys) instead.
          - Not for C(root), whose keys are taken out or revoked.
        type: str
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
    description: How long the policy and its keys are valid, from its signing.
    type: int
    default: 730
  revoked_keys:
    description:
      - Keys that nothing is believed of any more, also not what they signed before, by key id or public key. The entry in
        C(keys) stays, so that refusals can name the holder.
      - What was revoked once stays revoked, also when it is not named here any more.
    type: list
    elements: str
    default: []
  revoked_releases:
    description: Manifest digests of releases that never run again. They stay revoked too.
    type: list
    elements: str
    default: []
  floors:
    description:
      - For each application the time (C(2026-11-21T03:12:56Z)) or the sequence of the oldest release that may still run.
        A floor never falls.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Sign the trust policy
  slipway_trust_policy:
    path: .slipway/trust/trust-policy.dsse.json
    keys:
      - {holder: root-1, role: root, path: .slipway/keys/root-1.pem}
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
differences:
  description:
    - In words, what the version says otherwise than the one before; with C(established), what the description says
      otherwise than the policy that is there.
  returned: success
  type: list
  elements: str
  sample: ["version: 1 -> 2", "prod: approvals none -> approvals 1 risk-manager"]
described:
  description: In words, all that the policy says.
  returned: success
  type: list
  elements: str
words:
  description: The differences as text, a line for each.
  returned: success
  type: str
lacking:
  description: Who must still sign the draft, empty when nobody.
  returned: success
  type: list
  elements: str
  sample: ["1 more by the root of version 1, of root-2, root-3"]
draft:
  description: Where the draft is kept; null when there is none, or when it became the version in force.
  returned: success
  type: str
  sample: .slipway/trust/2.draft.dsse.json
environments:
  description: The environments that it knows.
  returned: success
  type: list
  elements: str
  sample: [prod, staging]
reason:
  description: Stable code of a refusal, e.g. policy_draft_invalid or policy_draft_differs.
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
from ansible.module_utils.slipway.controller.policy_draft import Draft
from ansible.module_utils.slipway.controller.trust_chain import TrustChain
from ansible.module_utils.slipway.trust.keys import PublicKey, load_private_key
from ansible.module_utils.slipway.trust.policy import ROOT
from ansible.module_utils.slipway.trust.rotation import described

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "default": "established", "choices": ["established", "drafted"]},
    "renew": {"type": "bool", "default": False},
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
            "valid_until": {"type": "str"},
        },
        "required_one_of": [("public_key", "path")],
    },
    "environments": {"type": "dict", "required": True},
    "thresholds": {"type": "dict", "default": {}},
    "valid_days": {"type": "int", "default": 730},
    "revoked_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "revoked_releases": {"type": "list", "elements": "str", "default": []},
    "floors": {"type": "dict", "default": {}},
}


def public_half(key):
    """The entry as the policy takes it, its public key read from the private one where only that is given."""
    given = key["public_key"]
    public = PublicKey.from_text(given) if given else PublicKey.of(load_private_key(Path(key["path"])))
    ends = {"valid_until": key["valid_until"]} if key["valid_until"] else {}
    return {"holder": key["holder"], "role": key["role"], "public_key": public.hex, **ends}


def root_keys(keys):
    """The root keys that live here, opened."""
    paths = [Path(key["path"]) for key in keys if key["role"] == ROOT and key["path"]]
    return [load_private_key(path) for path in paths]


DESCRIPTION = ("environments", "thresholds", "valid_days", "revoked_keys", "revoked_releases", "floors")


def handle(params, check):
    """Return the facts of the policy; sign it first when there is none, or make its next version."""
    chain, now = TrustChain(Path(params["path"])), int(time.time())
    described_as = {name: params[name] for name in DESCRIPTION}
    draft = Draft.parse({**described_as, "keys": [public_half(key) for key in params["keys"]]})
    if params["state"] == "drafted":
        step = chain.draft(draft, root_keys(params["keys"]), now=now, renew=params["renew"], check=check)
    else:
        keys = [] if chain.path.exists() else root_keys(params["keys"])
        step = chain.establish(draft, keys, now=now, check=check)
    return {
        "changed": step.changed,
        "path": str(chain.path),
        "version": step.policy.version,
        "digest": step.policy.digest,
        "expires": step.policy.expires,
        "environments": sorted(step.policy.environments),
        "differences": list(step.differences),
        "described": described(step.policy),
        "lacking": list(step.lacking),
        "draft": str(step.draft) if step.draft else None,
        "words": "\n".join(step.differences),
        "diff": {"prepared": "".join(f"{line}\n" for line in step.differences)},
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
