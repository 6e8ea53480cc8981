#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_secret_rotation
short_description: Make new versions of secrets for a run that hands them out
description:
  - Makes the next version of each secret, as C(secrets_rotation) says who makes it, at the first provider of C(secrets_chain). Only the run that it is made
    for reads it, until every host was healthy with it; M(slipway_run_report) settles that at the end of the run.
  - A rotation that a killed run left open is gone on with. One that another run works on is refused.
  - Works with the C(secrets_*) variables of the host that the task is for. Runs on the controller and opens no connection to hosts. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be rotated; providers are asked what they have.
options:
  state:
    description: Whether new versions are handed out, or what is open is taken back, so that hosts get the version of before.
    type: str
    default: begun
    choices: [begun, taken_back]
  names:
    description: Names of the secrets. Without any, those that are due, and those whose rotation was left open.
    type: list
    elements: str
    default: []
  application:
    description: Name of the application, a key of C(slipway_applications).
    type: str
    required: true
  description:
    description: The application's entry of C(slipway_applications). One whose service no deployment restarts (C(strategy) none) is refused.
    type: dict
    required: true
  credentials:
    description:
      - What its service gets as credentials, as C(release_credentials) says.
    type: dict
    default: {}
  answers:
    description: What M(slipway_application_info) answered, by host. All must serve one release.
    type: dict
    required: true
  release_id:
    description: The release that they must serve; empty for whatever it is.
    type: str
    default: ""
  catalogue:
    description: The catalogue that has the release; a deployment of it that would be refused is refused before anything is made.
    type: path
    required: true
  trust_policy:
    description: The controller's copy of the trust policy.
    type: path
    required: true
  source:
    description: A JSON file with the fields that change, for one secret that is made by hand.
    type: path
"""

EXAMPLES = r"""
- name: Make what is due
  slipway_secret_rotation:
    application: shop
    description: "{{ slipway_applications.shop }}"
    credentials: {database_password: {secret: database/main, field: password}}
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json
    answers: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'inspection') }}"
  run_once: true
  register: rotation
"""

RETURN = r"""
is_idle:
  description: Whether there is nothing to hand out, so that no run is needed; always in check mode.
  returned: success
  type: bool
release_id:
  description: The release that every host serves, empty where nothing is due.
  returned: success
  type: str
names:
  description: The secrets that the run settles in the end.
  returned: success
  type: list
  elements: str
rotating:
  description: By name of the secret, what the version that the run hands out is called and the id of its rotation, {version, rotation}. No values.
  returned: success
  type: dict
msg:
  description: A line for each secret.
  returned: always
  type: str
reason:
  description: Stable code of a refusal.
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

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
