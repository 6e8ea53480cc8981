#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_delivery_info
short_description: Say how often, how fast and how well is delivered
description:
  - Answers from what the controller remembers of its runs, or of all controllers that share a database. Asks no host.
  - docs/howto/report.md has what each measure means.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says the same, and writes no page.
options:
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  application:
    description: Only this application; empty for all. One of which no run is remembered is refused.
    type: str
    default: ""
  environment:
    description: Only this environment; empty for all. One of which no run is remembered is refused.
    type: str
    default: ""
  weeks:
    description: Of how many weeks until now, from 1 to 520.
    type: int
    default: 12
  format:
    description: What C(text) is, a table for people or JSON for programs.
    type: str
    choices: [table, json]
    default: table
  page:
    description: A file for the same as one HTML page that needs nothing else; empty for none. It is written over.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Measure deliveries
  slipway_delivery_info:
    state_directory: .slipway
    application: shop
    environment: prod
    page: report.html
  run_once: true
  register: deliveries
"""

RETURN = r"""
history:
  description: >-
    {since, until, measures [{application, environment, week, release_type, changes, failures, deployments_per_week, success_rate, change_failure_rate,
    lead_time_seconds, time_to_restore_seconds, not_restored}], changes [{run_id, application, environment, release_id, release_type, deployed_by, began,
    ended (null where it was cut off), run_group, lead_time_seconds, failed, restored, hosts}], unended (run ids)}. A week or a release type of C(all) stands for all of them.
    The release type C(redeployment) is a deployment of the release that its hosts served already; it is in no measure of C(all) types.
  returned: success
  type: dict
text:
  description: The same as the format that was asked for.
  returned: success
  type: str
reason:
  description: Stable code of a refusal.
  returned: refusal
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
