#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the exchanges of a deployment; the decisions are in module_utils/slipway/host/staging.py and release.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_release
short_description: Bring a release to a host, switch to it, keep it or take it back
description:
  - Each state is one exchange with the host. A deployment is C(staged), C(active), C(confirmed); whatever goes wrong
    between C(active) and C(confirmed) ends with C(reverted), or is taken back by the next run (C(recovered)), or by the host itself
    when O(confirm_within_seconds) are over. C(renewed) gives it more time. C(ready) runs the release's hooks that stand before the
    confirmation; C(confirmed) does so too where that was not done.
  - Signatures, scope, file list and every byte are verified on the host, by the host's own trust policy, before a release
    is staged and before it becomes active, also in a rollback.
  - The action plugin of the same name runs on the controller. For C(staged) it packs the objects that the host lacks.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what the exchange would change and changes nothing.
  diff_mode:
    support: full
    description: C(staged) shows the files that differ from the active release, C(active) shows where the link goes.
options:
  state:
    description: The exchange.
    type: str
    required: true
    choices: [staged, active, renewed, ready, confirmed, reverted, recovered]
  application:
    description: Name of the application, a key of C(slipway_applications).
    type: str
    required: true
  description:
    description: The application's entry of C(slipway_applications); see docs/howto/your-own-application.md.
    type: dict
    required: true
  environment:
    description: The environment that this run is for. A host of another one refuses.
    type: str
    required: true
  run:
    description: The run, as C(slipway_deploy_plan) or C(slipway_rollback_plan) returned it.
    type: dict
    required: true
  release_id:
    description: The release. Required but for C(recovered).
    type: str
  catalogue:
    description:
      - Directory of the catalogue on the controller (C(staged), C(active)).
      - For C(active) the action plugin reads approvals and rollback authorizations there and nothing else.
    type: path
  present:
    description: Releases that are whole on the host, as C(slipway_application_info) returned them in C(releases) (C(staged), C(active)).
    type: list
    elements: dict
    default: []
  resident_digest:
    description: SHA-256 of the resident package on the host; another one than the controller's is replaced (C(staged)).
    type: str
  balancers:
    description:
      - The host's balancers, each {host, backend, socket, drain_seconds} with the first two at least (C(staged)). They are only judged,
        by the action plugin on the controller, so that a switch does not stop at them half-way.
    type: raw
    default: []
  pack:
    description: Path on the host of the pack that the action plugin sent (C(staged)). Not for playbooks.
    type: path
  source:
    description:
      - Addresses of an artifact store and its mirrors, in the order in which they are tried (C(staged)). With one, the host itself fetches
        the objects that it lacks, and no object travels from the controller.
      - C(https://) or C(http://), without user, password or query. What comes is verified by its digest either way.
    type: list
    elements: str
    default: []
  source_ca:
    description: Certificates (PEM text) of the authorities that the stores are verified by, instead of those that the host trusts.
    type: str
    default: ""
  source_credentials:
    description: What the stores ask for, as {token}, {username, password} or {header, value}; only sent over C(https://).
    type: dict
    default: {}
  source_rate_limit:
    description: How many bytes a second the host fetches at most, from 16384; 0 for no limit.
    type: int
    default: 0
  approvals:
    description: Approvals of the release, as signed envelopes. The action plugin sets them (C(staged), C(active)). Not for playbooks.
    type: list
    elements: str
    default: []
  authorizations:
    description: Rollback authorizations, in the same way.
    type: list
    elements: str
    default: []
  expected_current:
    description: The release that was active when the run was planned, empty for none; anything else is refused (C(active)).
    type: str
  rollback:
    description: The switch goes back to a release that was here before (C(active)).
    type: bool
    default: false
  keep:
    description: Confirm as soon as the release is healthy, without a further exchange; for rollbacks (C(active)).
    type: bool
    default: false
  confirm_within_seconds:
    description: >-
      The host goes back by itself unless the release is confirmed within so many seconds, 5 to 604800: of the switch (C(active)), or from
      now on (C(renewed)).
    type: int
    default: 900
  forced:
    description: Also settle what a run holds that may still live (C(recovered)).
    type: bool
    default: false
  takes_back:
    description: The run that a rollback undoes (C(active)).
    type: str
  retry:
    description: Allow a release that was taken back on this host before (C(active)).
    type: bool
    default: false
  share:
    description:
      - The percentage of its work that the application takes on as a canary, from 1 to 100; it can read it in C(/srv/<application>/share) until
        its release is confirmed or taken back. Without it, all of it (C(active)), or what it was (C(renewed)).
    type: int
  migrate:
    description: This host runs the migrations of the release, or, in a rollback, takes back those that it ran (C(active)).
    type: bool
    default: false
  migrated:
    description: Another host of this run has run the migrations of the release (C(active)).
    type: bool
    default: false
  irreversible_accepted:
    description: Switch to a release that does not know an irreversible migration of what is active, which is refused otherwise (C(active)).
    type: bool
    default: false
  credentials:
    description: >-
      What the service is to get as credentials, as {name: {secret, field}}; see docs/howto/credentials.md (C(staged)). The action plugin takes the
      values from the chain of the host's environment, and says with each where it was. The host encrypts them, and nothing is switched to them
      yet. Without it, those that are there stay.
    type: dict
  credential_values:
    description: Their values, in one text. The action plugin sets it. Not for playbooks.
    type: str
  generation:
    description:
      - The generation of credentials to switch to with the release, as C(staged) returned it (C(active)). Without it the service keeps its own.
      - A rollback needs none, it takes the one that its release had. With C(confirmed) it is what C(active) returned, for check mode.
    type: str
  credentials_replaced:
    description: Once this is confirmed nothing goes back to an older generation of credentials, since what is in those ends (C(active)).
    type: bool
    default: false
  smoke_test_passed:
    description: What the smoke test from outside found, for the record; omit it where there is none (C(confirmed)).
    type: bool
  keep_count:
    description: How many releases stay on the host, the active and the previous one included (C(confirmed)).
    type: int
    default: 5
  reason:
    description: A stable code for the record (C(reverted)).
    type: str
    default: taken_back
  message:
    description: A sentence for the record (C(reverted)).
    type: str
    default: taken back by its own run
  witnessed:
    description: The size of the newest checkpoint of this history that the controller keeps, as {size}. The action plugin fills it in.
    type: dict
"""

EXAMPLES = r"""
- name: Bring the release to the host without touching what is active
  slipway_release:
    state: staged
    application: shop
    description: "{{ slipway_applications.shop }}"
    environment: prod
    run: "{{ plan.run }}"
    release_id: v1.2.3
    catalogue: .slipway/catalogue
    source: [https://store.example/slipway, https://other.example/slipway]

- name: Switch to it, restart and ask for its health
  slipway_release:
    state: active
    application: shop
    description: "{{ slipway_applications.shop }}"
    environment: prod
    run: "{{ plan.run }}"
    release_id: v1.2.3

- name: Keep it
  slipway_release:
    state: confirmed
    application: shop
    description: "{{ slipway_applications.shop }}"
    environment: prod
    run: "{{ plan.run }}"
    release_id: v1.2.3
    smoke_test_passed: true
"""

RETURN = r"""
outcome:
  description: switched, unchanged, renewed, ready, confirmed, reverted, stuck or recovered.
  returned: all states but staged
  type: str
  sample: switched
release_id:
  description: The release that was asked for.
  returned: all states but recovered
  type: str
previous_release_id:
  description: What was active before, null for nothing.
  returned: active
  type: str
active_release_id:
  description: What the link says after the exchange, null for nothing.
  returned: all states but staged
  type: str
health:
  description: The verdict as {outcome, attempts, detail}; outcome is success, failure or inconclusive (no probe declared).
  returned: active, reverted
  type: dict
seconds_left:
  description: In how many seconds the host goes back by itself unless the release is confirmed.
  returned: renewed
  type: int
generation:
  description: The generation of credentials that was staged, or that the service is to have; C(unmade) in check mode for a new one, null for none.
  returned: staged, active
  type: str
credentials:
  description: What would change by a switch to what was staged, as {names, added, changed, removed}, lists of names; null where nothing was said of them.
  returned: staged
  type: dict
commands:
  description: What the switch runs beside the unit, a line each; pending migrations also where another host runs them.
  returned: staged, active
  type: list
  elements: str
healthy:
  description: Whether what is active after going back is well.
  returned: when the host went back
  type: bool
recovered:
  description: Whether a transaction that an earlier run left open was settled first.
  returned: staged, active
  type: bool
approvals:
  description: The approvals that count, as C({role, holder, digest, created, expires}); the host keeps them beside the release.
  returned: staged
  type: list
  elements: dict
objects:
  description: How many objects the host lacked.
  returned: staged
  type: int
bytes:
  description: How many bytes the host lacked.
  returned: staged
  type: int
fetched:
  description: >-
    What the host fetched from the store, as {objects, bytes, resumed_bytes, left}; resumed_bytes were left by an earlier fetch, left says for
    each mirror that was left for another one why. Null where it fetched nothing.
  returned: staged
  type: dict
warnings:
  description: Mirrors that were left for another one.
  returned: staged, when there were such
  type: list
  elements: str
missing:
  description: SHA-256 of objects that are still missing; empty when the release is whole.
  returned: staged
  type: list
  elements: str
resident_refreshed:
  description: Whether the resident package was replaced.
  returned: staged
  type: bool
check:
  description: How the declared check command ended.
  returned: staged, when one is declared
  type: str
pruned:
  description: Releases that were removed.
  returned: confirmed
  type: list
  elements: str
prune_error:
  description: Why old releases could not be removed; the release is confirmed all the same.
  returned: confirmed, when pruning failed
  type: str
record:
  description: The record that was appended to the history.
  returned: when one was appended; recovered, null where none was
  type: dict
log:
  description: >-
    What the history is beside what the host signed of it, as {outcome, detail, size, root, checkpoint, key, consistency, torn}.
    outcome is intact, torn (a last line that a crash cut off), truncated or altered; checkpoint the newest signed note, key the host's
    public key, consistency the proof that the checkpoint goes on from what was witnessed.
  returned: all states but staged
  type: dict
witness:
  description: >-
    The controller's verdict on the history, as {outcome, detail}; null where the host said nothing of it. See docs/howto/verify-a-fleet.md.
  returned: always
  type: dict
reason:
  description: Stable code of a failure or refusal, e.g. health_failed, release_altered, environment_mismatch, locked.
  returned: failure, or when the host went back
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

MODULE = MODULES["slipway_release"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
