#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_application_monitoring
short_description: The rules and the dashboard that a release brings, as Prometheus and Grafana take them
description:
  - Makes the rule file of an application from the one that its release brings. Links lead to this site's runbooks, and every alert says release,
    last deployment and watch window. Names of Slipway's own rules and dashboards are refused, and so are rules without tests.
  - Runs on the controller and opens no connection; writes nothing.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same.
options:
  rules:
    description: The release's monitoring/rules.yml. Empty where it brings none.
    type: str
    default: ""
  rules_test:
    description: Its monitoring/rules_test.yml, promtool's tests of the rules.
    type: str
    default: ""
  dashboard:
    description: Its monitoring/dashboard.json. Empty where it brings none.
    type: str
    default: ""
  application:
    description: The application.
    type: str
    required: true
  runbooks_url:
    description: Where the runbooks are.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Judge what this release brings
  slipway_application_monitoring:
    rules: "{{ brought_rules }}"
    rules_test: "{{ brought_tests }}"
    application: hello
    runbooks_url: https://wiki.example/runbooks
  register: monitoring
"""

RETURN = r"""
rules:
  description: The text of the rule file, empty where there are none.
  returned: success
  type: str
dashboard:
  description: The text of the dashboard, empty where there is none.
  returned: success
  type: str
msg:
  description: Why it was refused.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. rules_invalid or dashboard_invalid.
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
