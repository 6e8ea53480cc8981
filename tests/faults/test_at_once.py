# SPDX-License-Identifier: GPL-3.0-or-later
"""Twenty operators at once on one host, each a process: one at a time wins, the others are told who, and all converge."""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from played_creds import bringing
from releases import V1

from faults.conftest import IS_ALL
from faults.invariants import Known, require_served, require_settled
from faults.machine import Machine, credentials_of
from faults.operations import recover

OPERATORS = 20
SEEDS = range(5) if IS_ALL else range(1)
PATIENCE_SECONDS = 120.0
# What a loser may be told; each names the holder, or says what has happened meanwhile.
LOST = ("busy", "changed_meanwhile", "credentials_not_here", "locked", "nothing_to_confirm", "sequence_behind")


class Clock(SystemClock):
    """Real but for the wall clock, which is the machine's: releases must not lie in the future."""

    def __init__(self, time: int) -> None:
        self.time = time
        self._began = super().elapsed()

    def now(self) -> int:
        return int(self.time + self.elapsed() - self._began)


class Operator:
    """One who deploys releases of their own, or takes what is active back, until it went through."""

    def __init__(self, machine: Machine, number: int, seed: int) -> None:
        self.site = machine.site
        self.number = number
        self.random = random.Random(f"{seed} {number}")
        self.told: list[tuple[str, str]] = []

    def work(self) -> list[tuple[str, str]]:
        """What the operator was told: pairs of what was asked and the reason, or the outcome."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt = 0
        while time.monotonic() < deadline:
            attempt += 1
            run = self.site.run(
                f"run-{self.number}-{attempt}",
                controller_id=f"controller-{self.number}",
                deployed_by=f"operator-{self.number}",
            )
            if (self._roll_back if self.number % 4 == 3 else self._deploy)(run, attempt):
                return self.told
            time.sleep(self.random.random() / 20)
        self.told.append(("gave up", "never came through"))
        return self.told

    def _deploy(self, run: dict[str, Any], attempt: int) -> bool:
        release_id = f"r{self.number}-{attempt}"
        files = {**V1, "motd": release_id.encode(), "bin/shop!": f"#!/bin/sh\necho {self.number}\n".encode()}
        self.site.build(release_id, files, created=self._next_second())
        staged = self.site.stage(release_id, run=run, **bringing(credentials_of(release_id)))
        if not self._went_through("stage", staged):
            return False
        switched = self.site.activate(release_id, run=run, generation=staged["generation"])
        if not self._went_through("activate", switched):
            # What a rescue does: it must not free what the winner holds.
            assert self.site.revert(release_id, run=run)["outcome"] == "unchanged"
            return False
        time.sleep(self.random.random() / 50)
        if self.random.random() < 0.3:
            return self._went_through("revert", self.site.revert(release_id, run=run))
        return self._went_through("confirm", self.site.confirm(release_id, run=run, keep_count=50))

    def _next_second(self) -> int:
        """No two releases are of the same second, and a later one is newer."""
        with open(self.site.directory / "seconds", "r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            second = int(stream.read()) + 1
            stream.seek(0)
            stream.write(str(second))
        return second

    def _roll_back(self, run: dict[str, Any], _attempt: int) -> bool:
        target = self.site.inspect()["previous"]
        if target is None:
            return False
        return self._went_through("rollback", self.site.rollback(target, run=run))

    def _went_through(self, asked: str, answer: dict[str, Any]) -> bool:
        if not answer.get("failed"):
            self.told.append((asked, answer.get("outcome", "staged")))
            return True
        self.told.append((asked, answer["reason"]))
        assert answer["reason"] in LOST or (
            asked == "rollback" and answer["reason"] in ("release_bad", "release_not_here")
        ), answer
        if answer["reason"] == "locked":
            assert "held by operator-" in answer["found"], answer
            assert f"held by operator-{self.number} " not in answer["found"], answer
        return False


def at_once(works: list[Callable[[], list]]) -> list[list[tuple[str, str]]]:
    """Run each in a process of its own, all let go at the same moment; what each returned."""
    gate, open_gate = os.pipe()
    children = []
    for work in works:
        heard, said = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.close(open_gate)
                os.read(gate, 1)
                answer = json.dumps(work()).encode()
                code = 0
            except BaseException:
                answer = traceback.format_exc().encode()
            os.write(said, answer)
            os._exit(code)
        os.close(said)
        children.append((child, heard))
    os.close(gate)
    os.close(open_gate)
    told = []
    for child, heard in children:
        with open(heard, "rb") as hearing:
            said_all = hearing.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code == 0, said_all.decode()
        told.append([tuple(pair) for pair in json.loads(said_all)])
    return told


def require_linear(machine: Machine) -> None:
    """Each record goes on from where the one before ended: nobody switched between another's switch and outcome."""
    for earlier, later in pairwise(machine.site.records):
        assert later["previous_release_id"] == earlier["active_release_id"], (earlier, later)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_twenty_deploys_and_rollbacks_at_once_one_at_a_time_wins(machine, tell, seed):
    site = machine.site
    (site.directory / "seconds").write_text(str(machine.clock.now()))
    site.deploy("v2", "run-2", migrate=True, credentials=credentials_of("v2"))
    before = Known.of(machine)
    machine.use(Clock(machine.clock.now() + 10_000))
    told = at_once([Operator(machine, number, seed).work for number in range(OPERATORS)])
    ends = Counter(f"{asked} {end}" for each in told for asked, end in each)
    assert not any("never came through" in end for end in ends), ends
    outcomes = ("confirmed", "reverted")
    wins = sum(end in outcomes for each in told for _asked, end in each)
    losses = sum(end in LOST for each in told for _asked, end in each)
    assert losses, "nobody lost: they were not at once"
    new = site.records[len(before.records) :]
    assert len(new) == wins, f"{len(new)} records of {wins} that were told an outcome"
    require_linear(machine)
    require_served(machine, {*site.store.release_ids()})
    recover(machine)
    require_settled(machine, Known.of(machine), {machine.served})
    site.build("last", {**V1, "motd": b"last"}, created=int((site.directory / "seconds").read_text()) + 1)
    site.deploy("last", "run-last")
    require_served(machine, {"last"})
    tell(f"{OPERATORS} at once", "lost to another", losses)
    tell(f"{OPERATORS} at once", "won", wins)
