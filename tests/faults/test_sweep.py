# SPDX-License-Identifier: GPL-3.0-or-later
"""Killed, or failed by the disk, at any system call of any operation, of recovery too: recovered from, and whole."""

from __future__ import annotations

import pytest

from faults import strace
from faults.invariants import Known, require_honest, require_served, require_settled
from faults.machine import CREDENTIALS, Machine
from faults.operations import OPERATIONS, RECOVERIES, Operation, recover
from faults.strace import KILL, Call
from faults.sweep import place_of, points_of

SAMPLE = 3
NORMAL_EVERY = 5
TRIES = 3  # on a busy machine a probe is asked once more now and then, which is some calls more or less
FAULTS = (KILL, "EIO", "ENOSPC")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", [*OPERATIONS, *RECOVERIES], ids=lambda operation: operation.name)
def test_a_fault_in_any_call_is_recovered_from(operation, fault, machine, sample, tell):
    operation.prepare(machine)
    before = Known.of(machine)
    points = points_of(operation, machine, fault)
    assert points, "nothing to strike"
    chosen = sample(points, SAMPLE)
    for number, call in enumerate(chosen):
        try:
            strike(operation, machine, fault, call, before)
            if number % NORMAL_EVERY == 0:
                require_normal(machine)
        except AssertionError as error:
            raise AssertionError(f"{fault} in {place_of(call, machine)}: {error}") from error
        machine.start_over()
    tell(operation.name, fault, len(chosen))


def strike(operation: Operation, machine: Machine, fault: str, call: Call, before: Known) -> None:
    """One fault in one call, and what follows."""
    for _ in range(TRIES):
        ended = strace.run(lambda: operation.exchange(machine), fault=fault, at=call)
        if ended.fired:
            break
        machine.start_over()
    assert ended.fired, "the fault did not fire"
    if fault == KILL:
        assert ended.answer is None
    else:
        assert ended.answer is not None
        require_honest(machine, before, ended.answer)
        if not ended.answer.get("failed"):
            assert operation.is_done(machine), f"says that it is done, but is not: {ended.answer}"
    require_served(machine, {"v1", "v2", "v3"})
    answer = recover(machine)
    assert not answer.get("failed"), answer
    if operation.at_boot:
        machine.start_units()
    require_settled(machine, before, operation.possible)


def require_normal(machine: Machine) -> None:
    """An operator goes on as if nothing had been."""
    before = Known.of(machine)
    machine.site.deploy("v4", "run-4", migrate=True, credentials=CREDENTIALS["v4"])
    require_settled(machine, before, {"v4"})
    assert not machine.site.places.incoming.exists(), "what a fetch left outlived the next confirmation"
