#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_rollback_plan
short_description: What a rollback is to do
description:
  - Decides which hosts go back to which release and begins the run.
  - Without O(release_id) the newest deployment run is taken back on the hosts that it touched, or, when O(limited), each given host goes back to its previous good release.
  - Refuses what a host said that its trust policy does not let it go back to, unless the catalogue has an authorization for it.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  application:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: The environment of every host of the run; empty for a rollback over the whole inventory.
    type: str
    required: true
  state_directory:
    description: Where the controller keeps its state.
    type: path
    required: true
  run_group:
    description: What joins this run with others that belong to it, such as the number of a workflow job of AWX; empty for nothing.
    type: str
    default: ""
  lease_seconds:
    description: How long a host stays reserved for the run when the run does not end.
    type: int
    default: 900
  answers:
    description: What C(slipway_application_info) answered, by host; a host without an answer is one that did not respond.
    type: dict
    required: true
  catalogue:
    description: Directory of the catalogue, for rollback authorizations; it need not have the release.
    type: path
    required: true
  release_id:
    description: The release to go back to; empty for the previous good one.
    type: str
    default: ""
  limited:
    description: Whether the operator said which hosts (C(-l)).
    type: bool
    default: false
  undone:
    description: O(release_id) is the release to take back. Nothing is done unless the newest deployment run brought it, and is of O(run_group) where that is said.
    type: bool
    default: false
  hooks:
    description: The operator's task files by moment, absolute or below O(root); see docs/howto/hooks-and-migrations.md. Each has to be there.
    type: dict
    default: {}
  root:
    description: Where relative paths of O(hooks) begin.
    type: path
    default: "."
  irreversible_accepted:
    description: Go back over irreversible migrations, which is refused otherwise.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Decide who goes back to what
  slipway_rollback_plan:
    application: shop
    environment: prod
    state_directory: .slipway
    catalogue: .slipway/catalogue
    limited: "{{ ansible_limit is defined }}"
    answers: "{{ ansible_play_hosts_all | slipway_by_host(hostvars, 'inspection') }}"
  run_once: true
  register: plan
"""

RETURN = r"""
run:
  description: The run, for C(slipway_release); null when nothing is to do.
  returned: success
  type: dict
unrecorded:
  description: Why this controller's memory does not have the run; empty where it has.
  returned: success
  type: str
targets:
  description: The release to go to, by host.
  returned: success
  type: dict
takes_back:
  description: The run that is undone, by host.
  returned: success
  type: dict
recover:
  description: Hosts on which a run that did not end is to be settled first.
  returned: success
  type: list
  elements: str
hooks:
  description: The operator's task files by moment, as absolute paths.
  returned: success
  type: dict
migrate:
  description: Whether hosts take back the migrations that they ran. Not where a host that is not in this run may still need them.
  returned: success
  type: bool
message:
  description: What will be done, in a sentence.
  returned: success
  type: str
silent:
  description: Hosts of a limited run that did not answer and are left as they are.
  returned: success
  type: list
  elements: str
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
