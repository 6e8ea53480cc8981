#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_integrity_report
short_description: Whether a whole fleet is what was signed and witnessed
description:
  - Says what C(slipway_integrity_info) found on every host in one table, and for each finding what to do.
  - Fails when any host is not intact, or did not answer.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  answers:
    description: What C(slipway_integrity_info) answered, by host; a host without an answer did not respond.
    type: dict
    required: true
  trust_policy:
    description: Path of this controller's copy of the trust policy; a host with an older version is a finding. Not judged without it.
    type: path
  format:
    description: How C(msg) says it.
    type: str
    default: table
    choices: [table, json]
"""

EXAMPLES = r"""
- name: Say whether everything is intact
  slipway_integrity_report:
    answers: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'integrity') }}"
  run_once: true
"""

RETURN = r"""
intact:
  description: Whether nothing was found.
  returned: success
  type: bool
hosts:
  description: By host and application, {active, release, trust, history, runs}, each part with its outcome and detail.
  returned: success
  type: dict
findings:
  description: What is not as it should be, as [{host, application, part, outcome, detail, remedy}].
  returned: success
  type: list
  elements: dict
msg:
  description: The table, or the same as JSON.
  returned: always
  type: str
reason:
  description: Stable code of a refusal, here C(not_intact).
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
