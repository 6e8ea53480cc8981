# SPDX-License-Identifier: GPL-3.0-or-later
"""Two regions behind two balancers, one of which is in a region: rollouts in order, and requests moved away from a region that is cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployments import PROBE, Application, Done, Operator, until
from load import Figures, Load, load

HELLO = Path(__file__).parents[2] / "examples/hello"
OUTSIDE, INSIDE = "staging-1", "prod-1"  # where the balancers are: beside the regions, and in one of them
HOSTS = ("prod-1", "prod-2", "prod-3")
REGIONS = "[eu]\nprod-1\n[us]\nprod-2\nprod-3\n"
PORT, BALANCED_PORT = 8096, 8097
UNIT = "e2e-regions.service"
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
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend regions
    bind :{port}
    default_backend regions
backend regions
    option httpchk GET /health
    default-server check inter 300ms fall 2 rise 1 weight 100
"""
BALANCERS = [{"host": host, "backend": "regions", "socket": SOCKET, "drain_seconds": 10} for host in (OUTSIDE, INSIDE)]
UP = dict.fromkeys(HOSTS, "UP")
EU_AWAY = {**UP, "prod-1": "MAINT"}


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Iterator[Application]:
    """Return the example on three hosts in two regions, with a HAProxy beside them and one in a region."""
    application = operator.application(
        "regions",
        hosts=HOSTS,
        user=None,  # its own
        unit=UNIT,
        check={"argv": ["bin/hello", "--check"]},
        service={"command": "bin/hello"},
        health=[
            {"type": "http", "url": f"http://127.0.0.1:{PORT}/health"},
            {"type": "command", "argv": ["sh", "-c", PROBE.format("/var/tmp/slipway-e2e/e2e-regions-health")]},
        ],
        health_patience={"deadline_seconds": 10},
    )
    inside = operator.fleet.inside
    (operator.state / "regions").write_text(REGIONS)
    servers = "".join(f"    server {name} {operator.fleet.host(name).address}:{PORT}\n" for name in HOSTS)
    text = CONFIGURATION.format(socket=SOCKET, port=BALANCED_PORT) + servers
    for host in (OUTSIDE, INSIDE):
        inside(host, f"cat > /etc/haproxy/haproxy.cfg <<'END'\n{text}END\nsystemctl restart haproxy.service")
    play(application, "playbooks/bootstrap.yml")
    make(application, "one")
    play(application, "deploy.yml", "one")
    yield application
    application.relieve(*HOSTS)
    for host in (OUTSIDE, INSIDE):
        inside(host, "systemctl stop haproxy.service")
    for host in HOSTS:
        inside(host, f"systemctl disable --now {UNIT}; rm -f /etc/systemd/system/{UNIT}; systemctl daemon-reload")


def play(
    application: Application, playbook: str, release_id: str = "", code: int = 0, words: Any = (), **variables: Any
) -> Done:
    """A playbook on the regions, us first, with their balancers."""
    given = {
        "release_balancers": BALANCERS,
        "release_region_order": ["us", "eu"],
        "release_waves": [1, "100%"],
        **variables,
    }
    words = [
        *("-i", "inventories/lab/hosts", "-i", str(application.operator.state / "regions")),
        *("-e", json.dumps(given)),
        *(["-e", f"release_id={release_id}"] if release_id else []),
        *words,
    ]
    return application.operator.start(*application.words(playbook, "prod", words)).end(code, seconds=PATIENCE)


def failover(application: Application, code: int = 0, words: Any = (), **variables: Any) -> Done:
    return play(application, "playbooks/failover.yml", code=code, words=words, failover_region="eu", **variables)


def make(application: Application, release_id: str) -> str:
    files: dict[str, str | bytes] = {
        path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
    }
    given = {"version": "1.0.0", "port": PORT, "greeting": release_id}
    return application.make(release_id, {**files, "config.json": json.dumps(given)})


def servers(application: Application, balancer: str = OUTSIDE) -> dict[str, str]:
    """What a balancer says of each host."""
    program = (
        f"import csv,socket; s=socket.socket(socket.AF_UNIX); s.connect('{SOCKET}');"
        "s.sendall(b'show stat -1 4 -1\\n'); r=csv.DictReader(s.makefile().read()[2:].splitlines());"
        "print(*(x['svname'] + '=' + x['status'].split()[0] for x in r))"
    )
    said = application.fleet.inside(balancer, f'python3 -c "{program}"').stdout.split()
    return dict(each.split("=") for each in said)


def clients(application: Application) -> Any:
    return load(application.fleet.host(OUTSIDE).address, BALANCED_PORT, per_second=PER_SECOND)


