#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Door to the lock that a person takes; see module_utils/slipway/host/lock.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: slipway_lock
short_description: Show, take or release the lock of an application on a host
description:
  - While a lock is there nothing is deployed to the host, and whoever tries is told its message. A rollback is not held up by it.
  - A lock of somebody else is not taken over; it may be released.
  - The action plugin of the same name runs on the controller and says who takes it.
version_added: 0.1.0
author: The Slipway founders
attributes:
  check_mode:
    support: full
    description: Says what would be taken or released.
options:
  state:
    description: What to do.
    type: str
    choices: [shown, taken, released]
    default: shown
  application:
    description: Name of the application.
    type: str
    required: true
  environment:
    description: The environment that this is for. A host of another one refuses.
    type: str
    required: true
  message:
    description: Why nothing is to be deployed; one line. Required for C(taken).
    type: str
  hours:
    description: After how many hours the lock ends by itself (C(taken)). Without it, it lasts until it is released.
    type: float
  id:
    description: Release only the lock of this id, as it was returned when it was taken.
    type: str
  holder:
    description: Who takes it. The action plugin sets it. Not for playbooks.
    type: str
"""

EXAMPLES = r"""
- name: Let nobody deploy over the weekend
  slipway_lock:
    state: taken
    application: shop
    environment: prod
    message: frozen until Monday
    hours: 60
"""

RETURN = r"""
outcome:
  description: free, locked, taken or released.
  returned: success
  type: str
lock:
  description: The lock that holds now, or that was released, as {id, holder, message, since, until}; null for none. until is null for no end.
  returned: success
  type: dict
reason:
  description: Stable code of a refusal, e.g. locked_by_hand, lock_invalid.
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

from ansible.module_utils.slipway._module import run_module
from ansible.module_utils.slipway.host.options import MODULES

MODULE = MODULES["slipway_lock"]


def main():
    run_module(argument_spec=MODULE.argument_spec, handler=MODULE.answer, required_if=MODULE.required_if)


if __name__ == "__main__":
    main()
