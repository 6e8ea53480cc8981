#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_run_notice
short_description: Tell people that a run begins or how it ended
description:
  - Sends one message by Alertmanager, or when that does not take it by Slack, webhook and mail. A run began, succeeded, failed, or was rolled back.
  - A channel that does not take it never fails a run; it is a warning.
  - Runs on the controller and opens connections to the channels alone. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Sends nothing.
options:
  moment:
    description: What is told. C(staged) tells something only where a host did not get the release, so that the run ends there.
    type: str
    choices: [started, staged, ended]
    required: true
  channels:
    description: Where it is told, as C(heartbeat_channels) of the agents (docs/howto/watch.md).
    type: dict
    required: true
  secrets:
    description: "Secrets of the channels, as C({credential: name}) or C({credential: name#field})."
    type: dict
    default: {}
  runbooks_url:
    description: What a rule's name is added to, for the address of its runbook.
    type: str
    default: ""
  application:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: Where it is deployed.
    type: str
    required: true
  run:
    description: The run.
    type: dict
    required: true
  release_id:
    description: The release that a deployment takes hosts to.
    type: str
    default: ""
  targets:
    description: Of a rollback, the release that each host goes to; nothing for a deployment.
    type: dict
    default: {}
  staged:
    description: What staging registered, by host; with C(staged).
    type: dict
    default: {}
  hosts:
    description: How the run ended on each host, as M(slipway_run_report) says it; with C(ended).
    type: dict
    default: {}
  report:
    description: The report of the run, of which the first line is told; with C(ended).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Tell people that it begins
  slipway_run_notice:
    moment: started
    channels: {slack: {url_credential: slack_url}}
    secrets: {slack_url: alerting/slack}
    application: shop
    environment: prod
    run: "{{ plan.run }}"
    release_id: v1.2.3
  run_once: true
"""

RETURN = r"""
told:
  description: Each channel that was tried, with C(accepted) and C(detail).
  returned: success
  type: list
  elements: dict
msg:
  description: Who was told, and who was not; why it was refused.
  returned: always
  type: str
reason:
  description: Stable code of a refusal, e.g. release_notice_invalid.
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
