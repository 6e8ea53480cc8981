#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_listener
short_description: How something of Prometheus' kind listens
description:
  - Makes the file by which Prometheus, Alertmanager and exporters listen with TLS and ask for client certificates, as text. An address
    beyond loopback without them is refused.
  - Runs on the controller and opens no connection; writes nothing.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Does the same.
options:
  address:
    description: Where it listens.
    type: str
    required: true
  ports:
    description: The ports on which it listens there.
    type: list
    elements: int
    required: true
  tls:
    description: C({certificate, key, authority}), files on the host that serve and ask beyond loopback; all empty where nothing does.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how Prometheus listens
  slipway_listener:
    address: 192.0.2.10
    ports: [9090]
    tls: {certificate: /etc/slipway/monitoring/certificate.pem, key: /etc/slipway/monitoring/key.pem, authority: /etc/slipway/monitoring/authority.pem}
  register: listener
"""

RETURN = r"""
configuration:
  description: The text of the file; a mere comment on loopback.
  returned: success
  type: str
guarded:
  description: Whether it asks for a certificate.
  returned: success
  type: bool
listens:
  description: The address with each of the ports, as programs take it; one of version 6 stands in brackets.
  returned: success
  type: list
  elements: str
msg:
  description: Why it was refused.
  returned: failure
  type: str
reason:
  description: Stable code of a refusal, e.g. listening_unguarded.
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
