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
  description: The same as a table, for people.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. release_unknown.
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
from ansible.module_utils.slipway.controller.approvals import approvals_table, as_data, standings
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.trust.policy import read_policy
from ansible.module_utils.slipway.trust.verify import parse_manifest

ARGUMENT_SPEC = {
    "catalogue": {"type": "path", "required": True},
    "application": {"type": "str", "required": True},
    "release_id": {"type": "str", "required": True},
    "trust_policy": {"type": "path", "required": True},
    "holders": {"type": "dict", "default": {}},
}


def handle(params, check):
    """Judge the approvals that are there."""
    catalogue, policy = Catalogue(Path(params["catalogue"])), read_policy(Path(params["trust_policy"]))
    envelope = catalogue.manifest_bytes(params["application"], params["release_id"])
    found = standings(catalogue, params["application"], envelope, policy, now=int(time.time()))
    return {
        "changed": False,
        "manifest_digest": parse_manifest(envelope).digest,
        "environments": {environment: as_data(standing) for environment, standing in found.items()},
        "words": approvals_table(found, Holders.parse(params["holders"])),
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
