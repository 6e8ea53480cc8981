# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing leaks: secrets of a real Vault go through deployments that end well and badly, check mode, tasks of every kind, ansible-runner and a rotation, with
everything that can be said said (-vvvv --diff); then they are looked for everywhere, in every encoding.

Masking is off in the tree in which that is done: what it would hide, `no_log` has to. It is tried apart, with tasks that have none.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safes
import vaults
import yaml
from deployments import Done, Operator, approve
from leaks import Canary, Hit, Search
from workplace import Workplace

HOST = "prod-1"
NAMES = (
    "database",
    "signing",
    "template",
    "copy",
    "stdin",
    "async",
    "fact",
    "header",
    "failing",
    "line",
    "loop",
    "store",
    "diff",
    "statistics",
)
ENCODED = {
    "literal": "{{ value }}", "json": "{{ {'a': value} | to_json }}", "shell": "{{ value | quote }}", "url": "{{ value | urlencode }}",
    "base64": "{{ ('user:' ~ value) | b64encode }}", "base64url": "{{ value | b64encode | replace('+', '-') | replace('/', '_') }}", "yaml": "{{ {'a': value} | to_nice_yaml }}",
}  # fmt: skip
ROTATION = {
    "leaks/signing": {"max_age_days": 30, "fields": {"password": {"length": 40, "alphabet": "letters_and_digits"}}}
}
# The deployer and the rotator in one, whose secret id is for many logins.
ROLES = {
    "deployer": {
        "description": "Deploys and rotates", "secret_id_uses": 0,
        "may": {"read": ["leaks/*"], "write": ["leaks/*", "slipway-rotation/*"], "retire": ["leaks/*"], "remove": ["slipway-rotation/*"], "list": ["*"]},
    }
}  # fmt: skip
LOUD = "-vvvv --diff"
QUIET = {"no_log": True, "diff": False}
# What makes every noise that Ansible can make, and keeps it.
CALLBACKS = "ansible.builtin.junit,ansible.builtin.tree"
LEFT = """
systemctl stop hello.service; systemctl reset-failed hello.service 2>/dev/null
find /srv/hello /var/lib/slipway/hello -mindepth 1 -delete; rm -rf /var/tmp/leaks /etc/hello.conf /etc/systemd/system/hello.service.d
systemctl daemon-reload
"""


def looked_up(name: str) -> str:
    return f"{{{{ lookup('slipway_secret', 'leaks/{name}', field='password') }}}}"


def tasks(*, careful: bool) -> list[dict[str, Any]]:
    """Tasks through which a secret passes, each with its own; as they have to be, or without any care."""
    directory = "/var/tmp/leaks"
    psk = {"argv": ["sha256sum"], "stdin": "{{ value }}"}
    found: list[tuple[str, dict[str, Any]]] = [
        ("template", {"template": {"src": "page.j2", "dest": f"{directory}/page", "mode": "0600"}}),
        ("copy", {"copy": {"content": "{{ value }}", "dest": f"{directory}/copy", "mode": "0600"}}),
        (
            "line",
            {
                "lineinfile": {
                    "path": f"{directory}/lines",
                    "line": "password={{ value }}",
                    "create": True,
                    "mode": "0600",
                }
            },
        ),
        ("stdin", {"command": psk}),
        ("async", {"command": psk, "async": 60, "poll": 1}),
        ("fact", {"set_fact": {"kept": "{{ value }}"}}),
        (
            "header",
            {
                "uri": {
                    "url": "http://127.0.0.1:8080/health",
                    "headers": {"Authorization": "Basic {{ value | b64encode }}"},
                    "status_code": [200, 503],
                }
            },
        ),
        ("failing", {"command": {"argv": ["false"], "stdin": "{{ value }}"}, "ignore_errors": True}),
        ("loop", {"command": {"argv": ["sha256sum"], "stdin": "{{ item }}"}, "loop": ["{{ value }}"]}),
    ]
    made = [
        {
            "name": f"Pass {name} on",
            **task,
            "vars": {"value": looked_up(name)},
            **(QUIET if careful else {}),
            "check_mode": "{{ ansible_check_mode }}",
        }
        for name, task in found
    ]
    first = {
        "name": "Make room",
        "file": {"path": directory, "state": "directory", "mode": "0700"},
        "check_mode": False,
    }
    return [first, *made]


