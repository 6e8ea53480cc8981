# SPDX-License-Identifier: GPL-3.0-or-later
"""Real modules, brought by the real playbook, killed or failed at their system calls on a live host.

The host's interpreter is a wrapper that runs python3 under strace. What the domain alone is put through in tests/faults, at
every point, goes here through everything that is around it: ssh, sudo, Ansible's way to run a module, systemd.

SLIPWAY_FAULTS=all strikes at ten times as many points.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
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
MODULES = ("inspect", "stage", "activate", "confirm")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Point:
    """A call of the module that runs as the ``run``-th (from 0) on the host, and what shall happen in it."""

    run: int
    call: Call
    fault: str

    @property
    def options(self) -> str:
        how = "signal=KILL" if self.fault == KILL else f"error={self.fault}"
        return f"-e trace={self.call.name} -e inject={self.call.name}:{how}:when={self.call.number}"

    @property
    def title(self) -> str:
        return f"{self.fault} in {self.call.name} {self.call.number} of {MODULES[self.run]}: {self.call.about}"


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

    def deploy(self) -> Done:
        """Deploy a release of its own under strace."""
        self.made += 1
        release_id = self.shop.make(f"{self.host}-{self.made}")
        interpreter = json.dumps({"ansible_python_interpreter": WRAPPER})
        return self.shop.deploy(release_id, "-e", interpreter, limit=self.host, code=None)

    @property
    def newest(self) -> str:
        return f"{self.host}-{self.made}"

    def noted(self) -> list[list[Call]]:
        """What strace noted of each module since the last `forget`, in the order in which they ran."""
        count = int(self.inside(f"ls {NOTES}/log.* | wc -l"))
        return [strace.parsed(self.inside(f"cat {NOTES}/log.{number}")) for number in range(count)]

    def forget(self) -> None:
        self.inside(f"rm -rf {NOTES}; mkdir {NOTES}")

    def points(self) -> list[Point]:
        """Every call of a normal deployment that has to do with this application, and every fault that it can have."""
        self.forget()
        done = self.deploy()
        assert done.code == 0, done.output
        places = (f"/srv/{self.shop.name}", f"/var/lib/slipway/{self.shop.name}", "slipway-deadman")
        noted = self.noted()
        assert len(noted) == len(MODULES), f"{len(noted)} modules ran"
        return [
            Point(run, call, fault)
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
        code = self.deploy().code
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


def test_real_modules_are_killed_and_failed_at_any_call(shop: Application, say: Say) -> None:
    """Each host has every third of the points; the faults and modules are mixed."""
    targets = [Target(shop, host) for host in HOSTS]
    first = targets[0]
    for target in targets:
        target.prepare()
    points = first.points()
    # Every module and every fault gets its share, however many calls it has.
    shares = {
        (run, fault): [point for point in points if (point.run, point.fault) == (run, fault)]
        for run in range(len(MODULES))
        for fault in FAULTS
    }
    shares = {key: share for key, share in shares.items() if share}
    total = POINTS * len(HOSTS)
    each = max(1, -(-total // len(shares)))
    chosen = [point for share in shares.values() for point in evenly(share, min(each, len(share)))][::1]
    if len(chosen) > total:
        chosen = evenly(chosen, total)
    counted: Counter[tuple[str, str]] = Counter()

    def sweep(target: Target, mine: Sequence[Point]) -> None:
        for number, point in enumerate(mine):
            try:
                target.strike(point)
                if number % NORMAL_EVERY == 0:
                    target.forget()
                    done = target.deploy()
                    assert done.code == 0, f"a normal deployment afterwards failed: {done.output}"
            except AssertionError as error:
                raise AssertionError(f"{target.host}: {point.title}: {error}") from error
            counted[(MODULES[point.run], point.fault)] += 1

    with ThreadPoolExecutor(len(targets)) as pool:
        for done in [pool.submit(sweep, target, chosen[at :: len(targets)]) for at, target in enumerate(targets)]:
            done.result()
    for (module, fault), count in sorted(counted.items()):
        say(f"real modules, {module}, {fault}: {count} points hit and survived")
    say(f"real modules: {counted.total()} points of {len(points)}")
