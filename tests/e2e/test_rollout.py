# SPDX-License-Identifier: GPL-3.0-or-later
"""Waves on real hosts: what fails takes all back, what is tolerated does not, and a held rollout waits for a yes, but not for ever."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from deployments import Application, Done, Operator, Running, until

PROD = ("prod-1", "prod-2", "prod-3")
ONE_BY_ONE = {"release_waves": ["1"]}
LOOK_FIRST = {"release_pause_after": ["canary"]}
# Healthy, ill, or, while a test says so, not able to tell.
HEALTH = (
    "touch {0}.asked; while test -e {0}.hold; do sleep 0.05; done; test ! -e {0}.unsure || exit 75; test ! -e {0}.ill"
)


def asked(**variables: object) -> tuple[str, str]:
    return "-e", json.dumps(variables)


@pytest.fixture(scope="module")
def served(operator: Operator) -> Application:
    """Return an application that serves `one` on prod."""
    shop = operator.application("rollout", PROD)
    script = HEALTH.format(shop.order_path("health"))
    shop.describe(health=[{"type": "command", "argv": ["sh", "-c", script], "timeout_seconds": 90}])
    shop.make("one")
    shop.deploy(limit="prod")
    return shop


@pytest.fixture
def shop(served: Application) -> Iterator[Application]:
    """Return it with a new release, `shop.newest`, in the catalogue; all hosts serve `shop.oldest`, before and after."""
    served.oldest = str(served.active("prod-1"))
    served.newest = served.make(f"r{len(list(served.operator.catalogue.glob(f'{served.name}/manifests/*')))}")
    served.told = {host: len(served.history(host)) for host in PROD}
    yield served
    served.relieve(*PROD)
    assert len(set(served.actives(*PROD))) == 1
    for host in PROD:
        assert served.is_settled(host)
        assert not has_share(served, host)


def has_share(shop: Application, host: str) -> str:
    return shop.fleet.inside(host, f"cat /srv/{shop.name}/share 2>/dev/null", check=False).stdout.strip()


def start(shop: Application, **variables: object) -> Running:
    return shop.start_deploy(*asked(**variables), limit="prod")


def await_hold(run: Running) -> str:
    """Wait until the rollout is held; returns the run's id."""
    until(lambda: "held after" in run.output or run.process.poll() is not None, "the rollout to be held")
    found = re.search(r"promote\.yml -e run_id=(run_\w+)", run.output)
    assert found, run.output
    return found[1]


def promote(shop: Application, run_id: str, *words: str, code: int = 0) -> Done:
    return shop.operator.play("playbooks/promote.yml", "-e", f"run_id={run_id}", *words, code=code)


def test_a_failure_in_the_second_wave_takes_the_first_one_back_and_stops_before_the_third(shop: Application) -> None:
    shop.order("prod-2", "ill")
    done = shop.deploy(*asked(**ONE_BY_ONE), limit="prod", code=2)
    assert done.says("waves 1: prod-1; 2: prod-2; 3: prod-3", "wave 1 of 3 (canary): prod-1", "wave 2 of 3: prod-2")
    assert "wave 3 of 3" not in done.text
    assert done.row("prod-1").startswith(f"prod-1 reverted {shop.oldest}")
    assert done.row("prod-2").startswith(f"prod-2 reverted {shop.oldest} health_failed")
    assert done.row("prod-3").startswith(f"prod-3 untouched {shop.oldest}")
    assert done.says("rollout: wave 2: prod-2 failed; 0 tolerated")
    assert shop.actives(*PROD) == [shop.oldest] * 3
    assert [shop.news(host) for host in PROD] == [[(shop.newest, "rolled_back")]] * 2 + [[]]


def test_a_host_that_is_lost_in_the_second_wave_is_named_with_the_time_at_which_it_goes_back(shop: Application) -> None:
    shop.order("prod-2", "hold")
    run = start(shop)
    run.await_asked(shop, "prod-2")
    with shop.fleet.partition("prod-2"):
        done = run.end()
        assert done.code not in (0, None)
        assert re.match(r"prod-2 unreachable unknown no answer; goes back by itself at 20\d\d-", done.row("prod-2"))
        assert done.says("rollout: wave 2: prod-2 unreachable; 0 tolerated")
        assert shop.actives("prod-1", "prod-3") == [shop.oldest] * 2
        shop.relieve("prod-2")
    shop.deploy(shop.oldest, limit="prod")
    assert shop.actives(*PROD) == [shop.oldest] * 3


def test_a_failure_that_is_tolerated_goes_back_alone_and_the_run_fails_all_the_same(shop: Application) -> None:
    shop.order("prod-2", "ill")
    done = shop.deploy(*asked(release_wave_failures_max=1), limit="prod", code=2)
    assert done.row("prod-1").startswith(f"prod-1 confirmed {shop.newest}")
    assert done.row("prod-2").startswith(f"prod-2 reverted {shop.oldest} health_failed")
    assert done.row("prod-3").startswith(f"prod-3 confirmed {shop.newest}")
    assert done.says("rollout: tolerated: prod-2 failed")
    assert shop.actives(*PROD) == [shop.newest, shop.oldest, shop.newest]
    shop.relieve("prod-2")
    shop.deploy(shop.newest, *asked(release_retry=True), limit="prod")
    assert shop.actives(*PROD) == [shop.newest] * 3


