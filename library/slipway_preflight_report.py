#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_preflight_report
short_description: Whether every host is ready for a deployment
description:
  - Judges what hosts have checked together with the release that a deployment would take, and says every result in one table.
  - Fails when any result is a FAIL. A deployment judges the same before it touches anything.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  answers:
    description: What C(slipway_application_info) answered with C(preflight), by host; a host without an answer did not respond.
    type: dict
    required: true
  catalogue:
    description: Directory of the catalogue.
    type: path
    required: true
  trust_policy:
    description: The controller's copy of the trust policy.
    type: path
    required: true
  release_id:
    description: The release; empty for the newest usable one. Without any release, what only a release says is left out.
    type: str
    default: ""
  fetched:
    description: Whether the hosts fetch what they lack from a store, so that nothing big is sent to them.
    type: bool
    default: false
  format:
    description: How C(msg) says it.
    type: str
    default: table
    choices: [table, json]
"""

EXAMPLES = r"""
- name: Say whether all is ready
  slipway_preflight_report:
    application: shop
    answers: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'inspection') }}"
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json
  run_once: true
"""

RETURN = r"""
ready:
  description: Whether no result is a FAIL.
  returned: always
  type: bool
msg:
  description: The table and a summary, or all of it as JSON.
  returned: always
  type: str
counts:
  description: How many results are PASS, WARN and FAIL.
  returned: always
  type: dict
rows:
  description: Each result as {host, check, subject, status, found, remedy}.
  returned: always
  type: list
  elements: dict
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

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
