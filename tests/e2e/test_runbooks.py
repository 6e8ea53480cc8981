# SPDX-License-Identifier: GPL-3.0-or-later
"""Every runbook is executed as it is written, top to bottom, by somebody who only has the runbook."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import runbooks
import vaults
import yaml
from deployments import CLEAN, UNWATCH, Done, Operator, approve, until
from door import Door
from workplace import Shell, Workplace

from lab import hosts, image
from lab.fleet import Fleet
from lab.instance import Host

# What a controller knows after a deployment.
REMEMBERED = ("state.sqlite", "witness.pem")
PROD = ("prod-1", "prod-2", "prod-3")
# As after playbooks/bootstrap.yml, with nothing of the application left but its unit and its directories.
NOTHING_DEPLOYED = """
systemctl stop hello.service; systemctl reset-failed hello.service 2>/dev/null
find /srv/hello /var/lib/slipway/hello -mindepth 1 -delete; rm -f /etc/hello.conf /root/*.sha256
"""


@dataclass
class Stage:
    """What a runbook finds: hosts, a controller with hello's source beside its checkout, and open shells."""

    operator: Operator
    directory: Path
    first: Path  # where first deployments are kept for other runbooks
    controller: Workplace = field(init=False)
    shells: dict[str, Shell] = field(default_factory=dict)
    executed: int = 0
    excused: list[str] = field(default_factory=list)
    vault: vaults.RealVault | None = None
    watched: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.controller = self.new_controller("slipway")

    @property
    def fleet(self) -> Fleet:
        return self.operator.fleet

    def new_controller(self, name: str) -> Workplace:
        """A checkout that has never been used."""
        workplace = Workplace(self.fleet, self.directory / name, {"BACKUP": str(self.directory / "backup")})
        workplace.check_out()
        return workplace

    def set(self) -> None:
        """Let nothing be deployed and the controller have nothing but the keys that the hosts know."""
        for name in ("keys", "trust"):
            shutil.copytree(self.operator.state / name, self.controller.state / name)
        policy = base64.b64encode((self.controller.state / "trust/trust-policy.dsse.json").read_bytes()).decode()
        (self.directory / "backup").mkdir()
        command = f"{NOTHING_DEPLOYED} rm -rf /etc/slipway/policies; echo {policy} | base64 -d > /etc/slipway/trust-policy.dsse.json"

        def reset(host: Host) -> None:
            self.fleet.inside(host.name, command)

        bring_up(self.fleet)
        hosts.in_parallel(reset, self.fleet.record.hosts)

    def shell(self, place: str) -> Shell:
        """The open shell on the controller or on a host."""
        if place not in self.shells:
            here = place == runbooks.CONTROLLER
            self.shells[place] = self.controller.shell() if here else self.controller.host_shell(place)
        return self.shells[place]

    def close(self, place: str) -> None:
        if shell := self.shells.pop(place, None):
            shell.close()

    def play(self, *words: str, code: int = 0) -> Done:
        """Run `ansible-playbook` for a given."""
        return self.controller.start("ansible-playbook", *words).end(code)

    def describe(self, **changes: object) -> None:
        """Change hello's entry of slipway_applications, as an operator would in group_vars."""
        path = self.controller.root / "group_vars/all/applications.yml"
        variables = yaml.safe_load(path.read_text(encoding="utf-8"))
        variables["slipway_applications"]["hello"].update(changes)
        path.write_text(yaml.safe_dump(variables), encoding="utf-8")

    def source(self, version: str, files: Mapping[str, str] | None = None, **config: object) -> None:
        """Make ../hello the example in another version, with further files and with changes of its config.json."""
        source = self.controller.root.parent / "hello"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(self.controller.root / "examples/hello", source)
        document = json.loads((source / "config.json").read_text(encoding="utf-8"))
        changed = {"config.json": json.dumps({**document, "version": version, **config}), **(files or {})}
        for name, content in changed.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(content, encoding="utf-8")

    def release(self, version: str, files: Mapping[str, str] | None = None, **config: object) -> None:
        """Make v<version> of ../hello, and put it into the catalogue."""
        self.source(version, files, **config)
        source = self.controller.root.parent / "hello"
        self.play("playbooks/release.yml", "-e", f"release_source={source}", "-e", f"release_id=v{version}")
        approve(self.controller.state, "hello", f"v{version}")

    def release_that_migrates(self, version: str) -> None:
        """Make a release whose migration cannot be taken back, and put it into the catalogue."""
        descriptor = (self.controller.root / "examples/hello/slipway.yml").read_text(encoding="utf-8")
        more = "migrations: [{name: drop_names, argv: ['true'], reversible: false}]\n"
        self.release(version, {"slipway.yml": f"{descriptor}\n{more}"})

    # what runbooks take for given

    def serves_migrated(self, version: str, limit: str) -> None:
        self.release_that_migrates(version)
        self.play("deploy.yml", "-l", limit, "-e", f"release_id=v{version}")

    def serves(self, version: str, limit: str) -> None:
        """Deploy it. What runbooks begin with is deployed once, and then put back as it was."""
        places = ("srv/hello", "var/lib/slipway/hello")
        identities = [self.fleet.inside(host, "cat /etc/slipway/host.json").stdout for host in self.fleet.names(limit)]
        kept = self.first / hashlib.sha256("".join((version, limit, *identities)).encode()).hexdigest()
        is_first = not (self.controller.state / "catalogue").exists()
        if is_first and kept.exists():
            shutil.copytree(kept / "catalogue", self.controller.state / "catalogue")
            for name in REMEMBERED:
                shutil.copy2(kept / name, self.controller.state / name)
            for host in self.fleet.names(limit):
                self.tar(host, "-xpf", "-", data=(kept / host).read_bytes())
                self.fleet.inside(host, "systemctl start hello.service")
            return
        self.release(version)
        self.play("deploy.yml", "-l", limit, "-e", f"release_id=v{version}")
        if is_first:
            shutil.copytree(self.controller.state / "catalogue", kept / "catalogue")
            for name in REMEMBERED:
                shutil.copy2(self.controller.state / name, kept / name)
            for host in self.fleet.names(limit):
                (kept / host).write_bytes(self.tar(host, "-cf", "-", *places))

    def tar(self, host: str, *words: str, data: bytes = b"") -> bytes:
        """Run tar at the root of a host."""
        command = ["podman", "exec", "--interactive", self.fleet.host(host).container, "tar", "-C", "/", *words]
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout

    def serves_again(self, version: str, limit: str) -> None:
        self.play("deploy.yml", "-l", limit, "-e", f"release_id=v{version}", "-e", "release_retry=true")

    def ticked(self, version: str) -> None:
        """As in the example, for this version."""
        self.source(version)
        path = self.controller.root.parent / "hello/promotion.yml"
        checklist = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**checklist, "version": version}), encoding="utf-8")

    def gets_ill(self, version: str) -> None:
        self.describe(health_patience={"deadline_seconds": 3})
        self.release(version, healthy=False)

    def has_booted(self, host: str) -> None:
        self.close(host)
        self.fleet.reboot(host)

    def serves_with_a_file(self, version: str, host: str, path: str) -> None:
        self.describe(files=[{"source": path.lstrip("/"), "path": path}])
        self.fleet.inside(host, f"echo before v{version} > {path}; chmod 0640 {path}")
        self.release(version, {path.lstrip("/"): f"of v{version}\n"})
        self.play("deploy.yml", "-l", host, "-e", f"release_id=v{version}")

    def dies_in_a_deploy(self, version: str, limit: str) -> None:
        """Kill it while it asks the canary from outside: one host is switched, and not confirmed."""
        self.release(version)
        with self.standing_still() as door:
            run = self.controller.start("ansible-playbook", "deploy.yml", "-l", limit)
            until(lambda: door.knocked.is_set() or run.process.poll() is not None, "the smoke test")
            run.signal(signal.SIGKILL)
            assert run.end().code < 0, run.output

    @contextmanager
    def standing_still(self) -> Iterator[Door]:
        """Let the smoke test of hello wait at a door while the block runs."""
        door = Door()
        path = self.controller.root / "group_vars/all/applications.yml"
        before = path.read_bytes()
        self.describe(smoke=[{"type": "http", "url": door.url, "timeout_seconds": 120}])
        try:
            yield door
        finally:
            door.close()
            path.write_bytes(before)

    def dies_with_the_new_release(self, host: str, version: str, limit: str) -> None:
        """Crash it while the canary is asked from outside, and let the run go on into its wave."""
        with self.standing_still() as door:
            run = self.controller.start("ansible-playbook", "deploy.yml", "-l", limit, "-e", f"release_id=v{version}")
            until(lambda: door.knocked.is_set() or run.process.poll() is not None, "the smoke test")
            self.close(host)
            self.fleet.kill(host)
            door.open()
            done = run.end()
        assert done.code == 2, done.output
        assert done.row(host).startswith(f"{host} unreachable"), done.output

    def does_not_answer(self, host: str) -> None:
        self.fleet.cut(host)

    def answers_again(self, host: str) -> None:
        self.fleet.heal(host)

    def is_off_while(self, host: str, version: str) -> None:
        self.close(host)
        self.fleet.kill(host)
        self.release(version)
        self.play("deploy.yml", "-l", f"prod:!{host}", "-e", f"release_id=v{version}")
        self.fleet.start(host)

    def a_new_machine(self, host: str) -> None:
        """With an empty disk and another ssh host key, at the same address."""
        self.close(host)
        hosts.remove(self.fleet.clone, self.fleet.host(host))
        bring_up(self.fleet)
        self.controller.name_hosts()

    def another_controller(self) -> None:
        self.close(runbooks.CONTROLLER)
        self.controller = self.new_controller("another/slipway")

    def loses_a_key(self, name: str) -> None:
        (self.controller.state / f"keys/{name}.pem").unlink()

    def slipway_is_broken(self, host: str) -> None:
        self.fleet.inside(host, "echo 'exit 2' > /usr/lib/slipway/slipway.pyz")

    def is_damaged(self, version: str, host: str) -> None:
        """A byte of the configuration, in the release and so in the store."""
        self.fleet.inside(host, f"sed -i s/Hello/hello/ /srv/hello/releases/v{version}/config.json")

    def a_vault(self) -> None:
        """A real one, which group_vars name; nobody but its administrator can log in to it."""
        directory = self.directory / "vault"
        directory.mkdir()
        self.vault = vaults.run(directory)
        self.vault.put("database/main", password="of the runbook")
        token = self.vault.secret("administrator", self.vault.token)
        provider = {
            "type": "vault", "url": self.vault.url, "ca_path": str(self.vault.ca), "prefix": "shop", "auth": "approle",
            "role_id_path": str(directory / "id/role-id"), "secret_id_path": str(directory / "id/secret-id"),
        }  # fmt: skip
        changes = {
            "secrets.yml": {"secrets_chain": ["vault"], "secrets_providers": {"vault": provider}, "secrets_declared": {"database/main": {}}},
            "vault.yml": {"vault_admin_token_path": str(token)},
        }  # fmt: skip
        for name, variables in changes.items():
            path = self.controller.root / "group_vars/all" / name
            path.write_text(
                yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **variables}), encoding="utf-8"
            )

    def is_watched(self, limit: str) -> None:
        """Everything of playbooks/observe.yml; there is nobody at the address of the one channel."""
        self.watched = limit.split(",")
        self.play("playbooks/observe.yml", "-l", limit, "-e", '{"alertmanager_webhook_enabled": true}')

    def a_lost_secret_id(self) -> None:
        assert not (self.directory / "vault/id/secret-id").exists()

    def a_journal(self, host: str) -> None:
        self.fleet.inside(host, "cd /var/lib/slipway/hello && echo '{}' > journal.jsonl && echo '{}' > lease.json")


def bring_up(fleet: Fleet) -> None:
    """Make hosts anew that are gone, and start those that are down."""
    hosts.bring_up(fleet.clone, fleet.record, lambda: image.ensure(fleet.record.distribution))


GIVEN: dict[str, Callable[..., None]] = {
    r"hello v(\S+) serves on (\S+)": Stage.serves,
    r"hello v(\S+) serves on (\S+), and replaced (\S+)": Stage.serves_with_a_file,
    r"v(\S+) serves on (\S+) once more": Stage.serves_again,
    r"hello v(\S+), with an irreversible migration, serves on (\S+)": Stage.serves_migrated,
    r"v(\S+) of hello, which names the same migration, is in the catalogue": Stage.release_that_migrates,
    r"v(\S+) of hello lies in \.\./hello, with its checklist ticked": Stage.ticked,
    r"v(\S+) of hello gets ill when it serves, and is in the catalogue": Stage.gets_ill,
    r"(\S+) has booted again": Stage.has_booted,
    r"the key (\S+) is lost": Stage.loses_a_key,
    r"slipway is broken on (\S+)": Stage.slipway_is_broken,
    r"v(\S+) is damaged on (\S+)": Stage.is_damaged,
    r"a Vault with the password of database/main, and its administrator's token": Stage.a_vault,
    r"the secret id of the deployer is lost": Stage.a_lost_secret_id,
    r"a run left a journal on (\S+)": Stage.a_journal,
    r"all that watches is on (\S+)": Stage.is_watched,
    r"v(\S+) of hello is in the catalogue": Stage.release,
    r"(\S+) dies in a deploy of hello v(\S+) to (\S+)": Stage.dies_with_the_new_release,
    r"(\S+) does not answer": Stage.does_not_answer,
    r"(\S+) answers again": Stage.answers_again,
    r"(\S+) was off while v(\S+) was deployed to the others": Stage.is_off_while,
    r"a new machine in place of (\S+), and its name in the inventory again": Stage.a_new_machine,
    r"v(\S+) of hello lies in \.\./hello": Stage.source,
    r"the controller dies in the middle of a deploy of hello v(\S+) to (\S+)": Stage.dies_in_a_deploy,
    r"another controller, with a checkout and nothing else": Stage.another_controller,
}


def bring_about(stage: Stage, given: runbooks.Given) -> None:
    """Make so what a runbook takes for given; one that is not known here is an AssertionError."""
    for pattern, action in GIVEN.items():
        if found := re.fullmatch(pattern, given.what):
            action(stage, *found.groups())
            return
    raise AssertionError(f"{given.where}: nobody knows how to bring about: {given.what}")


def execute(stage: Stage, block: runbooks.Block) -> None:
    """Type the commands and compare what is said."""
    for command, following in zip(block.commands, (*block.commands[1:], None), strict=True):
        done = stage.shell(command.place).run(command.text)
        is_judged = following is not None and following.text == "echo $?" and following.place == command.place
        assert done.code == 0 or is_judged, f"{command.where}: exit code {done.code}: {command.text}\n{done.output}"
        missing = runbooks.unsaid(command.output, done.output)
        assert missing is None, f"{command.where}: not said (any more): {missing}\n{command.text}\n{done.output}"


@pytest.fixture(scope="module")
def hosts_as_before(operator: Operator) -> Iterator[Operator]:
    """Bootstrap the hosts again after the last runbook: some get another policy there, or are replaced."""
    yield operator
    bring_up(operator.fleet)
    hosts.in_parallel(lambda host: operator.fleet.inside(host.name, CLEAN), operator.fleet.record.hosts)
    operator.play("playbooks/bootstrap.yml")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that all runbooks share."""
    return tmp_path_factory.mktemp("first")


@pytest.fixture
def stage(hosts_as_before: Operator, tmp_path: Path, first: Path) -> Iterator[Stage]:
    """Return a stage that is set, and close its shells at the end."""
    stage = Stage(hosts_as_before, tmp_path, first)
    stage.set()
    yield stage
    if stage.vault:
        stage.vault.stop()
    for host in stage.watched:
        stage.fleet.inside(host, UNWATCH, check=False)
    for place in list(stage.shells):
        stage.close(place)


@pytest.mark.parametrize("name", [*runbooks.names(), *runbooks.HOWTOS])
def test_a_runbook_does_what_it_says(stage: Stage, name: str, say: Callable[[str], None]) -> None:
    for step in runbooks.read(name):
        if isinstance(step, runbooks.Given):
            bring_about(stage, step)
        elif isinstance(step, runbooks.Written):
            (stage.controller.root / step.path).write_text(step.content, encoding="utf-8")
        elif step.excuse:
            stage.excused.append(f"{step.where}: {step.excuse}")
        else:
            execute(stage, step)
            stage.executed += 1
    say("\n  ".join([f"{stage.executed} blocks executed, {len(stage.excused)} excused", *stage.excused]))
    assert stage.executed > len(stage.excused), "a runbook is for executing"
