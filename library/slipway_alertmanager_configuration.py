#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_alertmanager_configuration
short_description: The configuration of Alertmanager
description:
  - Makes Alertmanager's configuration from a table of environments, severities and channels, as text, and says which files hold which
    secrets. An environment in which nobody would hear of something critical is refused.
  - Runs on the controller and opens no connection; writes nothing and reads no secret.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same.
options:
  pagerduty:
    description: The channel, as C({enabled, routing_key_secret, url}).
    type: dict
    required: true
  slack:
    description: The channel, as C({enabled, url_secret, channel}).
    type: dict
    required: true
  email:
    description: The channel, as C({enabled, to, from, smarthost, username, password_secret, authority}).
    type: dict
    required: true
  webhook:
    description: The channel, as C({enabled, url, authorization_type, authorization_secret}).
    type: dict
    required: true
  routes:
    description: >-
      Who is told of what, as C({environment: {severity: [channels]}}).
    type: dict
    required: true
  quiet_hours:
    description: When warnings and less are held back, as C({name, environments, severities, start, end, location, weekdays}).
    type: list
    elements: dict
    required: true
  repeat_hours:
    description: After how long an alert that goes on is repeated.
    type: int
    required: true
  watch_repeat_usual_hours:
    description: The same inside a watch window whose release does not say.
    type: int
    required: true
  watch_repeat_hours:
    description: The repeats that a release may ask for.
    type: list
    elements: int
    required: true
  group_wait_seconds:
    description: How long the first alert of a group waits for others.
    type: int
    required: true
  group_interval_seconds:
    description: How long a change of a group waits for others.
    type: int
    required: true
  watchdog_url:
    description: The dead-man's switch outside that hears every minute that alerts arrive; empty for none.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Make Alertmanager's configuration
  slipway_alertmanager_configuration:
    pagerduty: {enabled: false}
    slack: {enabled: true, url_secret: "alerting/slack", channel: "#alerts"}
    email: {enabled: false}
    webhook: {enabled: false}
    routes: {prod: {critical: [slack], warning: [slack]}}
    quiet_hours: []
    repeat_hours: 6
    watch_repeat_usual_hours: 2
    watch_repeat_hours: [1, 2, 4]
    group_wait_seconds: 0
    group_interval_seconds: 60
    watchdog_url: ""
  register: alertmanager
"""

RETURN = r"""
configuration:
  description: The text of C(alertmanager.yml).
  returned: success
  type: str
secrets:
  description: >-
    The files with secrets, as C({file: {secret, field}}).
  returned: success
  type: dict
msg:
  description: Why it was refused.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. alerting_invalid or alerting_deaf.
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
