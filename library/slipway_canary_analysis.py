#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_canary_analysis
short_description: Whether a canary is as good as the hosts that have the release before
description:
  - Lets a wave soak, and asks Prometheus meanwhile for the same figures of the hosts that were switched and of those that were not.
  - A failure ends the soak at once. Too little data, or a Prometheus that does not answer, is neither a success nor a failure.
  - Runs on the controller and opens no connection to hosts. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same; changes nothing in either mode.
options:
  analysis:
    description: C(release_analysis), with C(interval_seconds) and C(measures).
    type: dict
    required: true
  prometheus:
    description: C(release_prometheus), with C(url), and C(certificate), C(key) and C(authority) where it asks for a client certificate.
    type: dict
    required: true
  new:
    description: The hosts that were switched.
    type: list
    elements: str
    required: true
  old:
    description: The hosts that were not.
    type: list
    elements: str
    required: true
  seconds:
    description: How long the wave soaks.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Compare the canary with the others
  slipway_canary_analysis:
    analysis:
      interval_seconds: 15
      measures:
        errors:
          query: sum(rate(http_requests_total{code=~"5..",instance=~"$hosts"}[1m])) / sum(rate(http_requests_total{instance=~"$hosts"}[1m]))
          worse_percent: 50
          worse_by: 0.01
    prometheus: {url: "http://127.0.0.1:9090"}
    new: [prod-1]
    old: [prod-2, prod-3]
    seconds: 300
  run_once: true
  register: analysis
"""

RETURN = r"""
outcome:
  description: C(success), C(failure) or C(inconclusive).
  returned: success
  type: str
detail:
  description: Why.
  returned: success
  type: str
comparisons:
  description: C({name, outcome, detail}) of each figure.
  returned: success
  type: list
  elements: dict
milliseconds:
  description: How long it took.
  returned: success
  type: int
msg:
  description: Why nothing could be compared.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. analysis_invalid.
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
