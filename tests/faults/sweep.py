# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls of an operation a fault can strike."""

from __future__ import annotations

import re

from faults import strace
from faults.machine import Machine
from faults.operations import Operation, recover
from faults.strace import KILL, Call


def points_of(operation: Operation, machine: Machine, fault: str) -> list[Call]:
    """Every call of the operation on this machine's disk that the fault can strike.

    What systemd does to its own memory is not ours to fail, but we may die meanwhile.
    """
    where = str(machine.disk if fault == KILL else machine.disk / "root")
    for warming_up in (
        operation.exchange,
        recover,
    ):  # what Python imports late would be counted in the first child only
        warming_up(machine)
    machine.start_over()
    ended = strace.run(lambda: operation.exchange(machine))
    assert ended.answer is not None
    machine.start_over()
    return [call for call in ended.calls if where in call.about and call.can(fault)]


def place_of(call: Call, machine: Machine) -> str:
    """Which call it is, in words without what is random."""
    about = re.sub(r"[0-9a-f]{16,}", "*", call.about.replace(str(machine.disk), ""))
    return f"{call.name} {call.number}: {about}"
