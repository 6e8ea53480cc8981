#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_run_report
short_description: How a run ended
description:
  - Says for every host how the run ended there, what it serves and what to do next.
  - Writes what the hosts recorded into the pages of the releases concerned (M(slipway_release_view)).
  - Fails when a host did not end as asked, since a deployment that was taken back is no success.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  catalogue:
    description: Where releases come from; only those that are in it get a page.
    type: path
    required: true
  view_directory:
    description: Where the pages of releases are; the run's records are written into those of the releases concerned.
    type: path
    required: true
  holders:
    description: The people behind holder ids, each C(name) and C(email) by id, for those pages.
    type: dict
    default: {}
  application:
    description: Name of the application.
    type: str
    required: true
  run:
    description: The run.
    type: dict
    required: true
  title:
    description: First line of the report.
    type: str
    required: true
  rollback:
    description: Whether the run was a rollback.
    type: bool
    default: false
  candidate:
    description: Whether the release is a candidate, which is there to be judged in check mode only.
    type: bool
    default: false
  monitoring:
    description: How the release is watched after its deployment, as its manifest says.
    type: dict
    default: {}
  results:
    description:
      - For each of inspection, activation, smoke, soak, soak_smoke, reversion, contact, confirmation and return, what its task registered, by
        host; and C(verdict), for when hosts that are lost go back by themselves.
    type: dict
    required: true
  rollout:
    description: Why the waves ended or what they tolerated, as C(slipway_rollout_verdict) said it at the end.
    type: str
    default: ""
  rotation:
    description:
      - What M(slipway_secret_rotation) began for this run. By how the hosts ended, the new versions of its secrets are adopted and the old ones retired, or
        they are taken back.
    type: dict
    default: {}
  unrecorded:
    description: Why this controller's memory does not have the run, as the plan has said it; empty where it has.
    type: str
    default: ""
  regions:
    description: The regions of the rollout, as C(slipway_deploy_plan) says; the report has a line for each.
    type: list
    elements: dict
    default: []
  unreachable:
    description: Hosts that were left out because they did not answer at the start.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Report how the run ended
  slipway_run_report:
    state_directory: .slipway
    catalogue: .slipway/catalogue
    view_directory: release/manifests
    application: shop
    run: "{{ plan.run }}"
    title: deploy of v1.2.3
    results:
      activation: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'activation') }}"
      confirmation: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'confirmation') }}"
  run_once: true
"""

RETURN = r"""
as_asked:
  description: Whether every host ended as asked.
  returned: always
  type: bool
msg:
  description: The report.
  returned: always
  type: str
hosts:
  description: By host, {outcome, serves}.
  returned: always
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

from ansible.module_utils.slipway._module import run_on_controller_only


def main():
    run_on_controller_only()


if __name__ == "__main__":
    main()
