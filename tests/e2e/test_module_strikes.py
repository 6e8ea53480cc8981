# SPDX-License-Identifier: GPL-3.0-or-later
"""Real exchanges of the real playbook, killed or failed at their system calls on a live host, through both doors.

The host's interpreter is a wrapper that runs python3 under strace: around the resident package, or around the modules. What the domain
alone is put through in tests/faults, at every point, goes here through everything that is around it: ssh, sudo, the resident package or
Ansible's way to run a module, systemd. No process is on standby meanwhile: a wrapper of the one that hands over would see nothing.

SLIPWAY_FAULTS=all strikes at ten times as many points.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from deployments import Application, Done, Operator
from faults import strace
from faults.strace import KILL, Call

HOSTS = ("prod-1", "prod-2", "prod-3")
POINTS = 30 if os.environ.get("SLIPWAY_FAULTS") == "all" else 1  # on each host
NORMAL_EVERY = 5
FAULTS = (KILL, "EIO", "ENOSPC")
NOTES = "/run/slipway-strace"
WRAPPER = "/usr/local/bin/python-under-strace"
SCRIPT = f"""#!/bin/sh
# Runs python3 under strace, where {NOTES}/at says nothing else; the run whose number is there gets the options in {NOTES}/inject.
mkdir -p {NOTES} && number=$(ls {NOTES}/log.* 2>/dev/null | wc -l)
: > {NOTES}/log.$number
options='-e trace=%file,%desc'
if [ -e {NOTES}/at ]; then
    [ "$number" = "$(cat {NOTES}/at)" ] || exec /usr/bin/python3 "$@"
    options=$(cat {NOTES}/inject)
