# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller with a catalogue and one host, joined by the requests that modules send: everything real but systemd."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import played_creds
import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.controller import bundle, deployment
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.host.handler import handle
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.places import Host, Places
from ansible.module_utils.slipway.host.store import Store
from ansible.module_utils.slipway.trust.policy import TrustPolicy

UNIT = "shop.service"
ALWAYS = ["true"]
NEVER = ["sh", "-c", "echo no such luck; exit 3"]
ONCE = {"interval_seconds": 0, "retries": 0, "deadline_seconds": 1}
V1 = {
    "bin/shop!": b"#!/bin/sh\necho one\n",
    "config.json": b'{"version": "1.0"}',
    "data/same": b"same" * 100,
    "empty/": b"",
}
V2 = {**V1, "bin/shop!": b"#!/bin/sh\necho two\n"}
V3 = {**V1, "bin/shop!": b"#!/bin/sh\necho three\n"}
# The application is ill while the active release stands in the file `ill`.
PROBE = 'active=$(readlink {current}); if grep -qxF "${{active##*/}}" {ill}; then echo coughing; exit 1; fi'


@dataclass
class Site:
    """One application on one host, and the controller that deploys it."""

    directory: Path
    host: Host
    application: str = "shop"
    description: dict[str, Any] = field(default_factory=dict)
    controller: str = "controller-1"

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(self.directory / "catalogue")
        self.state = self.directory / "state"
        self.places = Places(self.host, self.application)
        self.store = Store(self.places)
        for place in (self.places.base, self.places.state):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o755)
        self.ill = self.directory / "ill"
        self.directory.mkdir(exist_ok=True)
        self.ill.touch()
        self.description = {**self.basics(), **self.description}

    def basics(self) -> dict[str, Any]:
        probe = PROBE.format(current=self.places.current, ill=self.ill)
        return {
            "unit": UNIT,
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "health": [{"type": "unit"}, {"type": "command", "argv": ["sh", "-c", probe], "timeout_seconds": 20}],
            "health_patience": ONCE,
        }

    def sicken(self, *release_ids: str) -> None:
        """Let these releases fail their health check, and all others pass it."""
        self.ill.write_text("".join(f"{release_id}\n" for release_id in release_ids))

    # the controller

    def build(
        self,
        release_id: str,
        files: Mapping[str, bytes],
        *,
        members: str = "[]",
        more: str = "",
        created: int = 0,
        **changes: Any,
    ) -> bundle.Made:
        """A signed release in the catalogue, with `more` lines of its descriptor.

        Each is ten seconds newer than the one before, unless it is told when it was ``created``.
        """
        if not created:
            self.host.clock.advance(10)
        source = self.directory / "sources" / f"{self.application}-{release_id}"
        descriptor = f"application: {self.application}\nversion: '1.0'\nmembers: {members}\n{more}\n".encode()
        signed.write_tree(source, {**files, "slipway.yml": descriptor})
        policy = TrustPolicy.parse(signed.policy_envelope())
        request = bundle.Request(
            source, signed.BUILDER_KEY, policy, created or self.host.clock.now(), release_id, **changes
        )
        return bundle.make(request, self.catalogue)

    def run(self, run_id: str = "run-1", **changes: Any) -> dict[str, Any]:
        return {
            "run_id": run_id,
            "controller_id": self.controller,
            "deployed_by": "alice",
            "dead_runs": [],
            "lease_seconds": 900,
            **changes,
        }

    def variables(self, name: str = "prod-1") -> dict[str, Any]:
        """What a play knows of the host that a plugin needs."""
        return {"slipway_state_directory": str(self.directory / "witness"), "inventory_hostname": name}

    def options(self, state: str, **more: Any) -> dict[str, Any]:
        """The options of a task with slipway_release."""
        about = {"application": self.application, "description": self.description, "environment": "prod"}
        return {"state": state, **about, "run": self.run(), **more}

    def request(self, operation: str, **keys: Any) -> dict[str, Any]:
        return {
            "operation": operation,
            "application": {"name": self.application, "description": self.description},
            "environment": "prod",
            "run": self.run(),
            **keys,
        }

    def pack(
        self,
        release_id: str,
        objects: Iterable[str],
        *,
        run_id: str = "run-1",
        resident: bytes | None = None,
        with_objects: bool = True,
    ) -> str:
        shipment = deployment.Shipment(release_id, run_id, frozenset(objects), with_objects)
        return str(deployment.make_pack(self.state, self.catalogue, self.application, shipment, resident))

    def objects(self, release_id: str) -> frozenset[str]:
        return self.made(release_id).object_names

    def made(self, release_id: str) -> deployment.FileList:
        manifest = self.catalogue.manifest(self.application, release_id)
        data = self.catalogue.file_list_bytes(self.application, manifest.tree_digest)
        return deployment.FileList.parse(data, digest=manifest.tree_digest)

    # the exchanges

    def ask(self, operation: str, **keys: Any) -> dict[str, Any]:
        return handle(self.request(operation, **keys), self.host)

    def inspect(self, **keys: Any) -> dict[str, Any]:
        return self.ask("inspect", **keys)

    def witnessed(self, **keys: Any) -> dict[str, Any]:
        """What slipway_application_info answers: the host's own answer, and what this controller says of its history."""
        witness, now = Witness(self.directory / "witness"), self.host.clock.now()
        memory = witness.recall("prod-1", self.application)
        answer = self.inspect(witnessed=memory.witnessed(), **keys)
        verdict = witness.judge_answer(memory, answer, "prod-1", now=now)
        return {**answer, "witness": verdict.as_dict() if verdict else None}

    def stage(
        self, release_id: str, *, objects: Iterable[str] | None = None, resident: bytes | None = None, **keys: Any
    ) -> dict[str, Any]:
        """What the action plugin does, in one shipment."""
        run = keys.get("run", self.run())
        wanted = self.objects(release_id) if objects is None else objects
        pack = self.pack(
            release_id, wanted, run_id=run["run_id"], resident=resident, with_objects=not keys.get("check")
        )
        return self.ask("stage", **{"release_id": release_id, "pack": pack, **keys})

    def activate(self, release_id: str, **keys: Any) -> dict[str, Any]:
        return self.ask("activate", release_id=release_id, **keys)

    def confirm(self, release_id: str, **keys: Any) -> dict[str, Any]:
        return self.ask("confirm", **{"release_id": release_id, "smoke_test_passed": True, "keep_count": 5, **keys})

    def revert(self, release_id: str, **keys: Any) -> dict[str, Any]:
        return self.ask(
            "revert", **{"release_id": release_id, "reason": "smoke_test_failed", "message": "it smokes", **keys}
        )

    def rollback(self, release_id: str, **keys: Any) -> dict[str, Any]:
        return self.activate(release_id, **{"rollback": True, "keep": True, **keys})

    def recover(self, **keys: Any) -> dict[str, Any]:
        return self.ask("recover", **keys)

    def deploy(
        self, release_id: str, run_id: str = "run-1", *, credentials: Mapping[str, str] | None = None, **keys: Any
    ) -> dict[str, Any]:
        """Stage, activate, confirm; asserts that each went well."""
        run = self.run(run_id)
        given = {} if credentials is None else played_creds.bringing(credentials)
        for answer in (
            staged := self.stage(release_id, run=run, **given),
            self.activate(release_id, run=run, generation=staged["generation"], **keys),
            confirmed := self.confirm(release_id, run=run),
        ):
            assert not answer.get("failed"), answer
        return confirmed

    # what is there

    def gets(self, link: str = "current") -> dict[str, str]:
        """The credentials that the service gets when it is started now."""
        return played_creds.loaded(self.places.credentials / link)

    @property
    def current(self) -> str | None:
        return self.store.current()

    @property
    def records(self) -> list[Any]:
        return History(self.places.history).records()

    @property
    def statuses(self) -> list[tuple[str, str]]:
        return [(record["release_id"], record["status"]) for record in self.records]

    def is_settled(self) -> bool:
        """No journal, no lease, no link back, no name that an exchange uses for itself."""
        return not leftovers(self.host.root) and Journal(self.places.journal).read() is None

    def release(self, release_id: str) -> Path:
        return self.places.releases / release_id


