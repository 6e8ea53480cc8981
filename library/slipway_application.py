#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_application
short_description: Which application and environment a run is for
description:
  - Checks the description of the application and that there is no doubt which one is meant, and which environment.
  - Checks in a job of AWX that it came with what it needs (an ssh key for its hosts, a trust policy), and is from the commit that was asked for.
  - Runs on the controller and opens no connection. Use it with C(run_once).
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Decides the same; changes nothing on hosts in either mode.
options:
  applications:
    description: C(slipway_applications).
    type: dict
    required: true
  name:
    description: The application that is asked for; empty for the only one.
    type: str
    default: ""
  environments:
    description: The environments of a deployment's hosts, which have to be one.
    type: list
    elements: str
    default: []
  environment:
    description: The one that was named, empty for none.
    type: str
    default: ""
  is_alone:
    description: Whether there was no other deployment or rollback in this process, whose answers would count in this one.
    type: bool
    default: true
  release_id:
    description: The release that is asked for; empty for none. Whether there is one of that name is not asked here.
    type: str
    default: ""
  project_revision:
    description: The commit of this repository that the run has to be from, 7 to 40 hex digits; empty for any.
    type: str
    default: ""
  workflow_revision:
    description:
      - The commit that an earlier job of the same workflow of AWX was from, 40 hex digits; empty for none. A job from another one is refused.
      - Left out it is not judged, and nothing is handed on.
    type: str
  root:
    description: The root of this repository.
    type: str
    default: ""
  trust_policy:
    description: The controller's trust policy. A job of AWX without it is refused; empty does not ask for it.
    type: str
    default: ""
  state_directory:
    description: Where the controller keeps its memory, which it has to be able to write; empty does not ask for it.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Find out which application this run is for
  slipway_application:
    applications: "{{ slipway_applications }}"
  run_once: true
  register: application
"""

RETURN = r"""
name:
  description: The application.
  returned: success
  type: str
workflow_revision:
  description: The commit that this job of a workflow of AWX is from, for those that follow; empty elsewhere.
  returned: success
  type: str
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
