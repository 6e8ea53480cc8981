#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the state of an application on a host; see module_utils/slipway/host/status.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_application_info
short_description: What an application on a host serves, and what it could go back to
description:
  - Reads the link, the history, the journal and the releases of one application. Changes nothing.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Only reads.
options:
  application:
    description: Name of the application, a key of C(slipway_applications).
    type: str
    required: true
  description:
    description: The application's entry of C(slipway_applications).
    type: dict
    required: true
  environment:
    description: Refuse when the host is of another environment.
    type: str
  health:
    description: Ask the declared health probes once.
    type: bool
    default: false
  manifest:
    description: Return what the manifest of the active release says.
    type: bool
    default: false
  verify:
    description: Verify signatures, file list and every byte of the active release.
    type: bool
    default: false
  preflight:
    description: Check whether the host is ready for a deployment. With O(health) each health probe is a result too.
    type: bool
    default: false
  plan:
    description: The answer is for a plan, so that O(health) adds no results to O(preflight), since a deployment may be what mends it.
    type: bool
    default: false
  credentials:
    description: The names of the credentials that a deployment would bring, which O(preflight) counts as given. Names, never values.
    type: list
    elements: str
    default: []
  witnessed:
    description: The size of the newest checkpoint of this history that the controller keeps, as {size}. The action plugin fills it in.
    type: dict
"""

EXAMPLES = r"""
- name: Look at the shop
  slipway_application_info:
    application: shop
    description: "{{ slipway_applications.shop }}"
    health: true
  register: shop

- name: Show what is active
  ansible.builtin.debug:
    msg: "{{ shop.active }} since {{ shop.since }}, before it {{ shop.previous }}"
"""

RETURN = r"""
host:
  description: Who the host is, as {id, name, environment}.
  returned: success
  type: dict
policy:
  description:
    - The trust policy in force, as {version, digest, expires, problem}. Where there is none that holds, C(problem) is the
      reason and nothing can be activated.
  returned: success
  type: dict
application:
  description: The application.
  returned: success
  type: str
active:
  description: What the link says, null for nothing.
  returned: success
  type: str
settled:
  description: What will be active once an open transaction is settled; the same as active when none is open.
  returned: success
  type: str
since:
  description: When the active release became active.
  returned: success
  type: str
deployed_by:
  description: Who made it active.
  returned: success
  type: str
previous:
  description: The release that a rollback would go to, null for none.
  returned: success
  type: str
bad:
  description: Releases that were taken back, with the reason.
  returned: success
  type: dict
last_success:
  description: The newest deployment that was recorded as a success.
  returned: success
  type: str
last_good:
  description: The newest release that succeeded and was never taken back.
  returned: success
  type: str
releases:
  description: Whole releases on the host as [{release_id, tree, manifest_digest, sequence, was_active}].
  returned: success
  type: list
  elements: dict
high_water:
  description: >-
    The newest release that was deployed here with success, as {sequence, manifest_digest}; null before the first. Anything older
    is a step back.
  returned: success
  type: dict
reach:
  description: >-
    The digests of the manifests that the host's trust policy lets it go back to by itself, newest first; null when the policy
    cannot be read.
  returned: success
  type: list
  elements: str
transaction:
  description: >-
    The open transaction, as {id, operation, started, run_id, deployed_by, release_id, previous_release_id, step, seconds_left}; null when
    there is none. In seconds_left seconds the host goes back by itself unless the release is confirmed.
  returned: success
  type: dict
lease:
  description: Who holds the application between the exchanges of a run, null for nobody.
  returned: success
  type: dict
credentials:
  description: >-
    What the service gets as credentials, as {generation, created, credentials}, the last as {name: {secret, field, provider, version, since}},
    where since is when this host first got the value. Null for none. Never a value.
  returned: success
  type: dict
lock:
  description: The lock that a person took, as {id, holder, message, since, until}; null for none.
  returned: success
  type: dict
runs:
  description: The newest records in short, newest first, each with the watch window that it opened, as {start, end}, or null.
  returned: success
  type: list
  elements: dict
resident_digest:
  description: SHA-256 of the resident package, null when there is none.
  returned: success
  type: str
health:
  description: Verdict of the health probes as {outcome, attempts, detail}, null unless asked for.
  returned: success
  type: dict
manifest:
  description: >-
    What the manifest of the active release says (application, version, release_id, created, expires, builder, source, and
    release_type, audit, artifacts, metadata, monitoring and rollback_plan where it has them), for showing. Null unless asked for, or where it cannot be read.
  returned: success
  type: dict
trust:
  description: Verification of the active release by its signatures and file list, as {release_id, outcome, detail}.
  returned: success
  type: dict
bytes_checked:
  description: When every byte of the active release was last verified, at its activation or by request; null where nothing is active.
  returned: success
  type: str
integrity:
  description: The same and every byte of it, null unless asked for.
  returned: success
  type: dict
preflight:
  description: >-
    What was checked as {results, room, schema_revision}, null unless asked for. A result is {check, subject, status, found,
    remedy} with the status PASS, WARN or FAIL; no secret value is in it.
  returned: success
  type: dict
log:
  description: >-
    What the history is beside what the host signed of it, as {outcome, detail, size, root, checkpoint, key, consistency, torn}.
    outcome is intact, torn (a last line that a crash cut off), truncated or altered; checkpoint the newest signed note, key the host's
    public key, consistency the proof that the checkpoint goes on from what was witnessed.
  returned: success
  type: dict
witness:
  description: >-
    The controller's verdict on the history, as {outcome, detail}; null where the host said nothing of it. See docs/howto/verify-a-fleet.md.
  returned: always
  type: dict
reason:
  description: Stable code of a refusal, e.g. environment_mismatch.
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

MODULE = MODULES["slipway_application_info"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
