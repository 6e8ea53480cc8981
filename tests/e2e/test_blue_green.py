# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances behind the host's own HAProxy: under a constant load no deploy, rollback or failed deploy loses a request."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployments import PROBE, Application, Done, Operator, until
from load import Figures, load

HELLO = Path(__file__).parents[2] / "examples/hello"
HOST = "prod-1"
PORT, BLUE, GREEN = 8091, 18091, 18092
UNIT = "e2e-pair@.service"
PER_SECOND = 60
REQUESTS_AT_REST = 200
# Whoever holds the application's lock: the remote part of the run.
KILL_HOLDER = """
for file in /proc/[0-9]*/fd/*; do
    test "$(readlink "$file")" = /var/lib/slipway/e2e-pair/lock && pid=${file#/proc/} && kill -9 "${pid%%/*}"
done; true
"""
DIRECTORY = "/etc/systemd/system"
ILL = "/var/tmp/e2e-pair-ill"
HELD = {
    "type": "command",
    "argv": ["sh", "-c", PROBE.format("/var/tmp/slipway-e2e/e2e-pair-health")],
    "timeout_seconds": 90,
}


@pytest.fixture(scope="module")
def pair(operator: Operator) -> Iterator[Application]:
    """Return the example as two instances on prod-1, with its first release."""
    pair = operator.application(
        "pair",
        hosts=[HOST],
        user=None,  # its own
        unit=UNIT,
        strategy="blue_green",
        blue_green={"port": PORT, "instance_ports": {"blue": BLUE, "green": GREEN}, "drain_seconds": 10},
        check={"argv": ["bin/hello", "--check"]},
        service={"command": "bin/hello"},
        health=[{"type": "http", "url": "http://127.0.0.1:{port}/health", "contains": "ok"}],
        health_patience={"deadline_seconds": 15},
        smoke=[{"type": "http", "url": f"http://{operator.fleet.host(HOST).address}:{PORT}/version"}],
    )
    bootstrap(pair)
    make(pair, "one")
    pair.deploy("one")
    yield pair
    pair.relieve(HOST)
    inside = operator.fleet.inside
    inside(HOST, "systemctl disable --now slipway-haproxy.service; systemctl stop 'e2e-pair@*'")
    inside(HOST, f"rm -rf {DIRECTORY}/e2e-pair@* {DIRECTORY}/*/e2e-pair@* {DIRECTORY}/slipway-haproxy.service")
    inside(HOST, "rm -f /etc/slipway/haproxy.cfg; systemctl daemon-reload")


def bootstrap(pair: Application, *words: str) -> Done:
    words = ("playbooks/bootstrap.yml", "-l", HOST, "-e", f"@{pair.variables}", *words)
    return pair.operator.start(*words).end(0, seconds=300)


def make(pair: Application, release_id: str, **configuration: Any) -> str:
    files: dict[str, str | bytes] = {
        path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
    }
    given = {"version": "1.0.0", "port": 1, "greeting": release_id, **configuration}
    return pair.make(release_id, {**files, "config.json": json.dumps(given)})


def at_rest(pair: Application) -> str:
    """The colour that runs; asserts that it is one, that it runs what is active, and that HAProxy has it alone."""
    said = pair.fleet.inside(
        HOST,
        f"cd /srv/{pair.name}; for colour in blue green; do echo $colour $(systemctl is-active e2e-pair@$colour.service)"
        " $(readlink instances/$colour); done; readlink current",
    ).stdout.split("\n")
    rows = [line.split() for line in said[:2]]
    running = [row for row in rows if row[1] == "active"]
    assert len(running) == 1, said
    assert [row for row in rows if len(row) == 3] == running, said
    assert running[0][2] == f"../{said[2]}", said
    return running[0][0]


def say(capsys: pytest.CaptureFixture[str], what: str, figures: Figures) -> None:
    with capsys.disabled():
        print(f"\n  {what}: {figures.described()}", end="")


