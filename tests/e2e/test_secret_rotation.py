# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a real Vault rotated on real hosts: under load, with one that is ill, killed, twice at once, and with a host that dies."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import pytest
from deployments import Application, Done, Operator, Running, until
from load import load
from safes import own_memory
from vaults import RealVault

HELLO = Path(__file__).parents[2] / "examples/hello"
NAME = "database/main"
KEPT = {"host": "db", "username": "shop", "database": "shop"}
DIRECTORY = "/etc/systemd/system"
HOSTS = ("prod-1", "prod-2", "prod-3")
PAIR_HOST, PORT = "prod-1", 8093
PER_SECOND = 60
# What the service reads when it starts, for whoever asks it.
READER = """[Service]
User=root
ExecStart=/bin/sh -c 'sha256sum < "$CREDENTIALS_DIRECTORY/slipway_database_password" > /run/e2e-rotated; exec sleep infinity'
[Install]
WantedBy=multi-user.target
"""
# As docs/howto/rotate-secrets.md says.
ROTATOR = """
path "secret/data/shop/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/shop/*" { capabilities = ["create", "read", "update", "list"] }
path "secret/metadata/shop/slipway-rotation/*" { capabilities = ["create", "read", "update", "delete"] }
path "secret/delete/shop/*" { capabilities = ["update"] }
"""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Rotated:
    """An application whose service gets the password of a secret, on its hosts."""

    application: Application
    vault: RealVault
    name: str
    limit: str
    runtime: Path
    token: Path
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, **changes: Any) -> None:
        """Write what group_vars would say, beside the application."""
        provider = {
            "type": "vault", "url": self.vault.url, "ca_path": str(self.vault.ca), "prefix": "shop", "auth": "token", "token_path": str(self.token),
        }  # fmt: skip
        self.settings = {
            "secrets_providers": {"vault": provider}, "secrets_chain": ["vault"], "secrets_swap_accepted": True,
            "release_credentials": {"database_password": {"secret": self.name, "field": "password"}},
            "secrets_declared": {self.name: {"type": "database"}}, "secrets_rotation": {self.name: {"max_age_days": 30}}, **changes,
        }  # fmt: skip
        self.path.write_text(json.dumps(self.settings))

    @property
    def path(self) -> Path:
        return self.application.operator.state / f"{self.application.name}-secrets.json"

    def start(self, playbook: str, *words: str) -> Running:
        words = ("-l", self.limit, "-e", f"@{self.application.variables}", "-e", f"@{self.path}", *words)
        return self.application.operator.start(playbook, *words, environment={"XDG_RUNTIME_DIR": str(self.runtime)})

    def deploy(self, release_id: str) -> Done:
        return self.start("deploy.yml", "-e", f"release_id={release_id}").end(0)

    def start_rotation(self, *words: str) -> Running:
        return self.start("playbooks/rotate_secrets.yml", "-e", f"secret_name={self.name}", *words)

    def rotate(self, *words: str, code: int = 0) -> Done:
        return self.start_rotation(*words).end(code)

    # what is there

    def current(self) -> tuple[int, str]:
        """The version that everybody reads, and its password."""
        answer = self.vault.root.secrets.kv.v2.read_secret_version(f"shop/{self.name}", raise_on_deleted_version=True)
        return answer["data"]["metadata"]["version"], answer["data"]["data"]["password"]

    def is_readable(self, version: int) -> bool:
        try:
            self.vault.root.secrets.kv.v2.read_secret_version(
                f"shop/{self.name}", version=version, raise_on_deleted_version=True
            )
        except hvac.exceptions.InvalidPath:
            return False
        return True

    def has_candidate(self) -> bool:
        try:
            self.vault.root.secrets.kv.v2.read_secret_metadata(f"shop/slipway-rotation/{self.name}")
        except hvac.exceptions.InvalidPath:
            return False
        return True

    def state(self) -> Mapping[str, Any]:
        path = self.application.operator.state / "rotations/prod" / f"{self.name.replace('/', '.')}.json"
        return dict(json.loads(path.read_text()))

    def read_by(self, host: str) -> str:
        """The digest of the password with which the service of a host was started."""
        return self.application.fleet.inside(host, "cat /run/e2e-rotated").stdout.split()[0]

    def everybody_reads(self, password: str) -> bool:
        hosts = self.limit.split(",")
        assert {host: self.read_by(host) for host in hosts} == dict.fromkeys(hosts, digest(password))
        return all(self.application.is_settled(host) for host in hosts)


