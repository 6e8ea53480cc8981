#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the verification of releases and histories on a host; see module_utils/slipway/host/integrity.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_integrity_info
short_description: Whether applications on a host are what was signed, and their histories what was witnessed
description:
  - Verifies the active release of each application by its signatures and every byte, and its whole history.
  - The controller then judges each history by the checkpoints that it keeps, and compares the records with its own runs.
  - Fails for nothing that it finds, since that is its answer. Changes nothing on the host.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Only reads; accepts nothing.
options:
  applications:
    description: Names of the applications.
    type: list
    elements: str
    required: true
  environment:
    description: Refuse when the host is of another environment.
    type: str
  bytes:
    description: Verify every byte of the active release, not only its signatures and file list.
    type: bool
    default: true
  accept:
    description:
      - Judge a history that is not trusted anew from what the host has now, for a snapshot that was put back on purpose.
      - What was kept before stays, with who accepted it and why. A history whose own chain is broken is not accepted.
    type: bool
    default: false
  witnessed:
    description: By application, the sizes of the checkpoints that the controller keeps. The action plugin fills it in.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Verify the shop
  slipway_integrity_info:
    applications: [shop]
    environment: prod
  register: integrity

- name: Show what became of its history
  ansible.builtin.debug:
    msg: "{{ integrity.applications.shop.witness.outcome }}"
"""

RETURN = r"""
host:
  description: Who the host is, as {id, name, environment}; null where it did not say.
  returned: success
  type: dict
applications:
  description: >-
    By application, {active, release {release_id, outcome, detail}, trust (the same for signatures, approvals and file list alone), history
    {outcome, detail, size, root, roots, checkpoint, key, consistency, torn}, runs, witness {outcome, detail}, own_runs {outcome,
    detail}}, or the refusal of the host. C(witness) is the controller's verdict on the history: intact, torn, first_seen, truncated,
    restored, forked, rewritten, key_changed, foreign_checkpoint, unknown_witness or unjudged. C(own_runs) is complete, missing or unknown.
  returned: success
  type: dict
reason:
  description: Stable code of a refusal.
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

MODULE = MODULES["slipway_integrity_info"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
