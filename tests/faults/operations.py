# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations that faults strike, each with what was done before it and what may be served after recovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import stores
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import fetch, recovery
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.places import Places

from faults import strace
from faults.machine import Machine, bringing
from faults.strace import KILL, Call

Answer = dict[str, Any]
Exchange = Callable[[Machine], Answer]


def run_2(machine: Machine) -> dict[str, Any]:
    return machine.site.run("run-2")


def stage(machine: Machine) -> Answer:
    """Bring v3, whose bytes are not here."""
    run = machine.site.run("run-3")
    answer = machine.site.ask("stage", release_id="v3", run=run, pack=machine.pack, **bringing("v3"))
    machine.generations["v3"] = answer.get("generation")
    return answer


def pull(machine: Machine) -> Answer:
    """Let the host fetch v3 by itself, half of it cut off at first; in the one thread that faults strike."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetch, "Limits", partial(fetch.Limits, connections=1, pause_seconds=0))
        machine.mirror.behaviours = [stores.cut_after(5)]
        source = machine.mirror.url
        return machine.site.ask(
            "stage", release_id="v3", run=machine.site.run("run-3"), pack=machine.bare_pack, source=source
        )


def activate(machine: Machine) -> Answer:
    generation = machine.generations["v2"]
    return machine.site.activate("v2", run=run_2(machine), share=10, migrate=True, generation=generation)


def renew(machine: Machine) -> Answer:
    """What a gate does: the dead-man gets another deadline."""
    return machine.site.ask("renew", release_id="v2", run=run_2(machine), confirm_within_seconds=1800)


def activate_ill(machine: Machine) -> Answer:
    """v2 is ill: the exchange goes back by itself."""
    machine.site.sicken("v2")
    try:
        return machine.site.activate("v2", run=run_2(machine), migrate=True, generation=machine.generations["v2"])
    finally:
        machine.site.sicken()


def confirm(machine: Machine) -> Answer:
    return machine.site.confirm("v2", run=run_2(machine))


def prune(machine: Machine) -> Answer:
    """Confirm, and remove v1, which a deployment of v3 has pushed out."""
    return machine.site.confirm("v3", run=machine.site.run("run-3"), keep_count=1)


def revert(machine: Machine) -> Answer:
    return machine.site.revert("v2", run=run_2(machine))


def roll_back(machine: Machine) -> Answer:
    return machine.site.rollback("v1", run=machine.site.run("run-3"))


def recover(machine: Machine) -> Answer:
    """What another run of the same controller does first, which knows that all others are dead."""
    dead = ["run-1", "run-2", "run-3", "run-4"]
    return machine.site.recover(run=machine.site.run("run-9", dead_runs=dead))


def wait(machine: Machine) -> Answer:
    """Nobody confirms until after the deadline."""
    machine.clock.advance(901)
    return {"changed": False}


def expire(machine: Machine) -> Answer:
    """What the dead-man's timer starts."""
    return _by_itself(recovery.at_deadline, machine)


def reboot(machine: Machine) -> Answer:
    machine.lose_memory()
    return {"changed": True}


def boot(machine: Machine) -> Answer:
    """Recovery at boot, before any unit starts."""
    return _by_itself(recovery.at_boot, machine)


def _by_itself(recovers: Callable[[Places], str], machine: Machine) -> Answer:
    """What a unit of systemd does on the host: it fails with a message, and is started again."""
    try:
        return {"changed": True, "found": recovers(machine.site.places)}
    except (Refusal, OSError) as error:
        return {"failed": True, "changed": True, "reason": "not_recovered", "msg": str(error)}


def activate_v3(machine: Machine) -> Answer:
    generation = machine.generations["v3"]
    return machine.site.activate("v3", run=machine.site.run("run-3"), migrate=True, generation=generation)


def stage_turned(machine: Machine) -> Answer:
    """Bring other credentials for what is active."""
    answer = machine.site.ask("stage", release_id="v1", run=run_2(machine), **bringing("turned"))
    machine.generations["turned"] = answer.get("generation")
    return answer


def turn(machine: Machine) -> Answer:
    """What a rotation does: the active release is deployed again with other credentials."""
    return machine.site.activate(
        "v1", run=run_2(machine), generation=machine.generations["turned"], credentials_replaced=True
    )


def turn_ill(machine: Machine) -> Answer:
    machine.site.sicken("v1")
    try:
        return turn(machine)
    finally:
        machine.site.sicken()


def confirm_turned(machine: Machine) -> Answer:
    return machine.site.confirm("v1", run=run_2(machine))


def revert_turned(machine: Machine) -> Answer:
    return machine.site.revert("v1", run=run_2(machine))


