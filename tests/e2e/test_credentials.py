# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service gets of secrets, on real hosts: it has them, nobody else does, and they are switched and taken back with its release."""

from __future__ import annotations

import base64
import hmac
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.store_key import load_key
from deployments import Application, Done, Operator, until
from door import Door
from load import load

HELLO = Path(__file__).parents[2] / "examples/hello"
HOSTS = ("prod-1", "prod-2")
HOST = HOSTS[0]
PORT, PAIR_PORT, BLUE, GREEN = 8093, 8094, 18094, 18095
DIRECTORY = "/etc/systemd/system"
CHALLENGE = "0123456789abcdef" * 2
FIRST, SECOND, THIRD, BAD = (f"canary-{word}-4d1c9b" for word in ("first", "second", "third", "bad"))
DECLARED = (
    "-e",
    json.dumps(
        {
            "secrets_cache_seconds": 0,
            "release_credentials": {"database_password": {"secret": "database/main", "field": "password"}},
        }
    ),
)
REPLACED = ("-e", '{"release_credentials_replaced": true}')
# Unhealthy with BAD: what a health check of a real application finds when its database does not take the password.
ASKS = f"""
import sys, urllib.request
told = urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/proof?challenge={CHALLENGE}").read().decode()
sys.exit("{hmac.digest(BAD.encode(), CHALLENGE.encode(), "sha256").hex()}" in told)
"""
PLACES = (
    "for place in /var/lib/slipway/$APPLICATION/credentials; do find $place -printf '%y %m %U:%G %f\\n' | sort; done"
)
# Where a value may not be: every file but those of the running service itself, every process, what systemd says, the journal.
# What to search for comes in hexadecimal digits, and lies in memory meanwhile: the search must not find itself.
SEARCH = """
cd /; python3 -c 'import sys; open("/dev/shm/sought", "wb").write(b"".join(bytes.fromhex(x) + b"\\n" for x in sys.argv[1:]))' $SOUGHT
grep -rslaF -f /dev/shm/sought etc var srv usr/lib/slipway tmp run/slipway run/systemd/system root home
grep -saF -l -f /dev/shm/sought /proc/[0-9]*/environ /proc/[0-9]*/cmdline
systemctl show "$UNIT" | grep -aF -f /dev/shm/sought
journalctl --no-pager --output=export | grep -aF -f /dev/shm/sought
grep -slaF -f /dev/shm/sought /dev/shm/sought
rm /dev/shm/sought
"""


def proof(value: str) -> str:
    return hmac.digest(value.encode(), CHALLENGE.encode(), "sha256").hex()


class Shop:
    """The example with a credential, and the operator who sets it."""

    def __init__(self, application: Application, port: int) -> None:
        self.application, self.operator, self.fleet = application, application.operator, application.fleet
        self.port = port

    def set(self, value: str) -> None:
        """Set the secret where secrets are."""
        key = load_key(self.operator.state / "keys/secrets.key")
        store = LocalStore("local", self.operator.state / "secrets.enc", lambda: key)
        store.write(Secret("database/main", {"password": value}))

    def mark(self) -> None:
        """From now on `Application.news` tells only what comes."""
        self.application.told = {host: len(self.application.history(host)) for host in HOSTS}

    def make(self, release_id: str) -> str:
        files: dict[str, str | bytes] = {
            path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
        }
        given = {"version": "1.0.0", "port": self.port, "greeting": release_id}
        return self.application.make(release_id, {**files, "config.json": json.dumps(given)})

    def deploy(self, *words: str, code: int = 0, limit: str = ",".join(HOSTS)) -> Done:
        return self.application.deploy(*words, *DECLARED, limit=limit, code=code)

    def proves(self, host: str) -> tuple[str, str]:
        """Which release answers there, and which of the values it has."""
        url = f"http://{self.fleet.host(host).address}:{self.port}/proof?challenge={CHALLENGE}"
        with urllib.request.urlopen(url, timeout=30) as response:
            answer = json.load(response)
        known = {proof(value): value for value in (FIRST, SECOND, THIRD, BAD)}
        return answer["release_id"], known[answer["proofs"]["database_password"]]

    def generations(self, host: str) -> set[str]:
        found = f"ls /var/lib/slipway/{self.application.name}/credentials | grep -xE '[0-9a-f]{{16}}'"
        return set(self.fleet.inside(host, found).stdout.split())


