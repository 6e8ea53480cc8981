#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_awx_object
short_description: Bring one object of an AWX to what it is to be
description:
  - Runs the collection's module of a step of M(slipway_awx_plan), with the fields that are in no data, and says what came of it without their values.
  - What AWX has in such a field stays. A field that is empty there gets the value of the secret that is named for it; without one, a person enters it.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: The module says what it would do; where it could not yet, since what the object names is not there either, that is a change.
options:
  collection:
    description: The collection whose module runs, C(awx.awx) or C(ansible.controller).
    type: str
    required: true
  step:
    description: One of the steps of M(slipway_awx_plan).
    type: dict
    required: true
  secrets_updated:
    description: Also send the values of named secrets that AWX has already. It cannot tell whether they differ, so that counts as a change.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Bring each object to AWX
  slipway_awx_object:
    collection: awx.awx
    step: "{{ item }}"
  loop: "{{ plan.steps }}"
"""

RETURN = r"""
kind:
  description: The kind of the object.
  returned: success
  type: str
name:
  description: Its name.
  returned: success
  type: str
action:
  description: What was done, C(create), C(update), C(remove) or C(none).
  returned: success
  type: str
to_enter:
  description: Fields that are empty at AWX and for which no secret is named, each with the object's name.
  returned: success
  type: list
  elements: str
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
