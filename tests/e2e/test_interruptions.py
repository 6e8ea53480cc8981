# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that dies at any point, or meets another one: run again and it converges; one wins, the other is told."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployments import Application, Operator, until
from door import Door

HOSTS = ("prod-1", "prod-2")
LIMIT = "prod-1,prod-2"


@contextmanager
def smoke_at_the_door(shop: Application) -> Iterator[Door]:
    door = Door()
    shop.describe(smoke=[{"type": "http", "url": door.url, "timeout_seconds": 120}])
    try:
        yield door
    finally:
        door.close()


@pytest.fixture(scope="module")
def served(operator: Operator) -> Application:
    """Return an application that serves `one` on two hosts."""
    shop = operator.application("interrupted", HOSTS)
    shop.make("one")
    shop.deploy(limit=LIMIT)
    shop.newest = "one"
    return shop


@pytest.fixture
def shop(served: Application) -> Application:
    """Return it with a new release, `shop.newest`, in the catalogue; what is served is `shop.oldest`."""
    served.changes = {}
    served.describe()
    served.relieve(*HOSTS)
    served.told = {host: len(served.history(host)) for host in HOSTS}
    served.oldest = served.active("prod-1")
    served.newest = served.make(f"r{len(list(served.operator.catalogue.glob(f'{served.name}/manifests/*')))}")
    return served


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
@pytest.mark.parametrize("point", ["stage", "canary", "second wave", "smoke test"])
def test_a_run_that_is_killed_converges_when_it_is_run_again(shop: Application, point: str, number: int) -> None:
    """The remote part of a killed run may go on for a while; it must not spoil the next one."""
    host, probe = {
        "stage": ("prod-2", "check"),
        "canary": ("prod-1", "health"),
        "second wave": ("prod-2", "health"),
        "smoke test": ("prod-1", ""),
    }[point]
    with smoke_at_the_door(shop) as door:
        if probe:
            shop.order(host, "hold", probe)
            door.open()
        run = shop.start_deploy(limit=LIMIT)
        if probe:
            run.await_asked(shop, host, probe)
        else:
            until(lambda: door.knocked.is_set() or run.process.poll() is not None, "the smoke test")
        run.signal(number)
        assert run.end().code != 0
        old, new = shop.oldest, shop.newest
        expected = {"stage": [old, old], "canary": [new, old], "second wave": [new, new], "smoke test": [new, old]}
        assert shop.actives(*HOSTS) == expected[point]
        shop.relieve(*HOSTS)
        door.open()
        done = shop.deploy(limit=LIMIT)
    assert done.says(f"deploying {new}", "done")
    for name in HOSTS:
        assert shop.active(name) == new
        assert shop.is_settled(name)
        *before, last = shop.news(name)
        assert last == (new, "success")
        assert before in ([], [(new, "interrupted")])


def test_of_two_deploys_at_once_one_wins_and_the_other_names_the_holder(shop: Application) -> None:
    with smoke_at_the_door(shop) as door:
        winner = shop.start_deploy(limit="prod-1")
        until(lambda: door.knocked.is_set() or winner.process.poll() is not None, "the smoke test")
        run_id = winner.output.rsplit("(run_", 1)[1].partition(")")[0]
        before = shop.open_transaction("prod-1")
        loser = shop.deploy(shop.oldest, "-e", "release_retry=true", limit="prod-1", code=2)
        assert loser.says("locked", f"run_{run_id}")
        assert shop.open_transaction("prod-1") == before, "the loser never frees the winner's lease"
        back = shop.rollback(limit="prod-1", code=2)
        assert back.says(f"run_{run_id}")
        assert shop.open_transaction("prod-1") == before
        door.open()
        assert winner.end(0).row("prod-1").startswith(f"prod-1 confirmed {shop.newest}")
    assert shop.news("prod-1") == [(shop.newest, "success")]


def test_a_deploy_that_meets_a_switch_names_the_holder_before_it_stages(shop: Application) -> None:
    shop.order("prod-1", "hold")
    winner = shop.start_deploy(limit="prod-1")
    winner.await_asked(shop, "prod-1")
    run_id = winner.output.rsplit("(run_", 1)[1].partition(")")[0]
    loser = shop.deploy(shop.oldest, "-e", "release_retry=true", limit="prod-1", code=2)
    assert loser.says("locked", f"run_{run_id}", "nothing was changed anywhere")
    shop.relieve("prod-1")
    winner.end(0)
    assert shop.active("prod-1") == shop.newest
