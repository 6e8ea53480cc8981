#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the bootstrap of a host; see module_utils/slipway/host/bootstrap.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_host
short_description: Make a machine a host of Slipway
description:
  - Installs the host's identity, its trust policy, the resident package, the C(slipway) command and the units that settle what was left
    open at boot and at a deadline, and makes the key that signs its histories; that key never leaves the host.
  - Never replaces an identity, a trust policy or a key that is there; another one is refused.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be installed.
options:
  name:
    description: The host's name, as in the inventory.
    type: str
    required: true
  environment:
    description: The environment that the host belongs to from now on. No deploy can say otherwise.
    type: str
    required: true
  trust_policy:
    description: The signed trust policy, as text.
    type: str
    required: true
  resident:
    description: Path on the host of the package that the action plugin sent. Not for playbooks.
    type: path
"""

EXAMPLES = r"""
- name: Make this machine a host of Slipway
  slipway_host:
    name: "{{ inventory_hostname }}"
    environment: prod
    trust_policy: "{{ lookup('ansible.builtin.file', '.slipway/trust/trust-policy.dsse.json') }}"
"""

RETURN = r"""
installed:
  description: What was missing or outdated, of identity, trust policy, resident package, history key, command and units.
  returned: success
  type: list
  elements: str
host:
  description: Who the host is, as {id, name, environment}.
  returned: success
  type: dict
history_key:
  description: The public half of the key that signs the host's histories, in hex; null in check mode where none is made yet.
  returned: success
  type: str
reason:
  description: Stable code of a refusal, e.g. host_is_another, trust_policy_differs.
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

MODULE = MODULES["slipway_host"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
