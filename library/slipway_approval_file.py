#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to approvals that were sent; what is taken in is decided in module_utils/slipway/controller/approvals.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_approval_file
short_description: Take in an approval, or a rollback authorization, that was sent
description:
  - Verifies it as a host would, by a copy of the trust policy, and puts it into the catalogue beside its release.
  - It comes as a file (O(path)) or as its text (O(text)), of which one is given.
  - What hosts would not count is refused. The release must be in the catalogue.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Verifies the file and keeps nothing.
  diff_mode:
    support: none
options:
  path:
    description: The file that was sent.
    type: path
  text:
    description: What is in that file, such as somebody pasted it. White space around it is no part of it.
    type: str
  catalogue:
    description: Directory of the catalogue.
    type: path
    required: true
  trust_policy:
    description: Path of a copy of the signed trust policy.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Take in the approval of the risk manager
  slipway_approval_file:
    path: v1.2.3.prod.risk-manager.dsse.json
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json

- name: Take in what somebody pasted
  slipway_approval_file:
    text: "{{ approval_text }}"
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json
"""

RETURN = r"""
path:
  description: Where it is kept.
  returned: success
  type: str
  sample: .slipway/catalogue/shop/approvals/0b1e7a4c…/prod.risk-manager.risk.5d1c0a9b7e3f2d64.dsse.json
kind:
  description: What it is, C(approval) or C(rollback authorization).
  returned: success
  type: str
  sample: approval
application:
  description: Whose release it is about.
  returned: success
  type: str
  sample: shop
release_id:
  description: The release that it is about.
  returned: success
  type: str
  sample: v1.2.3
environment:
  description: The environment that it is for.
  returned: success
  type: str
  sample: prod
role:
  description: The role in which it was given.
  returned: success
  type: str
  sample: risk-manager
holder:
  description: Who gave it.
  returned: success
  type: str
  sample: risk
expires:
  description: Until when it counts.
  returned: success
  type: str
  sample: "2026-11-28T04:16:07Z"
reason:
  description: Stable code of a refusal, e.g. approval_expired or approver_mismatch.
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
from ansible.module_utils.slipway.controller.approvals import receive, sent
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust.policy import read_policy

ARGUMENT_SPEC = {
    "path": {"type": "path"},
    "text": {"type": "str"},
    "catalogue": {"type": "path", "required": True},
    "trust_policy": {"type": "path", "required": True},
}


def handle(params, check):
    """Take what was sent in and return what it says."""
    envelope = sent(Path(params["path"]) if params["path"] else None, params["text"])
    catalogue, policy = Catalogue(Path(params["catalogue"])), read_policy(Path(params["trust_policy"]))
    received = receive(envelope, catalogue, policy, now=int(time.time()), check=check)
    return {
        "changed": received.changed,
        "path": str(received.path),
        "kind": received.what,
        "application": received.manifest.application,
        "release_id": received.manifest.release_id,
        **{name: getattr(received.consent, name) for name in ("environment", "role", "holder", "expires")},
    }


def main():
    run_module(argument_spec=ARGUMENT_SPEC, handler=handle)


if __name__ == "__main__":
    main()
