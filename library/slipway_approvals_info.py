#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to what approvals a release has and lacks; the judgement is in module_utils/slipway/trust/consent.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_approvals_info
short_description: Say which approvals a release has, and which it lacks
description:
  - Judges the approvals in the catalogue for each environment of the trust policy, as its hosts will, and says who can give what is
    missing.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
options:
  catalogue:
    description: Directory of the catalogue.
    type: path
    required: true
  application:
    description: Name of the application.
    type: str
    required: true
  release_id:
    description: The release.
    type: str
    required: true
  trust_policy:
    description: Path of a copy of the signed trust policy.
    type: path
    required: true
  required_in:
    description: An environment in which the release must have all approvals now; what is missing is refused as a deployment would.
    type: str
  holders:
    description: The people behind holder ids, each C(name) and C(email) by id, for C(words).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Look at the approvals of a release
  slipway_approvals_info:
    catalogue: .slipway/catalogue
    application: shop
    release_id: v1.2.3
    trust_policy: .slipway/trust/trust-policy.dsse.json
  register: __approvals
"""

RETURN = r"""
manifest_digest:
  description: SHA-256 of the release's manifest.
  returned: success
  type: str
  sample: 0b1e7a4c1d9f6a53c0e7b8d2f4a6918c3e5d7f90123456789abcdef012345678
environments:
  description:
    - For each environment C(is_complete), C(counted) (each C({role, holder, digest, created, expires})), C(lacking) (each
      C({role, count, holders}), the holders who may give it) and C(not_counted) (each C({role, holder, reason})).
  returned: success
  type: dict
words:
  description: The same as a table, for people, with what is to be signed where something is missing.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. release_unknown or approval_missing.
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
from ansible.module_utils.slipway.controller.approvals import approvals_table, as_data, standings, what_to_sign
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.permission import require_approved
from ansible.module_utils.slipway.trust.consent import Scope
from ansible.module_utils.slipway.trust.policy import read_policy
from ansible.module_utils.slipway.trust.verify import parse_manifest, verify_manifest

ARGUMENT_SPEC = {
    "catalogue": {"type": "path", "required": True},
    "application": {"type": "str", "required": True},
    "release_id": {"type": "str", "required": True},
    "trust_policy": {"type": "path", "required": True},
    "required_in": {"type": "str"},
    "holders": {"type": "dict", "default": {}},
}


def handle(params, check):
    """Judge the approvals that are there."""
    catalogue, policy = Catalogue(Path(params["catalogue"])), read_policy(Path(params["trust_policy"]))
    application, now = params["application"], int(time.time())
    envelope = catalogue.manifest_bytes(application, params["release_id"])
    released = parse_manifest(envelope)
    found = standings(catalogue, application, envelope, policy, now=now)
    if environment := params["required_in"]:
        manifest = verify_manifest(policy, envelope, application=application, environment=environment, now=now)
        require_approved(Scope(manifest, policy, environment, now), catalogue, ())
    return {
        "changed": False,
        "manifest_digest": released.digest,
        "environments": {environment: as_data(standing) for environment, standing in found.items()},
        "words": "\n".join(
            filter(None, (approvals_table(found, Holders.parse(params["holders"])), what_to_sign(released, found)))
        ),
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
