#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the history of an application on a host; see module_utils/slipway/host/history.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_history_info
short_description: The deployment history of an application on a host
description:
  - Reads the history and checks its chain. Changes nothing.
  - Keeps three answers apart, because after trouble they differ. C(active) is what the link says, C(last_success) the newest
    deployment recorded as a success, C(last_good) the newest release that succeeded and was never taken back.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Only reads.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  limit:
    description: How many records, newest first.
    type: int
    default: 10
  witnessed:
    description: The size of the newest checkpoint of this history that the controller keeps, as {size}. For controllers.
    type: dict
"""

EXAMPLES = r"""
- name: Read the last five records of the shop
  slipway_history_info:
    application: shop
    limit: 5
  register: history

- name: Show how the last deployment ended
  ansible.builtin.debug:
    msg: "{{ history.records[0].release_id }} {{ history.records[0].status }}"
"""

RETURN = r"""
records:
  description: >-
    Records, newest first, each with seq, prev_hash, timestamp, release_id, previous_release_id, active_release_id,
    environment, status, rollback, operation, reason, message, artifacts, backups, smoke_test_passed, deployed_by, run_id,
    controller_id, host_id, application, transaction, manifest_digest, sequence, policy, takes_back, approvals, authorizations,
    window, verification, hooks, migrations, irreversible_accepted, shared_links, credentials, durations.
  returned: success
  type: list
  elements: dict
active:
  description: What the link says, null for nothing.
  returned: success
  type: str
last_success:
  description: The newest record of a deployment that succeeded, null for none.
  returned: success
  type: dict
last_good:
  description: The newest release that succeeded and was never taken back, null for none.
  returned: success
  type: str
log:
  description: >-
    What the history is beside what the host signed of it, as {outcome, detail, size, root, checkpoint, key, consistency, torn}.
    outcome is intact, torn (a last line that a crash cut off), truncated or altered; checkpoint the newest signed note, key the host's
    public key, consistency the proof that the checkpoint goes on from what was witnessed.
  returned: success
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

MODULE = MODULES["slipway_history_info"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
