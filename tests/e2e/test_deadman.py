# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that nobody comes back to goes back by itself: controller killed, network cut, host restarted, confirmation too late."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deployments import Application, Done, Operator, Running, until
from door import Door

HOST, OTHER = "prod-1", "prod-2"
UNIT = "e2e-deadman.service"
STARTS = "/var/tmp/slipway-e2e-deadman-starts"
# An ordinary service that notes which release it was started with.
SERVICE = f"""[Service]
ExecStart=/bin/sh -c 'readlink /srv/e2e-deadman/current >> {STARTS}; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""
DEAD_MEN = (
    (
        "systemctl list-units --all --plain --no-legend 'slipway-deadman-*.timer';"
        "find /run/systemd/system /run/slipway ( -name 'slipway-deadman-*' -o -name '????????????????????????????????' )"
    )
    .replace("(", "'('")
    .replace(")", "')'")
)
SECONDS = 15


@pytest.fixture(scope="module")
def served(operator: Operator) -> Iterator[Application]:
    """Return an application with a unit of its own that serves `one` on a host."""
    inside = operator.fleet.inside
    inside(
        HOST,
        f"cat > /etc/systemd/system/{UNIT} <<'END'\n{SERVICE}END\nsystemctl daemon-reload; systemctl enable {UNIT}",
    )
    shop = operator.application("deadman", [HOST, OTHER], unit=UNIT, check=None, health=[{"type": "unit"}])
    shop.make("one")
    shop.deploy()
    yield shop
    inside(HOST, f"systemctl disable --now {UNIT}; rm -f /etc/systemd/system/{UNIT} {STARTS}; systemctl daemon-reload")


@pytest.fixture
def shop(served: Application) -> Application:
    """Return it with a new release, `shop.newest`, in the catalogue; what is served is `shop.oldest`."""
    served.describe(smoke=None)
    served.told = {HOST: len(served.history(HOST))}
    served.oldest = served.active(HOST)
    served.newest = served.make(f"r{len(list(served.operator.catalogue.glob(f'{served.name}/manifests/*')))}")
    return served


@contextmanager
def switched(shop: Application, seconds: int = SECONDS) -> Iterator[tuple[Running, Door]]:
    """A deployment that has switched the host and waits for an answer at the door."""
    door = Door()
    shop.describe(smoke=[{"type": "http", "url": door.url, "timeout_seconds": 120}])
    try:
        run = shop.start_deploy("-e", f"release_confirm_within_seconds={seconds}")
        until(lambda: door.knocked.is_set() or run.process.poll() is not None, "the smoke test")
        assert shop.active(HOST) == shop.newest, run.output
        yield run, door
    finally:
        door.close()


def went_back(shop: Application, reason: str) -> dict[str, object]:
    """Wait until the host has gone back by itself; its record."""
    until(lambda: shop.news(HOST), f"a record of {HOST}", 60)
    record = shop.history(HOST)[0]
    assert (shop.active(HOST), record["reason"]) == (shop.oldest, reason), record
    assert shop.is_settled(HOST)
    assert shop.fleet.inside(HOST, DEAD_MEN).stdout == ""
    return record


def test_a_host_whose_controller_was_killed_goes_back_by_itself(shop: Application) -> None:
    with switched(shop) as (run, _door):
        shown = shop.fleet.inside(HOST, f"slipway status {shop.name}").stdout
        found = re.search(rf"{shop.newest} is unconfirmed, .* goes back to {shop.oldest} by itself in (\d+) s", shown)
        assert found, shown
        assert 0 < int(found[1]) <= SECONDS
        run.signal(signal.SIGKILL)
        run.end()
        record = went_back(shop, "not_confirmed")
    assert record["status"] == "rolled_back"
    shown = shop.fleet.inside(HOST, f"slipway status {shop.name}").stdout
    assert "unconfirmed" not in shown
    assert shop.newest in shown, "it is bad"
    assert shop.fleet.inside(HOST, f"systemctl is-active {UNIT}").stdout == "active\n"
    assert shop.fleet.inside(HOST, f"tail -n1 {STARTS}").stdout == f"releases/{shop.oldest}\n"


def test_a_host_that_is_cut_off_goes_back_by_itself(shop: Application) -> None:
    with switched(shop) as (run, door):
        with shop.fleet.partition(HOST):
            went_back(shop, "not_confirmed")
            door.open()
            done = run.end(seconds=180)
        assert done.code not in (0, None)
        assert done.row(HOST).startswith(f"{HOST} unreachable"), done.output


def test_a_confirmation_that_comes_too_late_is_refused_and_the_report_says_what_is_served(shop: Application) -> None:
    with switched(shop) as (run, door):
        record = went_back(shop, "not_confirmed")
        door.open()
        done = run.end()
    assert done.code not in (0, None)
    assert done.row(HOST).startswith(f"{HOST} reverted {shop.oldest} "), done.output
    assert done.says("nothing of this run to take back", f"rolled_back at {record['timestamp']}")


def test_an_unconfirmed_release_does_not_survive_a_reboot(shop: Application) -> None:
    """It is gone before the application's unit starts, so that starts once, with the release before."""
    with switched(shop, 600) as (run, door):
        shop.fleet.inside(HOST, f"rm {STARTS}")
        shop.fleet.reboot(HOST)
        record = went_back(shop, "interrupted_by_reboot")
        door.open()
        run.end()
    assert record["status"] == "interrupted"
    until(lambda: shop.fleet.inside(HOST, f"systemctl is-active {UNIT}", check=False).stdout == "active\n", "the unit")
    assert shop.fleet.inside(HOST, f"cat {STARTS}").stdout == f"releases/{shop.oldest}\n"
    times = ("ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
    shown = shop.fleet.inside(
        HOST, f"systemctl show slipway-recover.service {' '.join(f'-p {name}' for name in times)} -p Result"
    ).stdout
    values = dict(line.split("=", 1) for line in shown.splitlines())
    seconds = (int(values[times[1]]) - int(values[times[0]])) / 1e6
    print(f"\n  recovery at boot: {seconds:.2f} s")
    assert values["Result"] == "success"


def test_the_units_of_slipway_are_what_systemd_takes_them_for(served: Application) -> None:
    inside = served.fleet.inside
    assert inside(HOST, "systemd-analyze verify slipway-recover.service slipway-deadman@shop.service 2>&1").stdout == ""
    assert "slipway-recover.service" in inside(HOST, "systemctl list-dependencies --plain basic.target").stdout
    before = inside(HOST, f"systemctl list-dependencies --plain --after {UNIT}").stdout
    assert "basic.target" in before
    assert "slipway-recover.service" in inside(HOST, "systemctl list-dependencies --plain --after basic.target").stdout


def play(
    shop: Application, playbook: str, *words: str, limit: str = HOST, code: int = 0, by: Operator | None = None
) -> Done:
    return (by or shop.operator).start(*shop.words(f"playbooks/{playbook}.yml", limit, words)).end(code)


def test_what_a_dead_run_left_open_is_settled_from_the_controller(shop: Application, tmp_path: Path) -> None:
    with switched(shop, 600) as (run, _door):
        other = Operator(shop.fleet, tmp_path)
        refused = play(shop, "recover", code=2, by=other)
        assert refused.row(HOST).startswith(f"{HOST} unknown locked"), refused.output
        run.signal(signal.SIGKILL)
        run.end()
        done = play(shop, "recover")
    assert done.row(HOST).startswith(f"{HOST} {shop.oldest} recovered interrupted: {shop.newest}, run "), done.output
    assert shop.news(HOST) == [(shop.newest, "interrupted")]
    assert shop.is_settled(HOST)
    again = play(shop, "recover", "-e", "release_recovery_forced=true", by=other)
    assert again.row(HOST) == f"{HOST} {shop.oldest} unchanged nothing was open"


def test_a_lock_keeps_deployments_away_and_is_taken_on_all_hosts_or_on_none(shop: Application) -> None:
    words = ("-e", "lock_state=taken", "-e", json.dumps({"lock_message": "frozen until Monday", "lock_hours": 2}))
    theirs = '{"holder":"bert","id":"0","message":"mine","since":1,"until":null}'
    inside, place = shop.fleet.inside, f"/var/lib/slipway/{shop.name}/manual-lock.json"
    inside(OTHER, f"printf %s '{theirs}' > {place}")
    done = play(shop, "lock", *words, limit=f"{HOST},{OTHER}", code=2)
    assert done.says("locked_by_hand", "by bert", f"lock_refused: {OTHER}")
    assert inside(HOST, f"test -e {place}", check=False).returncode == 1, "our own is given back"
    assert inside(OTHER, f"cat {place}").stdout == theirs, "the loser never frees the winner's"

    assert "frozen until Monday" in play(shop, "lock", *words).row(HOST)
    refused = shop.deploy(shop.newest, code=2)
    assert refused.says("locked_by_hand", f"{HOST}: locked by", "frozen until Monday")
    assert "frozen until Monday" in inside(HOST, f"slipway status {shop.name}").stdout
    assert play(shop, "lock", "-e", "lock_state=released").row(HOST).startswith(f"{HOST} released")
    assert play(shop, "lock").row(HOST) == f"{HOST} free - - - -"
    assert shop.active(HOST) == shop.oldest