def test_no_request_is_lost_in_a_deploy_a_rollback_and_a_deploy_that_fails(
    pair: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    make(pair, "two")
    make(pair, "ill", healthy=False)
    colours = [at_rest(pair)]
    with load(pair.fleet.host(HOST).address, PORT, per_second=PER_SECOND) as clients:
        until(lambda: len(clients.figures.milliseconds) >= REQUESTS_AT_REST, "requests at rest")
        rest = clients.taken()
        pair.deploy("two")
        colours.append(at_rest(pair))
        deployed = clients.taken()
        pair.rollback("-e", "release_id=one")
        colours.append(at_rest(pair))
        rolled_back = clients.taken()
        failed = pair.deploy("ill", code=2)
        colours.append(at_rest(pair))
        not_deployed = clients.taken()
        last = clients.stop()
    say(capsys, "at rest", rest)
    say(capsys, "during a deploy", deployed)
    say(capsys, "during a rollback", rolled_back)
    say(capsys, "during a deploy that fails", not_deployed)
    everything = (rest, deployed, rolled_back, not_deployed, last)
    assert [(figures.failed, figures.errors, figures.reconnected) for figures in everything] == [(0, {}, 0)] * 5
    assert [set(figures.releases) for figures in everything] == [
        {"one"},
        {"one", "two"},
        {"one", "two"},
        {"one"},
        {"one"},
    ]
    assert all(figures.kept > figures.sent / 4 for figures in everything[:4])
    assert colours == ["blue", "green", "blue", "blue"]
    assert failed.says("health_failed", "answered 503, expected 200")
    assert pair.statuses(HOST)[-2:] == [("one", "success"), ("ill", "rolled_back")]
    assert pair.is_settled(HOST)


def test_a_request_that_is_open_in_the_old_instance_is_answered_before_it_ends(pair: Application) -> None:
    """The drain waits for it; new requests go to the new one at once."""
    make(pair, "three")
    old, address = pair.active(HOST), pair.fleet.host(HOST).address
    with socket.create_connection((address, PORT), timeout=60) as client:
        client.sendall(b"GET /work?seconds=9 HTTP/1.0\r\n\r\n")
        until(lambda: sessions(pair) == 1, "the request in its instance")
        pair.deploy("three")
        answer = client.makefile("rb").read()
    assert answer.startswith((b"HTTP/1.0 200 ", b"HTTP/1.1 200 "))
    assert json.loads(answer.rpartition(b"\r\n")[2])["release_id"] == old
    assert at_rest(pair)


def sessions(pair: Application) -> int:
    """How many requests are open in the instances."""
    program = (
        "import csv,socket; s=socket.socket(socket.AF_UNIX); s.connect('/run/slipway-haproxy/admin.sock');"
        "s.sendall(b'show stat -1 4 -1\\n'); r=csv.DictReader(s.makefile().read()[2:].splitlines());"
        "print(sum(int(x['scur']) for x in r))"
    )
    return int(pair.fleet.inside(HOST, f'python3 -c "{program}"').stdout)


def test_a_run_that_is_killed_while_the_new_instance_starts_is_settled_without_a_lost_request(
    pair: Application,
) -> None:
    make(pair, "four")
    old, colour = pair.active(HOST), at_rest(pair)
    pair.order(HOST, "hold")
    pair.describe(health=[*pair.changes["health"], HELD])
    with load(pair.fleet.host(HOST).address, PORT, per_second=PER_SECOND) as clients:
        run = pair.start_deploy("-e", "release_id=four")
        run.await_asked(pair, HOST, "health")
        assert (pair.active(HOST), sorted(running(pair))) == ("four", ["blue", "green"])
        pair.fleet.inside(HOST, KILL_HOLDER)
        run.end(2)
        pair.relieve(HOST)
        figures = clients.stop()
    assert pair.active(HOST) == old
    assert at_rest(pair) == colour
    assert (figures.failed, set(figures.releases)) == (0, {old})
    pair.describe(health=pair.changes["health"][:-1])
    assert pair.is_settled(HOST)


def running(pair: Application) -> list[str]:
    said = pair.fleet.inside(HOST, "systemctl is-active e2e-pair@blue e2e-pair@green", check=False).stdout.split()
    return [colour for colour, state in zip(("blue", "green"), said, strict=True) if state == "active"]


def test_both_instances_are_live_at_their_shares_until_the_declared_check_has_decided(
    pair: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    old = pair.active(HOST)
    shared = {"share": 25, "share_seconds": 4, "verdict": {"argv": ["test", "!", "-e", ILL]}}
    before = pair.changes["blue_green"]
    pair.describe(blue_green={**before, **shared})
    make(pair, "five")
    pair.fleet.inside(HOST, f"touch {ILL}")
    with load(pair.fleet.host(HOST).address, PORT, per_second=PER_SECOND) as clients:
        done = pair.deploy("five", code=2)
        assert done.says("health_failed", "after 4 s with 25% of the traffic", "exit code 1")
        refused = clients.taken()
        pair.fleet.inside(HOST, f"rm {ILL}")
        pair.deploy("five", "-e", "release_retry=true")
        taken = clients.stop()
    pair.describe(blue_green=before)
    say(capsys, "while both are live", refused)
    assert (refused.failed, taken.failed) == (0, 0)
    assert set(refused.releases) == set(taken.releases) == {old, "five"}
    # For at least those 4 s a quarter of the requests, and before and after them none.
    assert refused.answered[0] == refused.answered[-1] == old
    both = refused.while_answering("five")
    assert len(both) >= 3.5 * PER_SECOND
    assert 0.2 <= both.count("five") / len(both) <= 0.3
    assert (pair.active(HOST), len(running(pair))) == ("five", 1)


def test_after_a_reboot_the_instance_of_the_active_release_serves_and_no_other(pair: Application) -> None:
    colour, active = at_rest(pair), pair.active(HOST)
    pair.fleet.reboot(HOST)
    until(lambda: running(pair) == [colour], "the instance after the boot")
    address = pair.fleet.host(HOST).address
    with load(address, PORT, per_second=PER_SECOND) as clients:
        until(lambda: clients.figures.releases[active] > 0, "an answer")
        until(lambda: clients.taken().failed == 0, "a second without an error")
        until(lambda: len(clients.figures.milliseconds) > REQUESTS_AT_REST, "requests after the boot")
        figures = clients.stop()
    assert (figures.failed, set(figures.releases)) == (0, {active})
    assert at_rest(pair) == colour


def test_a_reload_of_the_balancer_loses_no_request(pair: Application) -> None:
    with load(pair.fleet.host(HOST).address, PORT, per_second=PER_SECOND) as clients:
        for _ in range(3):
            before = len(clients.figures.milliseconds)
            pair.fleet.inside(HOST, "systemctl reload slipway-haproxy.service")
            until(lambda seen=before: len(clients.figures.milliseconds) > seen + PER_SECOND, "requests after a reload")
        figures = clients.stop()
    assert (figures.failed, figures.errors) == (0, {})


def test_bootstrap_again_changes_nothing_and_the_preflight_knows_both_instances(pair: Application) -> None:
    assert re.search(rf"{HOST}\s*:.*changed=0", bootstrap(pair).output)
    done = pair.operator.play("playbooks/check.yml", "-l", HOST, "-e", f"@{pair.variables}")
    table = done.output
    for row in (
        f"port {PORT} PASS",
        f"port {BLUE} PASS",
        f"port {GREEN} PASS",
        "balancer blue PASS",
        "balancer green PASS",
    ):
        assert row in re.sub(r"\s+", " ", table), table
