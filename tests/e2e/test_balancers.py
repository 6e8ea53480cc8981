# SPDX-License-Identifier: GPL-3.0-or-later
"""Several hosts behind a balancer: each is drained before its switch, so that a unit that restarts loses no request either."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployments import PROBE, Application, Done, Operator, until
from load import Figures, Load, load

HELLO = Path(__file__).parents[2] / "examples/hello"
BALANCER = "staging-1"
HOSTS = ("prod-1", "prod-2", "prod-3")
PORT = 8094
UNIT = "e2e-fleet.service"
DIRECTORY = "/etc/systemd/system"
SOCKET = "/run/haproxy/admin.sock"
PER_SECOND = 60
PATIENCE = 600  # seconds, for a busy machine
CONFIGURATION = """global
    stats socket {socket} mode 600 level admin
    user haproxy
    group haproxy
defaults
    mode http
    option http-server-close
    option redispatch 1
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend fleet
    bind :{port}
    default_backend fleet
backend fleet
    option httpchk GET /health
    default-server check inter 300ms fall 2 rise 1 weight 100
"""


@pytest.fixture(scope="module")
def group(operator: Operator) -> Iterator[Application]:
    """Return the example on three hosts as one unit each, with a HAProxy before them on a fourth."""
    application = operator.application(
        "fleet",
        hosts=HOSTS,
        user=None,  # its own
        unit=UNIT,
        check={"argv": ["bin/hello", "--check"]},
        service={"command": "bin/hello"},
        health=[
            {"type": "http", "url": f"http://127.0.0.1:{PORT}/health"},
            {"type": "command", "argv": ["sh", "-c", PROBE.format("/var/tmp/slipway-e2e/e2e-fleet-health")]},
        ],
        health_patience={"deadline_seconds": 10},
    )
    inside = operator.fleet.inside
    servers = "".join(f"    server {name} {operator.fleet.host(name).address}:{PORT}\n" for name in HOSTS)
    text = CONFIGURATION.format(socket=SOCKET, port=PORT) + servers
    inside(BALANCER, f"cat > /etc/haproxy/haproxy.cfg <<'END'\n{text}END\nsystemctl restart haproxy.service")
    play(application, "playbooks/bootstrap.yml")
    make(application, "one")
    play(application, "deploy.yml", "one")
    yield application
    application.relieve(*HOSTS)
    inside(BALANCER, "systemctl stop haproxy.service")
    for host in HOSTS:
        inside(host, f"systemctl disable --now {UNIT}; rm -f {DIRECTORY}/{UNIT}; systemctl daemon-reload")


def play(application: Application, playbook: str, release_id: str = "", code: int = 0, **variables: Any) -> Done:
    """A playbook on the three hosts, with their balancer."""
    balancers = [{"host": BALANCER, "backend": "fleet", "socket": SOCKET, "drain_seconds": 10}]
    given = {"release_balancers": balancers, "release_waves": [1, "100%"], **variables}
    words = ["-e", json.dumps(given), *(["-e", f"release_id={release_id}"] if release_id else [])]
    return application.operator.start(*application.words(playbook, "prod", words)).end(code, seconds=PATIENCE)


def make(application: Application, release_id: str, **configuration: Any) -> str:
    files: dict[str, str | bytes] = {
        path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
    }
    given = {"version": "1.0.0", "port": PORT, "greeting": release_id, **configuration}
    return application.make(release_id, {**files, "config.json": json.dumps(given)})


def servers(application: Application) -> dict[str, str]:
    """What the balancer says of each host."""
    program = (
        f"import csv,socket; s=socket.socket(socket.AF_UNIX); s.connect('{SOCKET}');"
        "s.sendall(b'show stat -1 4 -1\\n'); r=csv.DictReader(s.makefile().read()[2:].splitlines());"
        "print(*(x['svname'] + '=' + x['status'].split()[0] for x in r))"
    )
    said = application.fleet.inside(BALANCER, f'python3 -c "{program}"').stdout.split()
    return dict(each.split("=") for each in said)


def clients(application: Application) -> Any:
    return load(application.fleet.host(BALANCER).address, PORT, per_second=PER_SECOND)


def at_rest(running: Load) -> Figures:
    until(lambda: len(running.figures.milliseconds) >= 100, "requests at rest")
    return running.taken()


UP = dict.fromkeys(HOSTS, "UP")


def test_no_request_is_lost_while_hosts_are_drained_switched_and_let_in_again(
    group: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    make(group, "two")
    make(group, "ill", healthy=False)
    assert servers(group) == UP
    with clients(group) as running:
        rest = at_rest(running)
        play(group, "deploy.yml", "two")
        deployed = running.taken()
        failed = play(group, "deploy.yml", "ill", code=2)
        not_deployed = running.stop()
    with capsys.disabled():
        for what, figures in (("at rest", rest), ("a deploy", deployed), ("a deploy that fails", not_deployed)):
            print(f"\n  behind a balancer, {what}: {figures.described()}", end="")
    for figures in (rest, deployed, not_deployed):
        assert (figures.failed, figures.errors) == (0, {})
    assert set(deployed.releases) == {"one", "two"}
    assert set(not_deployed.releases) == {"two"}
    assert failed.says("health_failed")
    assert (servers(group), set(group.actives(*HOSTS))) == (UP, {"two"})


def test_a_host_that_is_not_well_after_going_back_stays_drained_and_is_named(group: Application) -> None:
    make(group, "three")
    group.order("prod-1", "ill")
    with clients(group) as running:
        at_rest(running)
        done = play(group, "deploy.yml", "three", code=2)
        figures = running.stop()
    assert "drained: its balancers give it no requests" in done.text
    assert servers(group) == {**UP, "prod-1": "DRAIN"}
    assert (figures.failed, group.active("prod-1")) == (0, "two")
    group.relieve("prod-1")
    play(group, "deploy.yml", "three", release_retry=True)
    assert (servers(group), set(group.actives(*HOSTS))) == (UP, {"three"})


def test_a_balancer_that_does_not_answer_fails_a_host_before_anything_on_it_changes(group: Application) -> None:
    make(group, "four")
    before = group.actives(*HOSTS)
    with group.fleet.partition(BALANCER):
        done = play(group, "deploy.yml", "four", code=2)
    assert "balancer_unreachable" in done.text
    assert group.actives(*HOSTS) == before
    assert servers(group) == UP
    play(group, "deploy.yml", "four")
    assert set(group.actives(*HOSTS)) == {"four"}
