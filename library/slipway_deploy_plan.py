#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_deploy_plan
short_description: What a deployment is to do
description:
  - Chooses the release, verifies it as far as a controller can and begins the run.
  - Judges whether every host is ready for it, and refuses when any is not, with all that is not in one table.
  - Refuses a release whose approvals are not all there, and says who may give those that are missing, and how.
  - Without O(release_id) it is the newest release of the catalogue that is bad on none of the hosts.
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
  environment:
    description: The environment of every host of the run; empty for a rollback over the whole inventory.
    type: str
    required: true
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  run_group:
    description: What joins this run with others that belong to it, such as the number of a workflow job of AWX; empty for nothing.
    type: str
    default: ""
  lease_seconds:
    description: How long a host stays reserved for the run when the run does not end.
    type: int
    default: 900
  answers:
    description: What C(slipway_application_info) answered, by host; a host without an answer is one that did not respond.
    type: dict
    required: true
  catalogue:
    description: Directory of the catalogue.
    type: path
    required: true
  trust_policy:
    description: The controller's copy of the trust policy. Hosts verify by their own.
    type: path
    required: true
  release_id:
    description: The release; empty for the newest usable one.
    type: str
    default: ""
  retry:
    description: Allow a release that was taken back on a host before.
    type: bool
    default: false
  description:
    description: The application's entry of C(slipway_applications).
    type: dict
    required: true
  waves:
    description: How many hosts are switched at a time, as counts or percentages.
    type: list
    elements: str
    required: true
  wave_failures_max:
    description: How many hosts may fail in a wave.
    type: int
    default: 0
  healthy_min:
    description: How many hosts, or which part of them, have to stay in service.
    type: str
    default: "0"
  soak_seconds:
    description: How long each wave but the last runs before it is asked again.
    type: int
    default: 0
  canary_share:
    description: How much of its work the first wave takes on until its gate, as a percentage; empty for all of it.
    type: str
    default: ""
  pause_after:
    description: After which waves the rollout holds, C(canary), numbers, or regions for their last waves.
    type: list
    elements: str
    default: []
  pause_seconds:
    description: How long it holds, at most.
    type: int
    default: 3600
  confirm_within_seconds:
    description: How long hosts wait for their confirmation; 0 for what the waves may take.
    type: int
    default: 0
  forks:
    description: How many hosts are worked on at once.
    type: int
    default: 20
  balancers:
    description: A host's balancers, each {host, backend, socket, drain_seconds}; the waves may take as long as they do.
    type: raw
    default: []
  region_order:
    description: The regions, which are groups of the inventory, in the order in which they are switched; empty for none.
    type: list
    elements: str
    default: []
  groups:
    description: The groups of the inventory with their hosts, of which O(region_order) names some.
    type: dict
    default: {}
  standings:
    description: What C(slipway_failover) answered at each balancer, so that the hosts of a region that is failed over are not counted on.
    type: list
    elements: dict
    default: []
  analysis:
    description: C(release_analysis), by which a canary is compared with the other hosts. It is judged now, before a host is switched.
    type: dict
    default: {}
  prometheus:
    description: C(release_prometheus), which is asked for that.
    type: dict
    default: {}
  fetched:
    description: Whether the hosts fetch what they lack from a store, so that nothing big is sent to them.
    type: bool
    default: false
  credentials:
    description: >-
      What the service is to get as credentials, as {name: {secret, field}}; see docs/howto/credentials.md. The values are read now, from the chain of
      the first host's environment, and kept in memory for the staging of this run. No answer has any of them.
    type: dict
    default: {}
  hooks:
    description: The operator's task files by moment, absolute or below O(root); see docs/howto/hooks-and-migrations.md. Each has to be there.
    type: dict
    default: {}
  root:
    description: Where relative paths of O(hooks) begin.
    type: path
    default: "."
"""

EXAMPLES = r"""
- name: Choose the release
  slipway_deploy_plan:
    application: shop
    environment: prod
    state_directory: .slipway
    catalogue: .slipway/catalogue
    trust_policy: .slipway/trust/trust-policy.dsse.json
    answers: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'inspection') }}"
    description: "{{ slipway_applications.shop }}"
    waves: [1, "100%"]
  run_once: true
  register: plan
"""

RETURN = r"""
run:
  description: The run, for C(slipway_release).
  returned: success
  type: dict
unrecorded:
  description: Why this controller's memory does not have the run; empty where it has.
  returned: success
  type: str
release_id:
  description: The chosen release.
  returned: success
  type: str
manifest_digest:
  description: SHA-256 of its manifest's payload.
  returned: success
  type: str
message:
  description: What will be done, in a sentence.
  returned: success
  type: str
hooks:
  description: The operator's task files by moment, as absolute paths.
  returned: success
  type: dict
migrating:
  description: The host that runs the migrations that are pending, empty where none is. Then it is a wave of its own.
  returned: success
  type: str
checks_before_confirm:
  description: Whether the release has hooks that stand before its confirmation.
  returned: success
  type: bool
commands:
  description: What is run beside the switch, a line each.
  returned: success
  type: list
  elements: str
candidate:
  description: Whether the release is a candidate, which hosts take in check mode only.
  returned: success
  type: bool
approvals:
  description: The approvals that count, by the controller's copy of the trust policy, as C({role, holder, digest, created, expires}).
  returned: success
  type: list
  elements: dict
monitoring:
  description: How the release is watched after its deployment, as its manifest says.
  returned: success
  type: dict
passed_over:
  description: Newer releases that were passed over, with the hosts on which they are bad.
  returned: success
  type: dict
rollout:
  description: >-
    The waves, for C(slipway_rollout_verdict): with C(sizes) for the play, C(message) for people, and C(by_host) the wave of each host, its
    share, and how long it waits for its confirmation.
  returned: success
  type: dict
preflight_warnings:
  description: What the preflight found that does not stop the run, as sentences.
  returned: success
  type: list
  elements: str
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