@pytest.fixture(scope="module")
def rotating(operator: Operator, vault_server: RealVault) -> Iterator[Any]:
    """A function that makes an application of the test's own a rotated one."""
    root = vault_server.root
    root.sys.create_or_update_policy("rotator", ROTATOR)

    with own_memory() as runtime:

        def make(application: Application, name: str, limit: str) -> Rotated:
            token = vault_server.directory / f"{application.name}-token"
            rotated = Rotated(application, vault_server, name, limit, runtime, token)
            renew(rotated)
            root.secrets.kv.v2.create_or_update_secret(f"shop/{name}", {**KEPT, "password": "the first"})
            root.secrets.kv.v2.update_metadata(f"shop/{name}", custom_metadata={"type": "database"})
            rotated.write()
            return rotated

        yield make


def renew(rotated: Rotated) -> None:
    """Give the controller a token."""
    token = rotated.vault.root.auth.token.create(policies=["rotator"], no_default_policy=False, ttl="1h")
    rotated.vault.secret(rotated.token.name, token["auth"]["client_token"])


@pytest.fixture(scope="module")
def fleet_wide(operator: Operator, rotating: Any) -> Iterator[Rotated]:
    """An application of a unit on three hosts, which is restarted."""
    shop = operator.application("rotated", HOSTS, unit="e2e-rotated.service", strategy="restart")
    for host in HOSTS:
        shop.fleet.inside(
            host,
            f"cat > {DIRECTORY}/e2e-rotated.service <<'END'\n{READER}END\nsystemctl daemon-reload; systemctl enable e2e-rotated.service",
        )
    shop.make("one")
    rotated = rotating(shop, NAME, ",".join(HOSTS))
    rotated.deploy("one")
    yield rotated
    for host in HOSTS:
        shop.fleet.inside(
            host,
            f"systemctl disable --now e2e-rotated.service; rm -rf {DIRECTORY}/e2e-rotated.service* /run/e2e-rotated; systemctl daemon-reload",
        )


@pytest.fixture
def shop(fleet_wide: Rotated) -> Rotated:
    fleet_wide.application.relieve(*HOSTS)
    return fleet_wide


