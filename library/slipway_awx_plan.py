#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_awx_plan
short_description: Judge what an AWX is to have, and compare it with what it has
description:
  - Reads O(directory), refuses every mistake in it before anything is sent, and reads what the AWX has of the same organization.
  - Reads each named secret that AWX has no value of yet, so that one that cannot be read is refused before anything is sent. None is in the answer.
  - The connection is the collection's own, by CONTROLLER_HOST and CONTROLLER_OAUTH_TOKEN of the environment.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same; it only reads in either mode.
options:
  collection:
    description: The collection whose plugins are used, C(awx.awx) or C(ansible.controller).
    type: str
    required: true
  directory:
    description: The directory with the data.
    type: path
    required: true
  root:
    description: The repository, whose playbooks, inventories and argument specs the data are compared with.
    type: path
    required: true
  settings:
    description: "What is otherwise here than in the data, as C({kind: {name: {option: value}}})."
    type: dict
    default: {}
  notifications:
    description: Names of the notification templates that are used here; the others are left out.
    type: list
    elements: str
    default: []
  secrets:
    description: "Names of secrets for fields that are in no data, as C({kind: {name: {field: {secret, field}}}}). Never values."
    type: dict
    default: {}
  secrets_updated:
    description: Also read the named secrets that AWX has a value of already.
    type: bool
    default: false
  left_over:
    description: What becomes of what is left over, C(kept) or C(removed).
    type: str
    default: kept
"""

EXAMPLES = r"""
- name: Judge the data, and compare them with what AWX has
  slipway_awx_plan:
    collection: awx.awx
    directory: "{{ slipway_root }}/awx"
    root: "{{ slipway_root }}"
"""

RETURN = r"""
address:
  description: The AWX.
  returned: success
  type: str
organization:
  description: The organization that all of it belongs to.
  returned: success
  type: str
steps:
  description: Runs of modules that bring AWX to what the data say, in order; each is the O(slipway_awx_object#module:step) of M(slipway_awx_object).
  returned: success
  type: list
  elements: dict
left_over:
  description: Runs that remove what was made from these data and is not in them (any more), what names something before what it names.
  returned: success
  type: list
  elements: dict
removes:
  description: Whether what is left over is to be removed.
  returned: success
  type: bool
left_over_table:
  description: The same for people. Empty for none.
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