@dataclass(frozen=True)
class Operation:
    """An exchange; ``possible`` is what may be served after it was cut off and recovered from."""

    name: str
    before: Sequence[Exchange]
    exchange: Exchange
    possible: Set[str | None]
    is_done: Callable[[Machine], bool]
    at_boot: bool = False

    def prepare(self, machine: Machine) -> None:
        for exchange in self.before:
            answer = exchange(machine)
            assert not answer.get("failed"), answer
        machine.remember()


def _awaits(machine: Machine) -> bool:
    transaction = Journal(machine.site.places.journal).read()
    return machine.served == "v2" and transaction is not None and transaction.reached("healthy")


def _has_turned(machine: Machine) -> bool:
    transaction = Journal(machine.site.places.journal).read()
    turned = machine.credentials == machine.generations["turned"]
    return turned and transaction is not None and transaction.reached("healthy")


def _is_renewed(machine: Machine) -> bool:
    transaction = Journal(machine.site.places.journal).read()
    return transaction is not None and transaction.reached("renewed") and len(machine.systemd.timers()) == 1


def _is_closed(machine: Machine) -> bool:
    return Journal(machine.site.places.journal).read() is None


def _has(release_id: str, *statuses: str) -> Callable[[Machine], bool]:
    return lambda machine: _is_closed(machine) and machine.site.statuses[-1] in [(release_id, one) for one in statuses]


OPERATIONS = [
    Operation("stage", (), stage, {"v1"}, lambda machine: "v3" in machine.site.store.release_ids()),
    Operation("fetch", (), pull, {"v1"}, lambda machine: "v3" in machine.site.store.release_ids()),
    Operation("activate", (), activate, {"v1"}, _awaits),
    Operation("activate, ill", (), activate_ill, {"v1"}, lambda machine: False),
    Operation("confirm", (activate,), confirm, {"v1", "v2"}, _has("v2", "success")),
    Operation("confirm and prune", (activate, confirm, stage, activate_v3), prune, {"v2", "v3"}, _has("v3", "success")),
    Operation("revert", (activate,), revert, {"v1"}, _has("v2", "rolled_back")),
    Operation("roll back", (activate, confirm), roll_back, {"v1", "v2"}, _has("v1", "success")),
    Operation("recover", (activate,), recover, {"v1"}, _has("v2", "interrupted", "failed")),
    Operation("renew", (activate,), renew, {"v1"}, _is_renewed),
    Operation("expire", (activate, wait), expire, {"v1"}, _has("v2", "rolled_back", "failed")),
    Operation("recover at boot", (activate, reboot), boot, {"v1"}, _has("v2", "interrupted", "failed"), at_boot=True),
    Operation("stage credentials", (), stage_turned, {"v1"}, lambda machine: machine.has_credentials("turned")),
    Operation("turn", (stage_turned,), turn, {"v1"}, _has_turned),
    Operation("turn, ill", (stage_turned,), turn_ill, {"v1"}, lambda machine: False),
    Operation("confirm turned", (stage_turned, turn), confirm_turned, {"v1", "turned"}, _has("v1", "success")),
    Operation("revert turned", (stage_turned, turn), revert_turned, {"v1"}, _has("v1", "failed")),
]


def cut_off(operation: Operation, where: str) -> Operation:
    """Recovery from the operation, killed in the first call (after the intent) whose name and arguments contain ``where``.

    ``where`` is "<call> <part of its arguments>".
    """
    name, _, part = where.partition(" ")

    def die(machine: Machine) -> Answer:
        machine.remember()
        noted = strace.run(lambda: operation.exchange(machine)).calls
        machine.start_over()
        at = _first(noted, name, part)
        ended = strace.run(lambda: operation.exchange(machine), fault=KILL, at=at)
        assert ended.fired, f"{where}: nothing fired"
        return {"changed": True}

    title = f"recover from {operation.name} at {where}"
    return Operation(title, (*operation.before, die), recover, operation.possible, _is_closed)


def _first(calls: Sequence[Call], name: str, part: str) -> Call:
    found = [call for call in calls if call.name == name and part in call.about]
    assert found, f"no {name} of {part} among {len(calls)} calls"
    return found[0]


BY_NAME = {operation.name: operation for operation in OPERATIONS}
RECOVERIES = [
    cut_off(BY_NAME[name], where)
    for name, where in (
        ("stage", "fsync releases"),
        ("fetch", "write .incoming"),
        ("activate", 'rename shop/current"'),
        ("activate", "fsync srv/shop>"),
        ("activate", 'rename etc/motd"'),
        ("activate", "write systemd"),
        ("activate, ill", 'rename shop/.way-back", '),
        ("confirm", "write history.jsonl"),
        ("confirm", 'rename shop/checkpoint"'),
        ("confirm", "unlink lease.json"),
        ("confirm", "unlink journal.jsonl"),
        ("revert", "write history.jsonl"),
        ("confirm and prune", "rmdir .staging-removed"),
        ("stage credentials", "rename .new-"),
        ("activate", 'rename credentials/current"'),
        ("turn", 'rename credentials/current"'),
    )
]
