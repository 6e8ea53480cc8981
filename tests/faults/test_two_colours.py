# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances behind a real HAProxy: killed, or failed by the disk, at any call; one instance is left, with all of the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible.module_utils.slipway.host.two_instances import COLOURS
from balancers import Pair
from releases import V1, V2

from faults import strace
from faults.machine import CREDENTIALS, Machine, bringing
from faults.strace import KILL, Call

SAMPLE = 3
STATES = {"DRAIN": "drain", "MAINT": "maint"}


class Stand:
    """A machine with two instances, where v1 is active and v2 staged; a way to start over."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.site = machine, machine.site
        self.pair = Pair(self.site, real=False)
        for release_id, files in (("v1", V1), ("v2", V2)):
            self.site.build(release_id, {**files, "motd": release_id.encode()})
        self.site.deploy("v1", "run-1", credentials=CREDENTIALS["v1"])
        staged = self.site.stage("v2", run=self.site.run("run-2"), **bringing("v2"))
        turned = self.site.stage("v1", run=self.site.run("run-2"), **bringing("turned"))
        self.generations = {"v2": staged["generation"], "turned": turned["generation"]}

    def remember(self) -> None:
        self.machine.remember()
        self.runs = {colour: self.pair.instances.runs(colour) for colour in COLOURS}
        self.servers = self.pair.haproxy.servers()

    def start_over(self) -> None:
        self.machine.start_over()
        for colour, server in self.servers.items():
            self.pair.instances.set(colour, runs=self.runs[colour])
            self.pair.haproxy.api.set_weight("shop", colour, server.weight)
            self.pair.haproxy.api.set_state("shop", colour, STATES.get(server.status, "ready"))


@pytest.fixture
def stand(in_memory: Path) -> Iterator[Stand]:
    stand = Stand(Machine(in_memory / "machine", in_memory / "desk"))
    yield stand
    stand.pair.haproxy.stop()


def activate(stand):
    return stand.site.activate("v2", run=stand.site.run("run-2"), generation=stand.generations["v2"])


def turn(stand):
    """The active release with other credentials: both instances run the same release for a while."""
    return stand.site.activate("v1", run=stand.site.run("run-2"), generation=stand.generations["turned"])


def confirm_turned(stand):
    return stand.site.confirm("v1", run=stand.site.run("run-2"))


def revert_turned(stand):
    return stand.site.revert("v1", run=stand.site.run("run-2"))


def activate_ill(stand):
    stand.site.sicken("v2")
    try:
        return activate(stand)
    finally:
        stand.site.sicken()


def confirm(stand):
    return stand.site.confirm("v2", run=stand.site.run("run-2"))


def revert(stand):
    return stand.site.revert("v2", run=stand.site.run("run-2"))


def recover(stand):
    return stand.site.recover(run=stand.site.run("run-9", dead_runs=["run-2"]))


SWEEPS = [
    pytest.param((), activate, {"v1"}, id="activate"),
    pytest.param((), activate_ill, {"v1"}, id="activate, ill"),
    pytest.param((activate,), confirm, {"v1", "v2"}, id="confirm"),
    pytest.param((activate,), revert, {"v1"}, id="revert"),
    pytest.param((activate,), recover, {"v1"}, id="recover"),
    pytest.param((), turn, {"v1"}, id="turn"),
    pytest.param((turn,), confirm_turned, {"v1", "turned"}, id="confirm turned"),
    pytest.param((turn,), revert_turned, {"v1"}, id="revert turned"),
]


def points_of(stand: Stand, exchange, fault: str) -> list[Call]:
    for warming_up in (exchange, recover):
        warming_up(stand)
    stand.start_over()
    ended = strace.run(lambda: exchange(stand))
    stand.start_over()
    return [call for call in ended.calls if str(stand.site.host.root) in call.about and call.can(fault)]


@pytest.mark.parametrize("fault", [KILL, "EIO", "ENOSPC"])
@pytest.mark.parametrize(("before", "exchange", "possible"), SWEEPS)
def test_a_fault_in_any_call_leaves_one_instance_with_all_traffic(
    stand, before, exchange, possible, fault, sample, tell
):
    for prepare in before:
        assert not prepare(stand).get("failed")
    stand.remember()
    points = sample(points_of(stand, exchange, fault), SAMPLE)
    for call in points:
        ended = strace.run(lambda: exchange(stand), fault=fault, at=call)
        place = f"{fault} in {call.name} {call.number}: {call.about}"
        assert ended.fired, place
        answer = recover(stand)
        assert not answer.get("failed"), f"{place}: {answer}"
        last = stand.site.records[-1]
        unverifiable = last["status"] == "failed" and "Input/output error" in last["message"]
        assert stand.site.current in ({*possible, "v2"} if unverifiable else possible), place
        pairs = [
            CREDENTIALS[which]
            for which in (stand.site.current, *({"turned"} if unverifiable else possible & {"turned"}))
        ]
        assert stand.site.gets() in [{f"slipway_{name}": value for name, value in each.items()} for each in pairs], (
            place
        )
        assert last["active_release_id"] == stand.site.current, place
        try:
            stand.pair.rests_on()
        except (AssertionError, ValueError) as error:
            raise AssertionError(f"{place}: {error}") from error
        assert stand.site.is_settled(), place
        stand.start_over()
    tell(f"two instances: {exchange.__name__.replace('_', ', ')}", fault, len(points))
