# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller killed, a host cut off, a host rebooted, at each task of a real run: the next run converges, nothing is half there.

SLIPWAY_FAULTS=all strikes at every task; without it a few are struck.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from deployments import Application, Done, Operator, Running, until

HOSTS = ("prod-1", "prod-2")
LIMIT = "prod-1,prod-2"
IS_ALL = os.environ.get("SLIPWAY_FAULTS") == "all"
TASK = re.compile(r"^TASK \[(.*)\] \**$", re.MULTILINE)
# A host is struck when the controller is about to ask it something.
ASKS = (
    "Ask every host what it serves",
    "Bring the release to the host, verify it there and run its check",
    "Switch, restart and wait until it is healthy",
    "Ask it from outside",
    "Ask every host whether it is still there",
    "Keep the release and prune old ones",
)
Say = Callable[[str], None]


@pytest.fixture(scope="module")
def served(operator: Operator) -> Application:
    """Return an application that serves `one` on two hosts."""
    shop = operator.application("struck", HOSTS, smoke=[{"type": "tcp", "host": "{{ ansible_host }}", "port": 22}])
    shop.make("one")
    shop.deploy(limit=LIMIT)
    return shop


@pytest.fixture
def shop(served: Application) -> Iterator[Application]:
    """Return it; afterwards all hosts are whole again."""
    yield served
    served.fleet.mend()


def tasks_of(done: Done) -> list[str]:
    """The names of the tasks of a run, one for each time that a task began."""
    return [name.removeprefix("release : ") for name in TASK.findall(done.output)]


def some(points: Sequence[int], count: int) -> Sequence[int]:
    """Some of many, evenly; all of them where all are asked for."""
    if IS_ALL or len(points) <= count:
        return points
    return [points[(2 * number + 1) * len(points) // (2 * count)] for number in range(count)]


def until_task(run: Running, number: int) -> bool:
    """Wait until the run's task of this number (from 1) begins; False when the run ended before."""
    until(lambda: len(TASK.findall(run.output)) >= number or run.process.poll() is not None, f"task {number}", 180)
    return run.process.poll() is None


def new_release(shop: Application) -> str:
    shop.newest = shop.make(f"r{len(list(shop.operator.catalogue.glob(f'{shop.name}/manifests/*')))}")
    return shop.newest


def require_converged(shop: Application, release_id: str) -> None:
    """Every host serves the release, every byte of it is right, nothing is left, and each transaction has one outcome."""
    for host in HOSTS:
        assert shop.active(host) == release_id
        assert shop.is_settled(host)
        records = shop.history(host)
        transactions = [record["transaction"] for record in records]
        assert len(set(transactions)) == len(transactions)
        assert records[0]["active_release_id"] == release_id
        for later, earlier in pairwise(records):
            assert later["previous_release_id"] == earlier["active_release_id"]


def deploy_again(shop: Application) -> None:
    """What an operator does: the same command again. A release that a host has found bad is skipped until asked for."""
    shop.deploy(shop.newest, "-e", "release_retry=true", limit=LIMIT)
    require_converged(shop, shop.newest)


@pytest.fixture(scope="module")
def deploy_tasks(served: Application) -> list[str]:
    """Return the tasks of a deployment to both hosts."""
    new_release(served)
    return tasks_of(served.deploy(limit=LIMIT))


def test_a_controller_that_is_killed_at_any_task_of_a_deployment(
    shop: Application, deploy_tasks: list[str], say: Say
) -> None:
    chosen = some(range(1, len(deploy_tasks) + 1), 3)
    for number in chosen:
        new_release(shop)
        run = shop.start_deploy(limit=LIMIT)
        assert until_task(run, number), f"the run had ended before task {number}"
        run.signal(signal.SIGKILL)
        assert run.end().code == -signal.SIGKILL
        deploy_again(shop)
    say(f"controller killed at {len(chosen)} of {len(deploy_tasks)} tasks of deploy.yml")


def test_a_controller_that_is_killed_at_any_task_of_a_rollback(shop: Application, say: Say) -> None:
    """Deploy, then go back; the target is named, so that who went back already stays."""
    before = shop.active("prod-1")
    new_release(shop)
    shop.deploy(limit=LIMIT)
    tasks = tasks_of(shop.rollback("-e", f"release_id={before}", limit=LIMIT))
    require_converged(shop, before)
    chosen = some(range(1, len(tasks) + 1), 1)
    for number in chosen:
        shop.deploy(new_release(shop), limit=LIMIT)
        run = shop.operator.start(*shop.words("rollback.yml", LIMIT, ["-e", f"release_id={before}"]))
        assert until_task(run, number), f"the run had ended before task {number}"
        run.signal(signal.SIGKILL)
        assert run.end().code == -signal.SIGKILL
        shop.rollback("-e", f"release_id={before}", limit=LIMIT)
        require_converged(shop, before)
    say(f"controller killed at {len(chosen)} of {len(tasks)} tasks of rollback.yml")


def asking(tasks: Sequence[str]) -> list[int]:
    """The numbers of the tasks that ask a host something; each wave counts."""
    found = [number for number, name in enumerate(tasks, 1) if name in ASKS]
    assert {tasks[number - 1] for number in found} == set(ASKS), f"tasks were renamed: {tasks}"
    return found


def test_a_host_that_is_cut_off_in_any_phase(shop: Application, deploy_tasks: list[str], say: Say) -> None:
    """Where the host had answered for the last time before it was cut off, the run says that all is well, and is right."""
    chosen, late = some(asking(deploy_tasks), 1), 0
    for number in chosen:
        new_release(shop)
        run = shop.start_deploy(limit=LIMIT)
        assert until_task(run, number)
        with shop.fleet.partition("prod-2"):
            done = run.end()
        was_late = done.code == 0
        late += was_late
        assert done.says("prod-2")
        assert not was_late or shop.statuses("prod-2")[-1] == (shop.newest, "success"), deploy_tasks[number - 1]
        deploy_again(shop)
    assert late <= len(chosen) // 2, "most cuts came too late to be one"
    say(
        f"network cut in {len(chosen)} phases: {', '.join(deploy_tasks[number - 1] for number in chosen)}; {late} of them too late"
    )


def test_a_host_that_is_rebooted_in_any_phase(shop: Application, deploy_tasks: list[str], say: Say) -> None:
    """What it serves after its boot was confirmed before, or is what was served before."""
    chosen = some(asking(deploy_tasks)[2:], 1)
    for number in chosen:
        old = shop.active("prod-2")
        new = new_release(shop)
        run = shop.start_deploy(limit=LIMIT)
        assert until_task(run, number)
        shop.fleet.reboot("prod-2")
        run.end()
        has_success = shop.statuses("prod-2")[-1] == (new, "success")
        assert shop.active("prod-2") in ((new,) if has_success else (old, new))
        deploy_again(shop)
    say(f"host rebooted in {len(chosen)} phases: {', '.join(deploy_tasks[number - 1] for number in chosen)}")