def some(running: Load) -> Figures:
    """The figures of at least a hundred requests from now on."""
    running.taken()
    until(lambda: len(running.figures.milliseconds) >= 100, "a hundred requests")
    return running.taken()


def test_a_rollout_takes_region_by_region_and_one_that_fails_stops_the_next(shop: Application) -> None:
    make(shop, "two")
    shop.order("prod-3", "ill")
    failed = play(shop, "deploy.yml", "two", code=2)
    shop.relieve("prod-3")
    assert failed.says(
        "waves 1 in us: prod-2; 2 in us: prod-3; 3 in eu: prod-1",
        "wave 1 of 3 (canary) in region us: prod-2",
        "wave 2 of 3 in region us: prod-3",
        "region us: one on 2 hosts",
        "region eu: one (untouched) on 1 host",
        "rollout: wave 2 (us): prod-3 failed",
    )
    assert "wave 3 of 3" not in failed.text
    assert shop.actives(*HOSTS) == ["one"] * 3
    assert shop.statuses("prod-1") == [("one", "success")]
    checked = play(shop, "deploy.yml", "two", words=["--check"], release_retry=True)
    assert checked.says("waves 1 in us: prod-2; 2 in us: prod-3; 3 in eu: prod-1")
    done = play(shop, "deploy.yml", "two", release_retry=True)
    assert done.says("wave 3 of 3 in region eu: prod-1", "region us: two on 2 hosts", "region eu: two on 1 host")
    assert (shop.actives(*HOSTS), servers(shop), servers(shop, INSIDE)) == (["two"] * 3, UP, UP)


def test_regions_that_are_none_are_refused_before_anything_is_changed(shop: Application) -> None:
    done = play(shop, "deploy.yml", "two", code=2, release_region_order=["us", "mars"])
    assert done.says("regions_invalid", "mars is no group of the inventory; prod-1 is in none of them")


def test_a_region_that_is_failed_over_gets_no_requests_and_no_rollout_admits_it(shop: Application) -> None:
    make(shop, "three")
    with clients(shop) as running:
        some(running)
        checked = failover(shop, words=["--check"])
        assert (servers(shop), "would go away" in checked.text) == (UP, True)
        moved = failover(shop)
        moving, away = running.taken(), some(running)
        assert moved.says("failover of eu: done")
        assert (servers(shop), servers(shop, INSIDE)) == (EU_AWAY, EU_AWAY)
        assert "changed=0" in failover(shop).text
        deployed = play(shop, "deploy.yml", "three")
        during = running.taken()
    assert [each.failed for each in (moving, away, during)] == [0, 0, 0]
    assert deployed.says("eu is failed over", "failed over: its balancers give it no requests")
    assert shop.actives(*HOSTS) == ["three"] * 3
    assert (servers(shop), servers(shop, INSIDE)) == (EU_AWAY, EU_AWAY)
    status = play(shop, "playbooks/status.yml")
    assert status.says("region eu: three on 1 host; failed over at prod-1 (regions), staging-1 (regions)")
    assert status.says("region us: three on 2 hosts")
    refused = play(shop, "playbooks/failover.yml", code=2, failover_region="us", release_failover_healthy_min="2")
    assert refused.says("capacity_too_low", "at least 2 of 1 hosts of other regions")
    assert failover(shop, failover_back=True).says("return of eu: done")
    assert (servers(shop), servers(shop, INSIDE)) == (UP, UP)


def test_a_region_is_moved_away_from_while_it_is_cut_off_and_a_balancer_in_it_is_named(shop: Application) -> None:
    with clients(shop) as running:
        some(running)
        with shop.fleet.partition(INSIDE):
            until(lambda: servers(shop)["prod-1"] == "DOWN", "the balancer finds prod-1 down")
            cut_off = failover(shop, code=2)
            after = some(running)
            assert servers(shop) == EU_AWAY, cut_off.output
            status = play(shop, "playbooks/status.yml")
        again = some(running)
        assert servers(shop, INSIDE)["prod-1"] == "UP"  # nobody could tell it
        done = failover(shop)
        assert (servers(shop), servers(shop, INSIDE)) == (EU_AWAY, EU_AWAY)
        back = failover(shop, failover_back=True)
        returned = some(running)
    assert cut_off.says("failover of eu: not done", "mend prod-1 (regions), then the same command")
    assert "failover of eu: done" not in cut_off.text
    assert status.says(
        "region eu: no answer on 1 host; failed over at staging-1 (regions); no answer from prod-1 (regions)"
    )
    assert [each.failed for each in (after, again, returned)] == [0, 0, 0]
    assert done.says("failover of eu: done")
    assert back.says("return of eu: done")
    assert (servers(shop), servers(shop, INSIDE)) == (UP, UP)
