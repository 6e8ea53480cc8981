#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to giving an approval; what may be given is decided in module_utils/slipway/controller/approving.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_approval
short_description: Approve a release, or authorize a rollback to it
description:
  - Signs, with the key of one holder, that a release may run in an environment; with C(hosts), that these hosts may go back to it.
    It runs on the signer's own machine and reaches no host.
  - What hosts would not count is refused before anything is signed - a manifest that the trust policy does not trust, a role that the
    environment does not ask for, a key that is not one of that role, the builder's own holder.
  - In check mode it answers C(words), which say what would be signed. Whoever signs reads them first, and gives the
    C(manifest_digest) that they were about.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Judges everything, with the key, and signs nothing.
  diff_mode:
    support: none
options:
  manifest:
    description: Path of the release's signed manifest, for a machine without the catalogue. C(output) says where the approval goes.
    type: path
  catalogue:
    description: Directory of the catalogue that has the release, and that gets the approval where there is no C(output).
    type: path
  application:
    description: Whose release it is, in the catalogue.
    type: str
  release_id:
    description: The release. With C(manifest) it may be left out; another one than the manifest's is refused.
    type: str
  trust_policy:
    description: Path of a copy of the signed trust policy.
    type: path
    required: true
  environment:
    description: The environment that it is for.
    type: str
    required: true
  role:
    description: The role in which the holder signs.
    type: str
    required: true
  key:
    description:
      - Path of the holder's private key, C(agent) for the one of the ssh-agent that the trust policy knows, or C(agent:) and the comment
        or the fingerprint of one.
    type: str
    required: true
  passphrase:
    description: Opens the key when it is encrypted.
    type: str
  hosts:
    description:
      - Signs a rollback authorization for these hosts instead of an approval. Host ids, or names that C(status) knows.
    type: list
    elements: str
    default: []
  status:
    description: A file with what C(make release-status FORMAT=json) printed, to find the ids of hosts by their names.
    type: path
  valid_hours:
    description: How long it holds. Without it as long as the environment allows; a rollback authorization one day at most.
    type: int
  audit:
    description: The release's audit bundle, for the counts of its tests. It must be the one that the manifest names.
    type: path
  manifest_digest:
    description: The digest of the manifest that was looked at; any other is refused.
    type: str
  holders:
    description: The people behind holder ids, each C(name) and C(email) by id, for C(words). They are not signed.
    type: dict
    default: {}
  output:
    description: A file for the approval, to be sent to whoever keeps the catalogue. Nothing may be there.
    type: path
"""

EXAMPLES = r"""
- name: Look at what would be approved
  slipway_approval: &approval
    catalogue: .slipway/catalogue
    application: shop
    release_id: v1.2.3
    trust_policy: .slipway/trust/trust-policy.dsse.json
    environment: prod
    role: engineering-lead
    key: agent
  check_mode: true
  register: __seen

- name: Approve it
  slipway_approval:
    <<: *approval
    manifest_digest: "{{ __seen.manifest_digest }}"
"""

RETURN = r"""
path:
  description: The file with the approval or the authorization; in check mode where it would be, null in the catalogue.
  returned: success
  type: str
  sample: .slipway/catalogue/shop/approvals/0b1e7a4c…/prod.engineering-lead.lead.5d1c0a9b7e3f2d64.dsse.json
words:
  description: What is signed, for people.
  returned: success
  type: str
manifest_digest:
  description: SHA-256 of the manifest that it is about.
  returned: success
  type: str
  sample: 0b1e7a4c1d9f6a53c0e7b8d2f4a6918c3e5d7f90123456789abcdef012345678
release_id:
  description: The release that it is about.
  returned: success
  type: str
  sample: v1.2.3
holder:
  description: Whose key signs.
  returned: success
  type: str
  sample: lead
expires:
  description: Until when it counts.
  returned: success
  type: str
  sample: "2026-11-28T04:16:07Z"
reason:
  description: Stable code of a refusal, e.g. key_unknown or approval_not_asked.
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
from ansible.module_utils.slipway.controller import approving
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.signer import open_key
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import read_policy

ARGUMENT_SPEC = {
    "manifest": {"type": "path"},
    "catalogue": {"type": "path"},
    "application": {"type": "str"},
    "release_id": {"type": "str"},
    "trust_policy": {"type": "path", "required": True},
    "environment": {"type": "str", "required": True},
    "role": {"type": "str", "required": True},
    "key": {"type": "str", "required": True, "no_log": False},
    "passphrase": {"type": "str", "no_log": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "status": {"type": "path"},
    "valid_hours": {"type": "int"},
    "audit": {"type": "path"},
    "manifest_digest": {"type": "str"},
    "holders": {"type": "dict", "default": {}},
    "output": {"type": "path"},
}
OPTIONS = {
    "required_one_of": [("manifest", "catalogue")],
    "mutually_exclusive": [("manifest", "catalogue")],
    "required_by": {"manifest": ["output"], "catalogue": ["application", "release_id"]},
}


def path_of(value):
    """The option as a path, None where it was not given."""
    return Path(value) if value else None


def handle(params, check):
    """Judge what is to be signed; without check mode sign it and keep it."""
    policy = read_policy(Path(params["trust_policy"]))
    catalogue = Catalogue(Path(params["catalogue"])) if params["catalogue"] else None
    if catalogue:
        manifest = catalogue.manifest_bytes(params["application"], params["release_id"])
    else:
        manifest = approving.manifest_in(Path(params["manifest"]), params["release_id"])
    request = approving.Request(
        envelope=manifest,
        policy=policy,
        environment=params["environment"],
        role=params["role"],
        now=int(time.time()),
        hosts=approving.resolve_hosts(params["hosts"], path_of(params["status"]), params["environment"]),
        valid_seconds=params["valid_hours"] * 3600 if params["valid_hours"] is not None else None,
        seen=params["manifest_digest"],
    )
    passphrase = params["passphrase"].encode() if params["passphrase"] else None
    key = open_key(params["key"], passphrase, approving.role_keys(policy, params["role"]))
    consent = approving.prepare(request, PublicKey.of(key))
    words = approving.words(consent, Holders.parse(params["holders"]), path_of(params["audit"]))
    output = path_of(params["output"])
    approving.require_free(output)
    path = output if check else approving.keep(approving.sign(consent, key), request, output or catalogue)
    return {
        "changed": True,
        "path": str(path) if path else None,
        "words": words,
        "manifest_digest": consent.manifest.digest,
        "release_id": consent.manifest.release_id,
        "holder": consent.holder,
        "expires": consent.expires,
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle, **OPTIONS)


if __name__ == "__main__":
    main()