@dataclass
class Scene:
    """A controller with its own checkout, a real Vault, one host, and everything that was said."""

    operator: Operator
    directory: Path
    memory: Path
    masked: bool
    canaries: dict[str, Canary] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    vault: vaults.RealVault | None = None

    def __post_init__(self) -> None:
        self.place = Workplace(self.operator.fleet, self.directory / "slipway")
        self.place.check_out()
        for name in ("keys", "trust"):
            shutil.copytree(self.operator.state / name, self.place.state / name)
        if not self.masked:
            plugin = self.place.root / "vars_plugins/slipway_secrets.py"
            text = plugin.read_text(encoding="utf-8")
            assert "    _masking.install(os.getpid())\n" in text
            plugin.write_text(text.replace("    _masking.install(os.getpid())\n", "    _masking\n"), encoding="utf-8")
        self.logs = self.directory / "logs"
        self.logs.mkdir()

    def use(self, vault: vaults.RealVault, prefix: str, *, identity: Path) -> None:
        """Let the secrets be at this Vault, each with a canary, and the checkout's group_vars name it and whoever logs in."""
        self.vault = vault
        provider = {
            "type": "vault", "url": vault.url, "ca_path": str(vault.ca), "prefix": f"shop/{prefix}", "auth": "approle",
            "role_id_path": str(identity / "role-id"), "secret_id_path": str(identity / "secret-id"),
        }  # fmt: skip
        for name in (*NAMES, *ENCODED):
            self.canaries[name] = Canary(name)
            vault.put(f"{prefix}/leaks/{name}", password=self.canaries[name].value, username="shop")
        self.change(
            "secrets.yml", secrets_chain=["vault"], secrets_providers={"vault": provider}, secrets_swap_accepted=True, secrets_declared={},
            secrets_rotation=ROTATION,
        )  # fmt: skip
        credentials = {name: {"secret": f"leaks/{name}", "field": "password"} for name in ("database", "signing")}
        self.change("release.yml", release_credentials=credentials)

    def log_in(self) -> list[Canary]:
        """Bring the deployer's policy to Vault and its secret id here, as operators do; what must not be seen of that."""
        token = self.vault.secret("administrator", self.vault.token)
        self.change("vault.yml", vault_admin_token_path=str(token), vault_roles=ROLES)
        loudly = f"OPTIONS={LOUD}"
        self.run("policies", "make", "vault-apply", loudly)
        parcel = self.memory / "parcel.json"
        self.run("issuing", "make", "vault-issue", "ROLE=deployer", f"OUTPUT={parcel}", loudly)
        wrapped = json.loads(parcel.read_text())["wrapping_token"]
        self.run("receiving", "make", "vault-receive", f"FILE={parcel}", loudly)
        secret_id = (self.directory / "identity/secret-id").read_text().strip()
        words = {
            "the administrator's token": self.vault.token,
            "the wrapping token": wrapped,
            "the secret id": secret_id,
        }
        return [Canary(name, word) for name, word in words.items()]

    def change(self, name: str, **variables: Any) -> None:
        path = self.place.root / "group_vars/all" / name
        path.write_text(
            yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **variables}), encoding="utf-8"
        )

    def write_play(self, name: str, *, careful: bool, extra: list[dict[str, Any]] = ()) -> str:
        play = {
            "name": "Pass secrets on",
            "hosts": HOST,
            "become": True,
            "gather_facts": False,
            "tasks": [*tasks(careful=careful), *extra],
        }
        (self.place.root / f"{name}.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        (self.place.root / "templates").mkdir(exist_ok=True)
        (self.place.root / "templates/page.j2").write_text("password={{ value }}\n")
        return f"{name}.yml"

    def environment(self) -> dict[str, str]:
        return {
            **self.place.environment(), "XDG_RUNTIME_DIR": str(self.memory), "ANSIBLE_LOG_PATH": str(self.logs / "ansible.log"),
            "ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.logs / "facts"), "ANSIBLE_LOCAL_TEMP": str(self.logs / "tmp"),
            "ANSIBLE_CALLBACKS_ENABLED": CALLBACKS, "JUNIT_OUTPUT_DIR": str(self.logs / "junit"), "ANSIBLE_CALLBACK_TREE_DIR": str(self.logs / "tree"),
            "ANSIBLE_RETRY_FILES_ENABLED": "1",
        }  # fmt: skip

    def run(self, called: str, *words: str, code: int | None = 0) -> Done:
        done = subprocess.run(
            words, cwd=self.place.root, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="surrogateescape", check=False, timeout=300,
        )  # fmt: skip
        self.said[called] = self.said.get(called, "") + done.stdout
        assert code is None or done.returncode == code, f"{called}: exit code {done.returncode}\n{done.stdout[-6000:]}"
        return Done(done.returncode, done.stdout)

    def play(self, called: str, *words: str, code: int | None = 0) -> Done:
        return self.run(called, "ansible-playbook", *words, "-l", HOST, "-vvvv", "--diff", code=code)

    def runner(self, called: str, playbook: str, *words: str) -> Done:
        """The same by ansible-runner, which has callbacks of its own and keeps everything that it is told."""
        given = shlex.join([*words, "-l", HOST, "-vvvv", "--diff"])
        program = str(Path(sys.executable).with_name("ansible-runner"))
        return self.run(
            called,
            program,
            "run",
            str(self.directory / "runner"),
            "--project-dir",
            str(self.place.root),
            "-p",
            playbook,
            "--cmdline",
            given,
        )

    def release(self, version: str, **config: Any) -> None:
        source = self.directory / "hello"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(self.place.root / "examples/hello", source)
        document = json.loads((source / "config.json").read_text(encoding="utf-8"))
        (source / "config.json").write_text(json.dumps({**document, "version": version, **config}), encoding="utf-8")
        self.run(
            "making releases",
            "ansible-playbook",
            "playbooks/release.yml",
            "-e",
            f"release_source={source}",
            "-e",
            f"release_id=v{version}",
        )
        approve(self.place.state, "hello", f"v{version}")

    def inside(self, command: str) -> str:
        return self.operator.fleet.inside(HOST, command).stdout

    def host_places(self) -> dict[str, Path]:
        """The host's directories as this machine sees them: what was written to its disk, and what it has in memory."""
        container = self.operator.fleet.host(HOST).container
        form = "{{.GraphDriver.Data.UpperDir}} {{.State.Pid}}"
        done = subprocess.run(
            ["podman", "inspect", "--format", form, container], capture_output=True, text=True, check=True
        )
        upper, pid = done.stdout.split()
        memory = {f"/{name} of the host": Path(f"/proc/{pid}/root/{name}") for name in ("run", "tmp", "dev/shm")}
        return {"the host's disk": Path(upper), **memory}


# Where a value is meant to be, and nobody but who needs it can read it.
MEANT = {"the host's disk": ("var/tmp/leaks",), "/run of the host": ("credentials",)}


def searched(scene: Scene, search: Search) -> dict[str, list[Hit]]:
    """What is found in each kind of place."""
    found: dict[str, list[Hit]] = {}

    def look(place: str, hits: Callable[[], object]) -> None:
        before = len(search.hits)
        hits()
        found[place] = search.hits[before:]

    look("standard output", lambda: [search.text(text, called) for called, text in scene.said.items()])
    look("logs, fact caches, temporary directories and what callbacks wrote", lambda: search.tree(scene.logs))
    look("artifacts of ansible-runner", lambda: search.tree(scene.directory / "runner"))
    look("the controller's checkout and state", lambda: search.tree(scene.place.root, but=[".venv"]))
    for place, path in scene.host_places().items():
        look(place, lambda place=place, path=path: search.tree(path, but=MEANT.get(place, ())))
    for form in ("export", "json", "verbose"):
        look(
            f"the host's journal as {form}",
            lambda form=form: search.text(scene.inside(f"journalctl --no-pager --all -o {form}"), form),
        )
    return found


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with safes.own_memory() as directory:
        yield directory


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vaults.RealVault]:
    server = vaults.run(tmp_path_factory.mktemp("vault"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def scene(
    operator: Operator, vault: vaults.RealVault, memory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    operator.fleet.inside(HOST, LEFT)
    scene = Scene(operator, tmp_path_factory.mktemp("leaks"), memory, masked=False)
    scene.use(vault, "careful", identity=scene.directory / "identity")
    yield scene
    operator.fleet.inside(HOST, LEFT)


@pytest.fixture(scope="module")
def passed(scene: Scene) -> tuple[Scene, Search, dict[str, list[Hit]]]:
    """Everything done once, and looked for."""
    search = Search(list(scene.canaries.values()))
    scene.release("1.0.0")
    scene.release("1.1.0")
    scene.release("1.2.0", healthy=False)
    page = scene.write_play("site", careful=True)
    with search.watching():
        for canary in scene.log_in():
            search.expect(canary)
        scene.play("a first deployment in check mode", "deploy.yml", "-e", "release_id=v1.0.0", "--check")
        scene.play("a first deployment", "deploy.yml", "-e", "release_id=v1.0.0")
        scene.play("tasks in check mode", page, "--check")
        scene.play("tasks", page)
        scene.runner("a deployment by ansible-runner", "deploy.yml", "-e", "release_id=v1.1.0")
        scene.runner("tasks by ansible-runner", page)
        scene.change("applications.yml", **impatient(scene))
        scene.play("a deployment that fails", "deploy.yml", "-e", "release_id=v1.2.0", code=2)
        (scene.directory / "new.json").touch(0o600)
        scene.canaries["set"] = Canary("set")
        search.expect(scene.canaries["set"])
        (scene.directory / "new.json").write_text(
            json.dumps({"password": scene.canaries["set"].value, "username": "shop"})
        )
        scene.run(
            "setting",
            "make",
            "secrets-set",
            "NAME=leaks/database",
            f"FILE={scene.directory}/new.json",
            f"OPTIONS={LOUD}",
        )
        scene.play("a deployment of another value", "deploy.yml", "-e", "release_id=v1.1.0")
        scene.run(
            "getting",
            "make",
            "secrets-get",
            "NAME=leaks/database",
            "FIELD=password",
            f"OUTPUT={scene.memory}/value",
            f"OPTIONS={LOUD}",
        )
        scene.play("a rotation", "playbooks/rotate_secrets.yml", "-e", "secret_name=leaks/signing")
        made = scene.vault.root.secrets.kv.v2.read_secret_version(
            "shop/careful/leaks/signing", raise_on_deleted_version=True
        )
        scene.canaries["rotated"] = Canary("rotated", made["data"]["data"]["password"])
        search.expect(scene.canaries["rotated"])
        scene.play("a rollback", "rollback.yml", "-e", "release_id=v1.0.0")
        for called in ("status", "history", "secrets_access", "secrets"):
            scene.run(called, "ansible-playbook", f"playbooks/{called}.yml", "-vvvv", "--diff")
        scene.run(
            "evidence",
            "ansible-playbook",
            "playbooks/evidence.yml",
            "-l",
            HOST,
            "-e",
            f"evidence_path={scene.logs}/evidence.tar.gz",
            code=None,
        )
    for token in scene.memory.rglob("token-*"):
        if token.is_file() and (data := token.read_bytes()).startswith(b"{"):
            search.expect(Canary("a login's token", json.loads(data)["token"]))
    (scene.directory / "new.json").unlink()
    return scene, search, searched(scene, search)


def impatient(scene: Scene) -> Mapping[str, Any]:
    """hello as it is described, but not waited for."""
    variables = yaml.safe_load((scene.place.root / "group_vars/all/applications.yml").read_text(encoding="utf-8"))
    variables["slipway_applications"]["hello"]["health_patience"] = {"deadline_seconds": 2}
    return variables


PLACES = (
    "standard output", "logs, fact caches, temporary directories and what callbacks wrote", "artifacts of ansible-runner", "the controller's checkout and state",
    "the host's disk", "/run of the host", "/tmp of the host", "/dev/shm of the host", "the host's journal as export", "the host's journal as json",
    "the host's journal as verbose",
)  # fmt: skip


def test_the_search_finds_what_is_planted_anywhere(scene: Scene) -> None:
    """Before anything else: one that finds nothing would prove nothing."""
    planted = Canary("planted")
    search = Search([planted])
    files = ("/var/lib/slipway/planted", "/tmp/planted", "/run/planted", "/dev/shm/planted", "/srv/hello/planted")
    word = shlex.quote(planted.value)
    try:
        for path in files:
            scene.inside(f"mkdir -p {os.path.dirname(path)}; printf %s {word} | base64 > {path}")
        scene.inside(f"logger -t planted {word}; journalctl --sync")
        for name in ("logs/planted", "runner/planted", "slipway/planted"):
            (scene.directory / name).parent.mkdir(exist_ok=True)
            (scene.directory / name).write_text(json.dumps(planted.value))
        scene.said["planted"] = planted.value
        found = searched(scene, search)
        assert set(found) == set(PLACES)
        assert [place for place, hits in found.items() if not hits] == []
        host = {
            hit.where.rpartition("/")[0].rpartition("/")[2] for hit in search.hits if hit.where.endswith("/planted")
        }
        assert {"slipway", "tmp", "run", "shm", "hello"} <= host
        with search.watching():
            scene.inside(f"sh -c 'sleep 0.3; : \"$0\"' {word}")
        assert any("cmdline" in hit.where for hit in search.hits)
    finally:
        scene.inside(f"rm -f {' '.join(files)}; journalctl --rotate --vacuum-time=1s --quiet")
        del scene.said["planted"]
        for path in scene.directory.glob("*/planted"):
            path.unlink()


def test_what_was_to_arrive_arrived(passed: tuple[Scene, Search, dict[str, list[Hit]]]) -> None:
    """What went nowhere leaks nowhere."""
    scene, _search, _found = passed
    values = {name: canary.value for name, canary in scene.canaries.items()}
    assert scene.inside("cat /var/tmp/leaks/page") == f"password={values['template']}\n"
    assert scene.inside("cat /var/tmp/leaks/copy") == values["copy"]
    assert (scene.memory / "value").read_text() == values["set"]
    assert scene.inside("cat /run/credentials/hello.service/slipway_signing") == scene.canaries["rotated"].word
    assert scene.inside("cat /run/credentials/hello.service/slipway_database") == values["set"]
    assert scene.said["a deployment that fails"].count("reverted")
    assert len(list((scene.directory / "runner/artifacts").glob("*/job_events/*.json"))) > 40
    assert (scene.logs / "ansible.log").stat().st_size > 100_000


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_found(passed: tuple[Scene, Search, dict[str, list[Hit]]], place: str) -> None:
    _scene, _search, found = passed
    assert found[place] == []


def test_no_process_has_shown_anything(
    passed: tuple[Scene, Search, dict[str, list[Hit]]], say: Callable[[str], None]
) -> None:
    _scene, search, _found = passed
    say(search.summary)
    assert search.samples > 100
    assert search.processes > 100
    assert search.files > 500
    assert search.hits == []


@pytest.fixture(scope="module")
def careless(
    operator: Operator, vault: vaults.RealVault, memory: Path, passed: object, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Scene, Search]]:
    """The same tasks without no_log, and values printed in every encoding: without masking and with it, each with Vault's values of its own."""
    found = {}
    for kind in ("unmasked", "masked"):
        scene = Scene(operator, tmp_path_factory.mktemp(kind), memory, masked=kind == "masked")
        scene.use(vault, kind, identity=vault.directory)
        printed = [
            {"name": f"Print {name}", "debug": {"msg": f"a {text} b"}, "vars": {"value": looked_up(name)}}
            for name, text in ENCODED.items()
        ]
        printed.append(  # no_log does not reach what set_stats keeps
            {"name": "Keep statistics", "set_stats": {"data": {"kept": looked_up("statistics")}}, "no_log": True}
        )
        page = scene.write_play("site", careful=False, extra=printed)
        scene.runner("tasks", page)
        search = Search([canary for name, canary in scene.canaries.items() if " " not in name])
        for called, text in scene.said.items():
            search.text(text, called)
        search.tree(scene.logs)
        search.tree(scene.directory / "runner")
        found[kind] = scene, search
    return found


PASSED_ON = tuple(task["name"].split()[1] for task in tasks(careful=True)[1:])


@pytest.mark.parametrize("name", [*PASSED_ON, *ENCODED, "statistics"])
def test_without_no_log_each_of_these_tasks_would_be_found(
    careless: dict[str, tuple[Scene, Search]], name: str
) -> None:
    if name == "fact":  # its value is in what -vvvv says of the answer
        assert {hit.canary for hit in careless["unmasked"][1].hits} >= {"fact"}
    assert name in {hit.canary for hit in careless["unmasked"][1].hits}


def test_where_no_log_was_forgotten_masking_hides_it(
    careless: dict[str, tuple[Scene, Search]], say: Callable[[str], None]
) -> None:
    scene, search = careless["masked"]
    say(f"masked: {search.summary}; unmasked: {len(careless['unmasked'][1].hits)} hits")
    assert "********" in scene.said["tasks"]
    assert search.hits == []
