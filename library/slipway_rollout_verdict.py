#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_rollout_verdict
short_description: Whether a rollout goes on
description:
  - Judges the waves of a rollout from what their tasks returned, after each wave and once more at the end of the run.
  - A host that is unreachable counts as one that failed, here and nowhere else.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same, but neither soaks nor pauses; changes nothing on hosts in either mode.
options:
  rollout:
    description: The rollout, as C(slipway_deploy_plan) returned it.
    type: dict
    required: true
  results:
    description:
      - For each of activation, smoke, analysis, soak, soak_smoke, reversion, renewal, gate, verdict and contact, what its task registered, by host.
      - Other stages are not looked at.
    type: dict
    required: true
  wave:
    description: The wave that has just been switched; 0 for the whole run at its end.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Judge this wave
  slipway_rollout_verdict:
    rollout: "{{ plan.rollout }}"
    results:
      activation: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'activation') }}"
    wave: 1
  run_once: true
  register: verdict
"""

RETURN = r"""
decision:
  description: C(go_on), C(soak), C(pause) or C(stop).
  returned: success
  type: str
msg:
  description: Why, in a sentence; empty when all is well.
  returned: always
  type: str
outcomes:
  description: >-
    By host, for the waves so far, C({outcome, detail}); outcome is switched, unchanged, inconclusive, failed or unreachable.
  returned: success
  type: dict
switched:
  description: The hosts that serve the new release, in the waves so far.
  returned: success
  type: list
  elements: str
waiting:
  description: The hosts whose wave has not come.
  returned: success
  type: list
  elements: str
keep:
  description: At the end, the hosts whose release is confirmed.
  returned: success
  type: list
  elements: str
take_back:
  description: At the end, the hosts that go back.
  returned: success
  type: list
  elements: str
renewals:
  description: For each host of the wave, the hosts whose dead-man it has renewed, so that the work is shared.
  returned: success
  type: dict
renews:
  description: Whether hosts are told anew how long they wait, and that they take on all of their work.
  returned: success
  type: bool
soak_seconds:
  description: How long the wave soaks.
  returned: success
  type: int
pause_seconds:
  description: How long a gate stays open for an answer.
  returned: success
  type: int
confirm_within_seconds:
  description: How long hosts wait from now on for their confirmation, also in the pause if there is one.
  returned: success
  type: int
until:
  description: When each host that may be switched goes back by itself at the latest, by host.
  returned: success
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
