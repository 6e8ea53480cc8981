#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_evidence
short_description: The evidence of a run as one archive that verifies with standard tools
description:
  - Puts together what proves a run, namely the records of its hosts with their proofs, checkpoints, manifests, approvals, rollback
    authorizations, trust policies, the tests of the releases, public keys, and a script that verifies all of it.
  - Names what is missing, also in the archive, and then fails when the archive is written. Hosts that did not answer belong to that.
  - The same evidence always makes the same bytes.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says whether the archive would change, writes nothing.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  run_id:
    description: The run.
    type: str
    required: true
  answers:
    description: What each host answered to M(slipway_proof_info), by host.
    type: dict
    required: true
  catalogue:
    description: Where releases and approvals are. What is not there a host may have.
    type: path
    required: true
  trust_policy:
    description: The controller's copy of the trust policy, with the versions before it beside it.
    type: path
    required: true
  state_directory:
    description: Where the controller keeps the checkpoints that it cosigned, and its key for that.
    type: path
    required: true
  audits:
    description: The directory of the audit bundles of releases.
    type: path
    required: true
  readme:
    description: The page that goes into the archive as README.md.
    type: path
    required: true
  script:
    description: The script that goes into the archive as verify.sh.
    type: path
    required: true
  path:
    description: The archive.
    type: path
    required: true
  holders:
    description: The people behind holder ids, as {id {name, email}}. With it, those who occur in the archive are written into a file beside it.
    type: dict
"""

EXAMPLES = r"""
- name: Write the evidence of a run
  slipway_evidence:
    application: shop
    run_id: run_20261121T031256Z_9f3a1c
    answers: "{{ proofs }}"
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json
    state_directory: .slipway
    audits: release
    readme: docs/howto/prove-a-deployment.md
    script: roles/release/files/verify.sh
    path: release/evidence/run_20261121T031256Z_9f3a1c.tar.gz
  run_once: true
"""

RETURN = r"""
path:
  description: The archive.
  returned: success
  type: str
sha256:
  description: Its digest.
  returned: success
  type: str
hosts:
  description: The hosts whose records are in it.
  returned: success
  type: list
  elements: str
missing:
  description: What a proof needs and is not there; empty when all is.
  returned: success
  type: list
  elements: str
notes:
  description: What is not there and no proof needs.
  returned: success
  type: list
  elements: str
anchors:
  description: What an auditor should compare the archive with, as {trust_policy (sha256 of its first version), witness (public key)}.
  returned: success
  type: dict
names_path:
  description: The file with the people behind the holder ids, null without O(holders).
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. run_unknown; evidence_incomplete when something is missing.
  returned: failure
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

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