def test_no_request_is_lost_while_a_secret_is_rotated(
    operator: Operator, rotating: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = operator.application(
        "rotated-pair", hosts=[PAIR_HOST], user=None, unit="e2e-rotated-pair@.service", strategy="blue_green",
        blue_green={"port": PORT, "instance_ports": {"blue": 18093, "green": 18094}, "drain_seconds": 10},
        check=None, service={"command": "bin/hello"}, health=[{"type": "http", "url": "http://127.0.0.1:{port}/health", "contains": "ok"}],
        health_patience={"deadline_seconds": 15},
    )  # fmt: skip
    inside = operator.fleet.inside
    try:
        operator.play("playbooks/bootstrap.yml", "-l", PAIR_HOST, "-e", f"@{pair.variables}")
        pair.make("one", hello())
        rotated = rotating(pair, "database/pair", PAIR_HOST)
        rotated.deploy("one")
        with load(operator.fleet.host(PAIR_HOST).address, PORT, per_second=PER_SECOND) as clients:
            until(lambda: len(clients.figures.milliseconds) >= 100, "requests at rest")
            clients.taken()
            done = rotated.rotate()
            figures = clients.stop()
        version, password = rotated.current()
        with capsys.disabled():
            print(f"\n  during a rotation: {figures.described()}", end="")
        assert (figures.failed, figures.errors, figures.reconnected) == (0, {}, 0)
        assert set(figures.releases) == {digest("the first"), digest(password)}
        assert (version, len(password)) == (2, 32)
        assert done.says("from version 1 to 2 at vault", "every host has version 2; version 1 is deleted")
        assert password not in done.output
        assert not rotated.is_readable(1)
        assert not rotated.has_candidate()
    finally:
        inside(
            PAIR_HOST,
            "systemctl disable --now slipway-haproxy.service; systemctl stop 'e2e-rotated-pair@*'",
            check=False,
        )
        inside(
            PAIR_HOST,
            f"rm -rf {DIRECTORY}/e2e-rotated-pair@* {DIRECTORY}/*/e2e-rotated-pair@* {DIRECTORY}/slipway-haproxy.service",
        )
        inside(PAIR_HOST, "rm -f /etc/slipway/haproxy.cfg; systemctl daemon-reload")


def hello() -> dict[str, str | bytes]:
    """The example, which says the digest of its credential where it would say its release."""
    files: dict[str, str | bytes] = {
        path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
    }
    program = (HELLO / "bin/hello").read_text()
    said = '"release_id": RELEASE.name,\n                "greeting"'
    read = 'hashlib.sha256(Path(os.environ["CREDENTIALS_DIRECTORY"], "slipway_database_password").read_bytes()).hexdigest()'
    assert said in program
    program = program.replace(said, '"release_id": PASSWORD,\n                "greeting"').replace(
        "import json\n", "import hashlib\nimport json\n", 1
    )
    program = program.replace("DEFAULT_PORT = 8080\n", f"DEFAULT_PORT = 8080\nPASSWORD = {read}\n")
    return {
        **files,
        "bin/hello": program.encode(),
        "config.json": json.dumps({"version": "1.0.0", "port": 1, "greeting": "x"}),
    }


def test_every_host_gets_the_new_version_and_nothing_is_due_afterwards(shop: Rotated) -> None:
    before, _password = shop.current()
    checked = shop.rotate("--check")
    assert checked.says(f"{NAME}: version {before} at vault would be rotated (generated)")
    assert shop.current()[0] == before
    assert not shop.has_candidate()

    done = shop.rotate()
    version, password = shop.current()
    assert version == before + 1
    assert shop.everybody_reads(password)
    assert not shop.is_readable(before)
    assert password not in done.output
    assert [shop.state()[key] for key in ("state", "before", "after")] == ["retired", str(before), str(version)]

    idle = shop.start("playbooks/rotate_secrets.yml").end(0)
    assert idle.says("no secret is due")
    assert shop.current() == (version, password)
    served = shop.deploy("one")
    assert served.says("unchanged")


def test_where_one_host_is_ill_with_it_all_are_back_on_the_old_version_which_is_valid(shop: Rotated) -> None:
    before = shop.current()
    shop.application.order("prod-2", "ill")
    done = shop.rotate(code=2)
    assert done.says("health_failed", f"every host reads version {before[0]}, as before; the new one is gone")
    assert shop.current() == before
    assert not shop.has_candidate()
    assert shop.state()["state"] == "taken_back"
    shop.application.relieve(*HOSTS)
    assert shop.everybody_reads(before[1])

    shop.rotate()  # the release that was active is not to blame
    assert shop.current()[0] == before[0] + 1


def test_a_controller_that_is_killed_is_gone_on_with_and_makes_nothing_twice(shop: Rotated) -> None:
    before = shop.current()
    shop.application.order("prod-2", "hold")
    made = len(shop.vault.asked(f"secret/data/shop/slipway-rotation/{NAME}", "create", "update"))
    run = shop.start_rotation()
    run.await_asked(shop.application, "prod-2")
    run.signal(signal.SIGKILL)
    run.end()
    assert shop.state()["state"] == "made"
    assert shop.current() == before
    shop.application.relieve(*HOSTS)
    done = shop.rotate()
    assert done.says("every host has version")
    assert len(shop.vault.asked(f"secret/data/shop/slipway-rotation/{NAME}", "create", "update")) == made + 1
    version, password = shop.current()
    assert version == before[0] + 1
    assert shop.everybody_reads(password)
    assert not shop.is_readable(before[0])


def test_a_second_one_is_told_who_rotates(shop: Rotated) -> None:
    shop.application.order("prod-1", "hold")
    run = shop.start_rotation()
    run.await_asked(shop.application, "prod-1")
    second = shop.rotate(code=2)
    assert second.says("rotation_running", " since ")
    shop.application.relieve(*HOSTS)
    run.end(0)
    assert shop.everybody_reads(shop.current()[1])


def test_a_host_that_dies_leaves_both_versions_valid_until_it_is_back(shop: Rotated) -> None:
    before = shop.current()
    shop.application.order("prod-3", "hold")
    run = shop.start_rotation()
    run.await_asked(shop.application, "prod-3")
    shop.application.fleet.kill("prod-3")
    done = run.end(2)
    assert done.says("prod-3 (unreachable). Both versions are valid")
    assert shop.current() == before
    assert shop.has_candidate()
    silent = shop.rotate(code=2)
    assert silent.says("rotation_hosts_silent", "prod-3")
    shop.application.fleet.start("prod-3")
    shop.application.relieve(*HOSTS)
    assert shop.read_by("prod-3") == digest(before[1])  # it went back by itself
    shop.rotate()
    version, password = shop.current()
    assert version == before[0] + 1
    assert shop.everybody_reads(password)


def test_a_token_that_ends_in_the_middle_leaves_the_old_version_valid_and_what_is_left_to_do(shop: Rotated) -> None:
    before = shop.current()
    shop.application.order("prod-3", "hold")
    run = shop.start_rotation()
    run.await_asked(shop.application, "prod-3")
    shop.vault.root.auth.token.revoke(shop.token.read_text())
    shop.application.relieve(*HOSTS)
    done = run.end(2)
    assert done.says(f"{NAME}: proven, and then secret_token_expired")
    assert shop.current() == before
    renew(shop)
    shop.rotate()
    version, password = shop.current()
    assert version == before[0] + 1
    assert shop.everybody_reads(password)
    assert not shop.is_readable(before[0])


def test_what_was_left_open_is_taken_back(shop: Rotated) -> None:
    before = shop.current()
    shop.application.order("prod-2", "hold")
    run = shop.start_rotation()
    run.await_asked(shop.application, "prod-2")
    run.signal(signal.SIGKILL)
    run.end()
    shop.application.relieve(*HOSTS)
    done = shop.rotate("-e", "secret_back=true")
    assert done.says(f"every host reads version {before[0]}, as before")
    assert shop.current() == before
    assert not shop.has_candidate()
    assert shop.everybody_reads(before[1])


STUB = """#!/bin/sh
# In place of ansible-playbook: says who called it how, and what it could do.
said=/var/lib/e2e-rotation/said
echo "$(id -un) $* $ANSIBLE_CONFIG" >> $said
for place in /etc/e2e-rotation /opt/e2e-slipway/e2e-rotation /var/lib/e2e-metrics/x "$XDG_RUNTIME_DIR/x"; do
    (: > "$place") 2>/dev/null && echo "wrote $place" >> $said
done
test "$1" != playbooks/rotate_secrets.yml
"""
TIMER_PLAY = [{"hosts": "prod-1", "become": True, "gather_facts": False, "roles": [{"role": "rotation_timer"}]}]


def test_the_timer_rotates_what_is_due_and_then_writes_the_ages_also_when_that_failed(operator: Operator) -> None:
    def inside(command: str, *, check: bool = True) -> str:
        return str(operator.fleet.inside("prod-1", command, check=check).stdout)

    play, unit = operator.state / "timer.yml", "slipway-rotation-prod"
    play.write_text(json.dumps(TIMER_PLAY))
    given = {
        "slipway_root": "/opt/e2e-slipway", "rotation_timer_environment": "prod", "rotation_timer_user": "e2e", "rotation_timer_directory": "/opt/e2e-slipway",
        "rotation_timer_state_directory": "/var/lib/e2e-rotation", "rotation_timer_metrics_directory": "/var/lib/e2e-metrics",
        "rotation_timer_options": ["-i", "inventories/prod/hosts"], "rotation_timer_application": "shop",
    }  # fmt: skip
    inside(
        "mkdir -p /opt/e2e-slipway/.venv/bin /var/lib/e2e-rotation /var/lib/e2e-metrics; chown e2e: /var/lib/e2e-rotation /var/lib/e2e-metrics"
    )
    inside(
        f"cat > /opt/e2e-slipway/.venv/bin/ansible-playbook <<'END'\n{STUB}END\nchmod 0755 /opt/e2e-slipway/.venv/bin/ansible-playbook"
    )
    try:
        operator.play(str(play), "-e", json.dumps(given))
        again = operator.play(str(play), "-e", json.dumps(given))
        assert again.says("changed=0")
        assert inside(f"systemctl is-active {unit}.timer; systemctl is-enabled {unit}.timer").split() == [
            "active",
            "enabled",
        ]
        assert inside(f"systemctl show --value -p NextElapseUSecRealtime {unit}.timer").strip()
        inside(f"systemctl start {unit}.service", check=False)
        said = inside("cat /var/lib/e2e-rotation/said").splitlines()
        assert said == [
            "e2e playbooks/rotate_secrets.yml -l prod -e application=shop -i inventories/prod/hosts /opt/e2e-slipway/ansible.cfg",
            "wrote /var/lib/e2e-metrics/x", f"wrote /run/{unit}/x",
            "e2e playbooks/secrets_age.yml -e secret_environment=prod -e secret_metrics_directory=/var/lib/e2e-metrics -i inventories/prod/hosts "
            "/opt/e2e-slipway/ansible.cfg",
            "wrote /var/lib/e2e-metrics/x", f"wrote /run/{unit}/x",
        ]  # fmt: skip
        assert inside(f"systemctl is-failed {unit}.service", check=False).strip() == "failed"
    finally:
        inside(
            f"systemctl disable --now {unit}.timer; rm -f {DIRECTORY}/{unit}.*; systemctl reset-failed; systemctl daemon-reload",
            check=False,
        )
        inside("rm -rf /opt/e2e-slipway /var/lib/e2e-rotation /var/lib/e2e-metrics")