def bootstrap(root: Path) -> None:
    """Make what playbooks/bootstrap.yml makes of a machine: it is prod-1 of prod, and believes the policy of tests/signed.py."""
    configuration = root / "etc/slipway"
    configuration.mkdir(parents=True)
    identity = {"format": 1, "id": signed.HOST_ID, "name": "prod-1", "environment": "prod"}
    for name, data in (
        ("host.json", canonical.encode(identity) + b"\n"),
        ("trust-policy.dsse.json", signed.policy_envelope()),
    ):
        (configuration / name).write_bytes(data)
        (configuration / name).chmod(0o644)
    for place in (configuration, states := root / "var/lib/slipway"):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)
    states.parent.chmod(0o755)


def leftovers(root: Path) -> list[str]:
    """Names that must not outlive a transaction: journal, lease, share, link back, marker, timer, staging directories, temporary names."""
    kept = {
        ".objects",
        ".incoming",
    }  # the latter is for the next fetch; tests/faults/invariants.py says what may be there
    names = {"journal.jsonl", "lease.json", "share"}
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name in names
        or path.name.startswith("slipway-deadman-")
        or re.fullmatch(r".*/run/slipway/[^/]+/[0-9a-f]{32}", str(path))
        or (path.name.startswith(".") and path.name not in kept and "releases/v" not in str(path))
    )


