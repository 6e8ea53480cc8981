# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that is no good, a host that is lost: the run goes back everywhere, says so, and its exit code is not 0."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from deployments import Application, Operator

PROD = ("prod-1", "prod-2", "prod-3")


@pytest.fixture(scope="module")
def served(operator: Operator) -> Application:
    """Return an application that serves `one` on prod."""
    shop = operator.application("failing")
    shop.make("one")
    shop.deploy(limit="prod")
    return shop


@pytest.fixture
def shop(served: Application, request: pytest.FixtureRequest) -> Iterator[Application]:
    """Return it with a new release in the catalogue, `shop.newest`; every test leaves `one` active again."""
    served.changes = {}
    served.describe()
    served.mark()
    served.newest = served.make(f"new-{request.node.name.removeprefix('test_a_')[:24].strip('_')}")
    yield served
    served.relieve()
    served.forget(served.newest)
    assert served.actives(*PROD) == ["one"] * 3


def test_a_failing_check_stops_the_run_before_the_switch_on_every_host(shop: Application) -> None:
    shop.order("prod-2", "ill", "check")
    done = shop.deploy(limit="prod", code=2)
    assert done.says("check_failed", "Nothing was switched")
    assert shop.actives(*PROD) == ["one"] * 3
    assert shop.news("prod-2") == [(shop.newest, "failed")]
    assert shop.history("prod-2")[0]["reason"] == "check_failed"
    assert shop.news("prod-1") == []


def test_ill_health_in_the_second_wave_takes_the_first_one_back(shop: Application) -> None:
    """The canary prod-1 is switched and well; prod-2 is not; prod-3 shares its wave."""
    shop.order("prod-2", "ill")
    done = shop.deploy(limit="prod", code=2)
    assert done.row("prod-1").startswith("prod-1 reverted one")
    assert done.row("prod-2").startswith("prod-2 reverted one health_failed")
    assert done.row("prod-3").startswith("prod-3 reverted one")
    for host in PROD:
        assert shop.active(host) == "one"
        record = shop.history(host)[0]
        assert (record["release_id"], record["status"], record["rollback"]) == (shop.newest, "rolled_back", True)
        assert record["reason"] == ("health_failed" if host == "prod-2" else "rollout_failed")
        assert shop.is_settled(host)
    before = shop.snapshot(*PROD)
    back = shop.rollback(limit=None)
    assert back.says(f"({shop.newest},", "was already taken back on prod-1, prod-2, prod-3: nothing to do")
    shop.relieve(*PROD)
    assert shop.deploy(limit="prod").says("deploying one", f"{shop.newest} is skipped: bad on prod-1, prod-2, prod-3")
    assert shop.snapshot(*PROD) == before


def test_a_health_address_that_never_answers_ends_at_the_deadline(shop: Application) -> None:
    shop.describe(health=[{"type": "http", "url": "http://127.0.0.1:9/health"}])
    done = shop.deploy(limit="prod", code=2)
    assert done.row("prod-1").startswith("prod-1 reverted one health_failed")
    assert done.says("no answer from http://127.0.0.1:9/health")
    assert done.row("prod-2").startswith("prod-2 untouched one")
    assert shop.actives(*PROD) == ["one"] * 3


def test_a_failing_smoke_test_from_outside_goes_back_everywhere(shop: Application) -> None:
    """Well on each host, and on the canary from outside too; the second wave is not reached from here."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        shop.describe(smoke=[{"type": "tcp", "host": host, "port": port}], smoke_patience={"deadline_seconds": 1})
        run = shop.start_deploy(limit="prod")
        listener.settimeout(120)
        listener.accept()[0].close()
    done = run.end(2)
    assert done.says("smoke_test_failed", "no connection to")
    for host in PROD:
        assert done.row(host).startswith(f"{host} reverted one")
        assert shop.active(host) == "one"
        assert shop.news(host) == [(shop.newest, "rolled_back")]
        assert shop.is_settled(host)
    assert shop.history("prod-2")[0]["reason"] == "smoke_test_failed"


def test_a_release_that_is_altered_on_a_host_after_staging_is_not_switched_to(shop: Application) -> None:
    shop.order("prod-1", "hold")
    run = shop.start_deploy(limit="prod")
    run.await_asked(shop, "prod-1")
    shop.fleet.inside("prod-2", f"echo 3 > /srv/{shop.name}/releases/{shop.newest}/VERSION")
    shop.relieve("prod-1")
    done = run.end(2)
    assert done.says("release_altered", "VERSION")
    assert shop.actives(*PROD) == ["one"] * 3
    assert (shop.newest, "success") not in shop.news("prod-2")
    for host in PROD:
        assert shop.is_settled(host)


def test_a_host_that_is_cut_off_half_way_is_named_the_others_go_back_and_the_next_run_recovers_it(
    shop: Application,
) -> None:
    shop.order("prod-2", "hold")
    run = shop.start_deploy(limit="prod")
    run.await_asked(shop, "prod-2")
    with shop.fleet.partition("prod-2"):
        done = run.end()
        assert done.code not in (0, None)
        assert done.row("prod-2").startswith("prod-2 unreachable")
        assert done.says("when prod-2 answers again")
        for host in ("prod-1", "prod-3"):
            assert done.row(host).startswith(f"{host} reverted one")
            assert shop.active(host) == "one"
            assert shop.is_settled(host)
        assert shop.active("prod-2") == shop.newest, "switched, and nobody could tell it to go back"
        shop.relieve("prod-2")
    done = shop.deploy(limit="prod")
    assert done.says("deploying one", f"{shop.newest} is skipped: bad on prod-1, prod-3")
    assert shop.actives(*PROD) == ["one"] * 3
    assert shop.news("prod-2") == [(shop.newest, "interrupted")]
    assert shop.is_settled("prod-2")


def test_a_host_that_reboots_half_way_is_recovered_by_the_next_run(shop: Application) -> None:
    shop.order("prod-2", "hold")
    run = shop.start_deploy(limit="prod")
    run.await_asked(shop, "prod-2")
    shop.fleet.reboot("prod-2")
    shop.relieve("prod-2")
    done = run.end()
    assert done.code not in (0, None)
    assert done.says("prod-2")
    shop.deploy("one", limit="prod")
    for host in PROD:
        assert shop.active(host) == "one"
        assert shop.is_settled(host)
        assert shop.news(host)[0] in [(shop.newest, "rolled_back"), (shop.newest, "interrupted")]


def test_a_first_deploy_that_fails_leaves_no_current(operator: Operator) -> None:
    shop = operator.application("first", PROD)
    shop.make("one")
    shop.order("prod-1", "ill")
    done = shop.deploy(limit="prod", code=2)
    assert done.row("prod-1").startswith("prod-1 reverted nothing")
    assert shop.actives(*PROD) == [None] * 3
    assert shop.statuses("prod-1") == [("one", "rolled_back")]
    assert shop.history("prod-1")[0]["active_release_id"] is None
