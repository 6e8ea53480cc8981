#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_monitoring_certificate
short_description: Have a certificate for a host that watches or is watched
description:
  - Returns the files, on the controller, of a certificate by which a host serves its metrics and asks for those of others. It is made with the
    authority that the controller keeps, when there is none, when it ends within 60 days, or when the host has another address.
  - Runs on the controller and opens no connection.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says whether one would be made.
options:
  state_directory:
    description: Where the controller keeps its memory; the authority is in C(monitoring/) of it.
    type: path
    required: true
  name:
    description: The host.
    type: str
    required: true
  addresses:
    description: The addresses by which others reach it.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Have a certificate
  slipway_monitoring_certificate:
    state_directory: .slipway
    name: "{{ inventory_hostname }}"
    addresses: ["{{ ansible_host }}"]
  register: certificate
"""

RETURN = r"""
certificate:
  description: The file of the certificate.
  returned: success
  type: str
key:
  description: The file of its key.
  returned: success
  type: str
authority:
  description: The file of the authority's certificate.
  returned: success
  type: str
expires:
  description: When it ends.
  returned: success
  type: str
msg:
  description: Why it was refused.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. certificate_invalid.
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