def described(operator: Operator, name: str, port: int, **more: object) -> dict[str, object]:
    return {
        "user": None,  # its own
        "unit": f"e2e-{name}.service",
        "check": {"argv": ["bin/hello", "--check"]},
        "service": {"command": "bin/hello"},
        "health": [
            {"type": "http", "url": f"http://127.0.0.1:{port}/health", "contains": "ok"},
            {"type": "command", "argv": ["python3", "-c", ASKS, str(port)], "timeout_seconds": 10},
        ],
        "health_patience": {"deadline_seconds": 8},
        **more,
    }


@pytest.fixture(scope="module")
def shop(operator: Operator) -> Iterator[Shop]:
    """`one` with the first value on two hosts."""
    operator.play("playbooks/secrets_store.yml", "-e", "secret_environment=prod")
    application = operator.application("credentials", HOSTS, **described(operator, "credentials", PORT))
    operator.start("playbooks/bootstrap.yml", "-l", ",".join(HOSTS), "-e", f"@{application.variables}").end(0)
    shop = Shop(application, PORT)
    shop.set(FIRST)
    shop.make("one")
    shop.deploy("one")
    yield shop
    for host in HOSTS:
        operator.fleet.inside(
            host,
            f"systemctl disable --now e2e-credentials.service; rm -rf {DIRECTORY}/e2e-credentials* ; systemctl daemon-reload",
        )


def test_a_service_has_what_was_given_and_no_place_of_the_host_shows_it(shop: Shop) -> None:
    assert [shop.proves(host) for host in HOSTS] == [("one", FIRST)] * 2
    name = shop.application.name
    rows = shop.fleet.inside(HOST, f"APPLICATION={name}; {PLACES}").stdout.splitlines()
    assert {row.split()[2] for row in rows} == {"0:0"}
    assert {tuple(row.split()[:2]) for row in rows} == {("d", "700"), ("f", "600"), ("l", "777")}
    encoded = base64.b64encode(FIRST.encode()).decode().rstrip("=")
    sought = " ".join(text.encode().hex() for text in (FIRST, encoded))
    search = f"SOUGHT='{sought}' UNIT=e2e-credentials.service; {SEARCH}"
    assert shop.fleet.inside(HOST, search).stdout == "/dev/shm/sought\n"  # it does find what is there
    loaded = "ls -l /run/credentials/e2e-credentials.service/ | grep -c slipway_database_password"
    assert shop.fleet.inside(HOST, loaded).stdout == "1\n"


def test_a_deployment_shows_no_value_whatever_it_is_asked_to_show(shop: Shop) -> None:
    shop.set(SECOND)
    shown = shop.deploy("-vvvv", "--diff", "--check")
    assert shown.says("credential database_password: changed")
    assert shop.proves(HOST) == ("one", FIRST)
    encoded = base64.b64encode(SECOND.encode()).decode().rstrip("=")
    assert not [value for value in (FIRST, SECOND, encoded) if value in shown.output]


def test_another_value_is_a_change_of_the_release_that_is_active(shop: Shop) -> None:
    shop.mark()
    shop.set(SECOND)
    shop.deploy("-vvv")
    assert [shop.proves(host) for host in HOSTS] == [("one", SECOND)] * 2
    assert [shop.application.news(host) for host in HOSTS] == [[("one", "success")]] * 2
    started = shop.fleet.inside(HOST, "systemctl show -p MainPID e2e-credentials.service").stdout
    again = shop.deploy()
    assert again.row(HOST).startswith(f"{HOST} unchanged one"), again.output
    assert shop.fleet.inside(HOST, "systemctl show -p MainPID e2e-credentials.service").stdout == started
    assert shop.application.is_settled(HOST)


def test_a_value_that_does_not_work_ends_at_the_canary_and_is_taken_back(shop: Shop) -> None:
    shop.mark()
    before = shop.proves(HOST)
    shop.set(BAD)
    done = shop.deploy(code=2)
    assert done.says("health_failed", "Went back: one is active")
    assert done.row(HOST).startswith(f"{HOST} reverted one"), done.output
    assert [shop.proves(host) for host in HOSTS] == [before] * 2
    assert [shop.application.news(host) for host in HOSTS] == [[("one", "failed")], []]
    assert shop.application.is_settled(HOST)
    shop.set(SECOND)
    assert shop.deploy().row(HOST).startswith(f"{HOST} unchanged one")