def test_hosts_that_have_to_stay_in_service_are_counted_before_anything_is_changed(shop: Application) -> None:
    before = shop.snapshot(*PROD)
    done = shop.deploy(*asked(release_healthy_min="100%"), limit="prod", code=2)
    assert done.says("capacity_too_low", "3 of 3 hosts", "3 in service")
    shop.order("prod-3", "ill")
    done = shop.deploy(*asked(release_healthy_min=2), limit="prod", code=2)
    assert done.says("capacity_too_low", "2 of 3 hosts", "2 in service; not prod-3")
    assert shop.snapshot(*PROD) == before
    shop.relieve("prod-3")
    done = shop.deploy(*asked(release_healthy_min=2), limit="prod")
    assert done.says("waves 1: prod-1; 2: prod-2; 3: prod-3.", "so that 2 stay in service")


def test_a_rollout_that_is_held_goes_on_when_it_is_promoted(shop: Application) -> None:
    run = start(shop, **LOOK_FIRST, release_canary_share="10%")
    run_id = await_hold(run)
    assert shop.actives(*PROD) == [shop.newest, shop.oldest, shop.oldest]
    assert [has_share(shop, host) for host in PROD] == ["10", "", ""]
    assert promote(shop, "run_of_nobody", code=2).says("run_not_held", run_id)
    assert promote(shop, run_id).says("promoted: the output of", run_id)
    done = run.end(0)
    assert done.says("wave 1 of 2 (canary): prod-1, with 10 % of its work", "held after wave 1", "wave 2 of 2")
    assert shop.actives(*PROD) == [shop.newest] * 3
    assert promote(shop, run_id, code=2).says("run_not_held")


def test_a_rollout_that_is_held_goes_back_when_it_is_aborted(shop: Application) -> None:
    """Held after its second wave: the hosts of both wait as long, those of the first by way of the second's."""
    run = start(shop, **ONE_BY_ONE, release_pause_after=["2"])
    run_id = await_hold(run)
    renewed = f'grep -c \'"step":"renewed"\' /var/lib/slipway/{shop.name}/journal.jsonl'
    assert [shop.fleet.inside(host, renewed).stdout.strip() for host in PROD[:2]] == ["1", "1"]
    assert shop.actives(*PROD) == [shop.newest, shop.newest, shop.oldest]
    promote(shop, run_id, "-e", "promote_decision=abort")
    done = run.end(2)
    assert done.row("prod-1").startswith(f"prod-1 reverted {shop.oldest}")
    assert done.row("prod-2").startswith(f"prod-2 reverted {shop.oldest}")
    assert done.row("prod-3").startswith(f"prod-3 untouched {shop.oldest}")
    assert done.says("rollout: wave 2: aborted: by")
    assert shop.actives(*PROD) == [shop.oldest] * 3


def test_who_cannot_tell_yet_holds_the_rollout_and_without_an_answer_it_goes_back(shop: Application) -> None:
    shop.order("prod-1", "unsure")
    done = shop.deploy(*asked(release_pause_seconds=3), limit="prod", code=2)
    assert done.says("held after wave 1: prod-1 cannot tell yet", "Without an answer every host goes back")
    assert done.says("rollout: wave 1: expired: nobody has said how to go on")
    assert done.row("prod-1").startswith(f"prod-1 reverted {shop.oldest}")
    assert shop.actives(*PROD) == [shop.oldest] * 3


def test_a_canary_that_falls_ill_while_it_soaks_goes_back(shop: Application) -> None:
    run = start(shop, release_soak_seconds=20)
    until(lambda: "Pausing for" in run.output or run.process.poll() is not None, "the soak")
    shop.order("prod-1", "ill")
    done = run.end(2)
    assert done.row("prod-1").startswith(f"prod-1 reverted {shop.oldest} health_failed")
    assert done.row("prod-2").startswith(f"prod-2 untouched {shop.oldest}")
    assert shop.history("prod-1")[0]["reason"] == "health_failed"


def test_a_host_of_an_earlier_wave_that_falls_ill_later_takes_all_back(shop: Application) -> None:
    """Where waves soak, every host is asked once more before anything is kept."""
    run = start(shop, release_soak_seconds=1)
    until(lambda: "wave 2 of 2" in run.output or run.process.poll() is not None, "the second wave")
    shop.order("prod-1", "ill")
    done = run.end(2)
    for host in PROD:
        assert done.row(host).startswith(f"{host} reverted {shop.oldest}")
    assert done.says("rollout: wave 1: prod-1 failed")
    shop.relieve("prod-1")


def test_a_rollback_is_fast_it_has_no_canary_no_soak_and_no_pause(shop: Application) -> None:
    shop.deploy(limit="prod")
    words = asked(release_soak_seconds=600, release_canary_share="10%", release_waves=["1"], **LOOK_FIRST)
    done = shop.rollback(*words, limit="prod")
    assert "held" not in done.text
    assert shop.actives(*PROD) == [shop.oldest] * 3
