#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_prometheus_configuration
short_description: The configuration of the Prometheus that watches the hosts
description:
  - Makes Prometheus' configuration, its rule files and the file by which it listens from the inventory and group_vars, as text. What
    is beyond loopback and has no TLS with client certificates is refused.
  - Runs on the controller and opens no connection; writes nothing.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same.
options:
  hosts:
    description: The hosts that are watched; those without C(slipway_environment) are left out.
    type: list
    elements: str
    required: true
  applications:
    description: >-
      Where applications have metrics, as C({name: {port, path, tls_enabled}}).
    type: dict
    required: true
  alertmanagers:
    description: The addresses of Alertmanagers.
    type: list
    elements: str
    required: true
  agents_port:
    description: The port of the hosts' exporters.
    type: int
    required: true
  tls:
    description: C({certificate, key, authority}), files on the host that serve and ask beyond loopback; all empty where nothing does.
    type: dict
    required: true
  rules_path:
    description: The directory with the rule files that all sites have.
    type: path
    required: true
  runbooks_url:
    description: Where the runbooks are, for the links in alerts.
    type: str
    required: true
  watch_metrics:
    description: What is compared inside the watch window and outside (docs/howto/observe.md).
    type: dict
    required: true
  watch_repeat_hours:
    description: After how long an alert is repeated inside a window whose release does not say.
    type: int
    required: true
  retention_days:
    description: How long metrics are kept, at least.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Make Prometheus' configuration
  slipway_prometheus_configuration:
    hosts: "{{ groups.all }}"
    applications: {hello: {port: 8080, path: /metrics, tls_enabled: false}}
    alertmanagers: ["127.0.0.1:9093"]
    agents_port: 9100
    tls: {certificate: "", key: "", authority: ""}
    rules_path: roles/prometheus/files/rules
    runbooks_url: https://wiki.example/runbooks
    watch_metrics: {}
    watch_repeat_hours: 2
    retention_days: 15
  register: prometheus
"""

RETURN = r"""
configuration:
  description: The text of C(prometheus.yml).
  returned: success
  type: str
rules:
  description: >-
    The rule files, as C({name: text}).
  returned: success
  type: dict
retention_days:
  description: How long metrics are kept, so that the longest window has what it looks at.
  returned: success
  type: int
msg:
  description: Why it was refused.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. scraping_invalid, listening_unguarded or watch_invalid.
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