def test_a_rollback_takes_the_value_that_its_release_had(shop: Shop) -> None:
    shop.make("two")
    shop.set(THIRD)
    shop.deploy("two")
    assert [shop.proves(host) for host in HOSTS] == [("two", THIRD)] * 2
    shop.application.rollback(limit=",".join(HOSTS))
    assert [shop.proves(host) for host in HOSTS] == [("one", SECOND)] * 2
    shop.deploy("two", "-e", "release_retry=true")
    assert [len(shop.generations(host)) for host in HOSTS] == [2, 2]


def test_a_rotation_leaves_nothing_to_go_back_to(shop: Shop) -> None:
    shop.set(FIRST)
    shop.deploy(*REPLACED)
    assert [(shop.proves(host), len(shop.generations(host))) for host in HOSTS] == [(("two", FIRST), 1)] * 2
    shop.application.rollback(limit=",".join(HOSTS))
    assert [shop.proves(host) for host in HOSTS] == [("one", FIRST)] * 2


def test_a_restart_in_the_window_brings_the_value_of_before(shop: Shop) -> None:
    """Of the same release, so that the link to it says nothing."""
    address = shop.fleet.host(HOST).address
    shop.set(SECOND)
    door = Door()
    shop.application.describe(smoke=[{"type": "http", "url": door.url, "timeout_seconds": 120}])
    try:
        words = (
            "-e",
            "release_confirm_within_seconds=600",
            *DECLARED,
            "-e",
            "release_id=one",
            "-e",
            "release_retry=true",
        )
        run = shop.application.start_deploy(*words, limit=HOST)
        until(lambda: door.knocked.is_set() or run.process.poll() is not None, "the smoke test")
        assert shop.proves(HOST) == ("one", SECOND), run.output
        shop.fleet.reboot(HOST)
        until(lambda: answers(address, PORT), "the service")
        assert shop.proves(HOST) == ("one", FIRST)
        door.open()
        done = run.end()
    finally:
        door.close()
        shop.application.describe(smoke=None)
    assert done.code == 2
    assert shop.application.history(HOST)[0]["reason"] == "interrupted_by_reboot"
    assert shop.application.is_settled(HOST)


def answers(address: str, port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


def test_two_instances_change_a_value_without_a_lost_request(
    shop: Shop, operator: Operator, say: Callable[[str], None]
) -> None:
    inside = operator.fleet.inside
    application = operator.application(
        "turned",
        [HOST],
        **described(
            operator,
            "turned",
            PAIR_PORT,
            unit="e2e-turned@.service",
            strategy="blue_green",
            blue_green={"port": PAIR_PORT, "instance_ports": {"blue": BLUE, "green": GREEN}, "drain_seconds": 10},
            health=[
                {"type": "http", "url": "http://127.0.0.1:{port}/health", "contains": "ok"},
                {"type": "command", "argv": ["python3", "-c", ASKS, "{port}"], "timeout_seconds": 10},
            ],
        ),
    )
    operator.start("playbooks/bootstrap.yml", "-l", HOST, "-e", f"@{application.variables}").end(0)
    pair = Shop(application, PAIR_PORT)
    try:
        shop.set(FIRST)
        pair.make("one")
        pair.deploy("one", limit=HOST)
        with load(pair.fleet.host(HOST).address, PAIR_PORT, per_second=60) as clients:
            until(lambda: len(clients.figures.milliseconds) >= 100, "requests at rest")
            shop.set(SECOND)
            pair.deploy(limit=HOST)
            assert pair.proves(HOST) == ("one", SECOND)
            shop.set(BAD)
            pair.deploy(limit=HOST, code=2)
            assert pair.proves(HOST) == ("one", SECOND)
            figures = clients.stop()
        assert (figures.failed, figures.errors, figures.reconnected) == (0, {}, 0), figures.described()
        links = inside(HOST, f"cd /var/lib/slipway/{application.name}/credentials; readlink current blue green").stdout
        assert len(set(links.split())) == 1, links
        assert application.is_settled(HOST)
        say(f"two values, one of them bad: {figures.described()}")
    finally:
        inside(HOST, "systemctl disable --now slipway-haproxy.service; systemctl stop 'e2e-turned@*'")
        inside(HOST, f"rm -rf {DIRECTORY}/e2e-turned@* {DIRECTORY}/*/e2e-turned@* {DIRECTORY}/slipway-haproxy.service")
        inside(HOST, "rm -f /etc/slipway/haproxy.cfg; systemctl daemon-reload")