def snapshot(*roots: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below ``roots``: names, types, modes, owners, links, bytes and modification times."""
    found: dict[str, tuple[Any, ...]] = {}
    for root in roots:
        for directory, names, files in os.walk(root):
            for name in (".", *names, *files):
                path = Path(directory, name)
                status = path.lstat()
                content = ""
                if stat.S_ISLNK(status.st_mode):
                    content = os.readlink(path)
                elif stat.S_ISREG(status.st_mode):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path)] = (
                    status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, status.st_ino, content,
                )  # fmt: skip
    return found


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is such a place: hosts are made and thrown away by the hundred."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=memory, prefix="slipway-tests-") as directory:
        yield Path(directory)


@pytest.fixture
def site(in_memory: Path, host: Host, systemctl: Any) -> Site:
    """The application `shop` with a unit that runs once it is restarted, on a host as that of conftest.py."""
    systemctl.units[UNIT] = ("loaded", "inactive", "dead")
    root = in_memory / "machine"
    shutil.copytree(host.root, root)
    return Site(in_memory, replace(host, root=root))


def ask(site: Site, exchange: str, release_id: str, **keys: Any) -> dict[str, Any]:
    return site.recover(**keys) if exchange == "recover" else getattr(site, exchange)(release_id, **keys)


@pytest.fixture
def two(site: Site) -> Site:
    """v1 is active, v2 is staged by run-2."""
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    site.stage("v2", run=site.run("run-2"))
    return site


def run_2(site: Site, exchange: str, release_id: str = "v2", **keys: Any) -> dict[str, Any]:
    return ask(site, exchange, release_id, run=site.run("run-2"), **keys)


def refused(site: Site, answer: dict[str, Any], reason: str, before: dict[str, tuple[Any, ...]]) -> None:
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, reason), answer
    assert answer["msg"].startswith(f"{reason}: expected ")
    assert snapshot(site.host.root) == before


def one_byte(release: Path) -> None:
    path = release / "bin/shop"
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"0\n")


def another_mode(release: Path) -> None:
    (release / "config.json").chmod(0o755)


def an_extra_file(release: Path) -> None:
    (release / ".hidden").touch()


def a_missing_file(release: Path) -> None:
    (release / "config.json").unlink()


def an_empty_directory_gone(release: Path) -> None:
    (release / "empty").rmdir()


def a_link_for_a_file(release: Path) -> None:
    (release / "config.json").unlink()
    (release / "config.json").symlink_to("/etc/passwd")


TAMPERINGS = [one_byte, another_mode, an_extra_file, a_missing_file, an_empty_directory_gone, a_link_for_a_file]


def without_deadman(site: Site) -> None:
    """Let the open transaction be one of a Slipway that knew no dead-man."""
    intent, *steps = site.places.journal.read_bytes().splitlines(keepends=True)
    older = {key: value for key, value in canonical.parse(intent, what="intent").items() if key != "deadline"}
    site.places.journal.write_bytes(b"".join([canonical.encode(older) + b"\n", *steps]))