fi
exec strace -qq -y -s 0 -o {NOTES}/log.$number $options /usr/bin/python3 "$@"
"""
EXCHANGES = ("inspect", "stage", "activate", "confirm")
RESIDENT, MODULE = "resident", "module"
# Who wants to see the files of modules gets modules.
DOORS = {RESIDENT: {}, MODULE: {"ANSIBLE_KEEP_REMOTE_FILES": "1"}}
SHARES = {RESIDENT: 2, MODULE: 1}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Point:
    """A call of the ``run``-th exchange (from 0) with the host, and what shall happen in it."""

    door: str
    run: int
    call: Call
    fault: str

    @property
    def options(self) -> str:
        how = "signal=KILL" if self.fault == KILL else f"error={self.fault}"
        return f"-e trace={self.call.name} -e inject={self.call.name}:{how}:when={self.call.number}"

    @property
    def title(self) -> str:
        return f"{self.fault} in {self.call.name} {self.call.number} of {EXCHANGES[self.run]} by the {self.door}: {self.call.about}"


@dataclass
class Target:
    """One host, struck one deployment after the other."""

    shop: Application
    host: str
    made: int = 0

    def inside(self, command: str, *, check: bool = True) -> str:
        return str(self.shop.fleet.inside(self.host, command, check=check).stdout)

    def prepare(self) -> None:
        self.inside(f"printf %s {shlex.quote(SCRIPT)} > {WRAPPER} && chmod 0755 {WRAPPER}")
        self.inside("systemctl stop slipway-standby.socket slipway-standby.service")

    def deploy(self, door: str) -> Done:
        """Deploy a release of its own under strace."""
        self.made += 1
        release_id = self.shop.make(f"{self.host}-{self.made}")
        words = ["-e", f"release_id={release_id}", "-e", json.dumps({"ansible_python_interpreter": WRAPPER})]
        words = self.shop.words("deploy.yml", self.host, words)
        return self.shop.operator.start(*words, environment=DOORS[door]).end()

    @property
    def newest(self) -> str:
        return f"{self.host}-{self.made}"

    def noted(self) -> list[list[Call]]:
        """What strace noted of each exchange since the last `forget`, in the order in which they ran."""
        count = int(self.inside(f"ls {NOTES}/log.* | wc -l"))
        return [strace.parsed(self.inside(f"cat {NOTES}/log.{number}")) for number in range(count)]

    def forget(self) -> None:
        self.inside(f"rm -rf {NOTES}; mkdir {NOTES}")

    def points(self, door: str) -> list[Point]:
        """Every call of a normal deployment that has to do with this application, and every fault that it can have."""
        self.forget()
        done = self.deploy(door)
        assert done.code == 0, done.output
        assert ("AnsiballZ" in self.inside(f"cat {NOTES}/log.0")) is (door == MODULE)
        places = (f"/srv/{self.shop.name}", f"/var/lib/slipway/{self.shop.name}", "slipway-deadman")
        noted = self.noted()
        assert len(noted) == len(EXCHANGES), f"{len(noted)} exchanges"
        return [
            Point(door, run, call, fault)
            for run, calls in enumerate(noted)
            for call in calls
            for fault in FAULTS
            if call.can(fault) and any(place in call.about for place in places)
        ]

    def strike(self, point: Point) -> None:
        """One deployment that is struck; then the host settles what is open, as it would by itself."""
        before = self.shop.active(self.host)
        self.forget()
        self.inside(f"echo {point.run} > {NOTES}/at; echo '{point.options}' > {NOTES}/inject")
        code = self.deploy(point.door).code
        self.require_fired(point)
        active = self.shop.active(self.host)
        assert active in (before, self.newest)
        if code == 0:
            assert active == self.newest
            assert self.shop.statuses(self.host)[-1] == (self.newest, "success")
        self.inside(f"slipway recover --force {self.shop.name}")
        assert self.shop.active(self.host) in (before, self.newest)
        assert self.shop.is_settled(self.host)
        records = self.shop.history(self.host)
        assert records[0]["active_release_id"] == self.shop.active(self.host)
        assert len({record["transaction"] for record in records}) == len(records)

    def require_fired(self, point: Point) -> None:
        log = self.inside(f"cat {NOTES}/log.{point.run}")
        struck = (
            [line for line in log.splitlines() if "(INJECTED)" in line]
            if point.fault != KILL
            else log.splitlines()[-2:]
        )
        assert struck, "the fault did not fire"
        assert point.fault != KILL or "killed by SIGKILL" in struck[-1] or struck[-1].endswith("= ?"), struck


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Application:
    """Return an application that serves `one`."""
    shop = operator.application("swept", HOSTS)
    shop.make("one")
    shop.deploy(limit=",".join(HOSTS))
    return shop


def evenly(points: Sequence[Point], count: int) -> list[Point]:
    return [points[number * len(points) // count] for number in range(count)]


@pytest.fixture
def targets(shop: Application) -> Iterator[list[Target]]:
    """Return the hosts, each with its wrapper; afterwards there is a process on standby again."""
    targets = [Target(shop, host) for host in HOSTS]
    for target in targets:
        target.prepare()
    yield targets
    for target in targets:
        target.inside("systemctl start slipway-standby.socket")


def chosen_of(points: Sequence[Point], total: int) -> list[Point]:
    """Some of many: every exchange and every fault gets its share, however many calls it has."""
    shares = [
        [point for point in points if (point.run, point.fault) == (run, fault)]
        for run in range(len(EXCHANGES))
        for fault in FAULTS
    ]
    shares = [share for share in shares if share]
    each = max(1, -(-total // len(shares)))
    chosen = [point for share in shares for point in evenly(share, min(each, len(share)))]
    return evenly(chosen, total) if len(chosen) > total else chosen


def test_real_exchanges_are_killed_and_failed_at_any_call(targets: list[Target], say: Say) -> None:
    """Each host has every third of the points; the faults, exchanges and doors are mixed."""
    points = {door: targets[0].points(door) for door in DOORS}
    total = POINTS * len(HOSTS)
    chosen = [
        point
        for door, share in SHARES.items()
        for point in chosen_of(points[door], total * share // sum(SHARES.values()))
    ]
    counted: Counter[tuple[str, str, str]] = Counter()

    def sweep(target: Target, mine: Sequence[Point]) -> None:
        for number, point in enumerate(mine):
            try:
                target.strike(point)
                if number % NORMAL_EVERY == 0:
                    target.forget()
                    done = target.deploy(point.door)
                    assert done.code == 0, f"a normal deployment afterwards failed: {done.output}"
            except AssertionError as error:
                raise AssertionError(f"{target.host}: {point.title}: {error}") from error
            counted[(point.door, EXCHANGES[point.run], point.fault)] += 1

    with ThreadPoolExecutor(len(targets)) as pool:
        for done in [pool.submit(sweep, target, chosen[at :: len(targets)]) for at, target in enumerate(targets)]:
            done.result()
    for (door, exchange, fault), count in sorted(counted.items()):
        say(f"real exchanges by the {door}, {exchange}, {fault}: {count} points hit and survived")
    say(f"real exchanges: {counted.total()} points of {sum(map(len, points.values()))}")
