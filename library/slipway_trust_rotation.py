#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the rotation of a host's trust policy; see module_utils/slipway/host/trust_update.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_trust_rotation
short_description: Bring a host to the newest version of its trust policy
description:
  - Sends the chain of versions that the controller keeps. The host goes through it step by step, from its own version to the
    newest, and judges each step itself. Nothing is changed unless all of it holds.
  - The versions that were in force stay on the host in C(/etc/slipway/policies).
  - What is served goes on in any case.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: The host judges the chain and says what would change.
  diff_mode:
    support: full
    description: Says in words what changes.
options:
  trust_policy:
    description: The controller's trust policy; older versions lie beside it. Read by the action plugin.
    type: path
    required: true
  policies:
    description: The chain, as texts. Not for playbooks.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Bring the host to the newest version
  slipway_trust_rotation:
    trust_policy: .slipway/trust/trust-policy.dsse.json
"""

RETURN = r"""
host:
  description: Who the host is, as {id, name, environment}.
  returned: success
  type: dict
before:
  description: The version that was in force, as {version, digest, expires}.
  returned: success
  type: dict
after:
  description: The version that is in force now, or would be; the same keys.
  returned: success
  type: dict
rotated:
  description: The versions that were gone through.
  returned: success
  type: list
  elements: int
  sample: [2, 3]
differences:
  description: In words, what changed.
  returned: success
  type: list
  elements: str
  sample: ["version: 1 -> 2", "key 9f2b4cbb1a1a7f2a of build-2 (builder): new, valid from 2026-11-21T13:00:00Z to 2028-11-20T13:00:00Z"]
reason:
  description: Stable code of a refusal, e.g. policy_unsigned_by_predecessor or policy_version_older.
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

MODULE = MODULES["slipway_trust_rotation"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
