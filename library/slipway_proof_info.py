#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the records of a run on a host, with their proofs; see module_utils/slipway/host/integrity.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_proof_info
short_description: The records of a run on a host, each with the proof that it is in the history
description:
  - Reads the history and proves each record of the run against a checkpoint that the host signed. Changes nothing.
  - With it come the signed envelopes that the host keeps, namely manifests, approvals, rollback authorizations and trust policies.
  - The controller then judges the history, and cosigns and keeps the newest checkpoint. M(slipway_evidence) makes an archive of the answers.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Only reads.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  run_id:
    description: The run.
    type: str
    required: true
  sizes:
    description: The sizes of the checkpoints that the controller keeps; the smallest that covers the records is proven against. The action plugin fills it in.
    type: list
    elements: int
    default: []
  witnessed:
    description: The size of the newest checkpoint of this history that the controller keeps, as {size}. The action plugin fills it in.
    type: dict
"""

EXAMPLES = r"""
- name: Ask for the records of a run
  slipway_proof_info:
    application: shop
    run_id: run_20261121T031256Z_9f3a1c
  register: proof
"""

RETURN = r"""
host:
  description: Who the host is, as {id, name, environment}.
  returned: success
  type: dict
lines:
  description: The records, each as {seq, line (exactly as it stands in the history), inclusion (hashes of the proof), size (of the checkpoint)}.
  returned: success
  type: list
  elements: dict
checkpoint:
  description: The newest checkpoint that the host signed, as a signed note.
  returned: success
  type: str
key:
  description: The host's public key for its histories, 64 hex digits.
  returned: success
  type: str
envelopes:
  description: The signed envelopes that the host keeps of the releases in these records, and of its trust policies.
  returned: success
  type: list
  elements: str
log:
  description: What the history is beside what the host signed of it; see M(slipway_history_info).
  returned: success
  type: dict
witness:
  description: The controller's verdict on the history, as {outcome, detail}; null where the host said nothing of it.
  returned: always
  type: dict
reason:
  description: Stable code of a refusal, e.g. record_unknown.
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

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.host.options import MODULES

MODULE = MODULES["slipway_proof_info"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
