# SPDX-License-Identifier: GPL-3.0-or-later
"""An operator at work: applications, releases, and the literal commands against the hosts of a fleet.

Applications of tests are files only, unless they say otherwise, with a check command and a health command that a test
holds up or lets fail by files on the host (`Application.order`). So tests wait for what happens and never for time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.controller import bundle
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.approval import approval_statement
from ansible.module_utils.slipway.trust.keys import load_private_key
from ansible.module_utils.slipway.trust.policy import TrustPolicy

from lab.fleet import Fleet

ORDERS = "/var/tmp/slipway-e2e"
USER = "e2e"

# Asked by Slipway as the application's user: says that it was asked, waits while it is told to, then fails if told to.
PROBE = "touch {0}.asked; while test -e {0}.hold; do sleep 0.05; done; test ! -e {0}.ill"

CLEAN = f"""
systemctl stop hello.service 2>/dev/null
for place in /srv/e2e-* /var/lib/slipway/e2e-*; do umount "$place" 2>/dev/null; done
rm -rf /etc/slipway /usr/lib/slipway /usr/local/sbin/slipway /var/lib/slipway /srv/* {ORDERS} /etc/systemd/system/hello.service*
rm -rf /etc/systemd/system/slipway-* /etc/systemd/system/basic.target.wants/slipway-* /run/slipway /run/systemd/system/slipway-*
systemctl daemon-reload
id {USER} >/dev/null 2>&1 || useradd --system --shell /usr/sbin/nologin {USER}
mkdir -m 1777 {ORDERS}
"""

PREPARE = f"""
mkdir -p /srv/$APPLICATION/releases /srv/$APPLICATION/shared /var/lib/slipway/$APPLICATION
chown root:{USER} /srv/$APPLICATION && chmod 0750 /srv/$APPLICATION
chown {USER}:{USER} /srv/$APPLICATION/shared
"""

SNAPSHOT = """
cd / && places="srv/$APPLICATION var/lib/slipway/$APPLICATION etc/slipway usr/lib/slipway $MORE"
find $places ! -name lock -printf '%p %y %m %U:%G %s %l\\n' 2>/dev/null | sort
find $places -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum
"""


# Nothing of playbooks/observe.yml but its packages stays for the tests that come afterwards.
UNWATCH = """
systemctl disable -q --now slipway-heartbeat.timer slipway-escalation.socket slipway-exporter prometheus-node-exporter prometheus prometheus-alertmanager
systemctl stop slipway-heartbeat.service
rm -rf /etc/systemd/system/slipway-heartbeat* /etc/systemd/system/slipway-alert-test* /etc/systemd/system/slipway-escalation*
rm -rf /etc/systemd/system/slipway-exporter.service /var/lib/slipway-watch /run/slipway-watch /etc/slipway/monitoring /etc/slipway/heartbeat.json
# What Alertmanager has told already it would not tell again.
rm -rf /var/lib/prometheus/alertmanager /var/lib/prometheus/metrics2 /etc/prometheus/rules/applications
systemctl daemon-reload
systemctl reset-failed
"""

# Who approves for prod in a lab, and in which role (group_vars/all/trust.yml).
APPROVERS = {"lead": "engineering-lead", "risk": "risk-manager"}


def approve(state: Path, application: str, release_id: str, *holders: str, environment: str = "prod") -> None:
    """Approve a release of the controller's catalogue, as playbooks/approve.yml does, by these holders or by all."""
    catalogue, now = Catalogue(state / "catalogue"), int(time.time())
    for holder in holders or APPROVERS:
        payload = approval_statement(
            manifest_digest=catalogue.manifest(application, release_id).digest,
            application=application,
            environment=environment,
            role=APPROVERS[holder],
            holder=holder,
            created=timestamp(now),
            expires=timestamp(now + 7 * 86400),
        )
        key = load_private_key(state / f"keys/{holder}.pem", None)
        catalogue.add_approval(dsse.sign(dsse.IN_TOTO_TYPE, payload, key).encode(), check=False)


def until(condition: Callable[[], object], what: str, seconds: float = 90) -> None:
    """Wait until `condition` holds; an AssertionError says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str

    @property
    def text(self) -> str:
        """The output without the line breaks that printed YAML brings."""
        return re.sub(r"\s+", " ", self.output)

    def says(self, *parts: str) -> bool:
        """Tell whether each part is in the output, and in this order."""
        rest = self.text
        for part in parts:
            _before, found, rest = rest.partition(part)
            assert found, f"not said (any more): {part}\n{self.output}"
        return True

    def row(self, host: str) -> str:
        """Return the host's line of the last table, without its padding."""
        rows = re.findall(rf"^\s+({re.escape(host)}\s\s+\S.*)$", self.output, re.MULTILINE)
        assert rows, f"no line for {host}\n{self.output}"
        return re.sub(r"\s+", " ", str(rows[-1])).strip()


class Running:
    """A command that runs, in a process group of its own as under a terminal's shell."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    def await_asked(self, application: Application, host: str, probe: str = "health") -> None:
        """Wait until the application's probe is being asked on the host."""
        until(
            lambda: self.process.poll() is not None or application.was_asked(host, probe),
            f"{probe} of {application.name} asked on {host}",
        )
        assert self.process.poll() is None, self.output

    def signal(self, number: int) -> None:
        """Send a signal to the whole group: what Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def end(self, code: int | None = None, seconds: float = 300) -> Done:
        """Wait for its end; with `code` any other exit code is an AssertionError."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            raise AssertionError(f"still running after {seconds:.0f} s\n{self.output}") from None
        if self.process.returncode >= 0:  # after a SIGKILL, orphans may hold the pipe open for a while
            self._reader.join(30)
        done = Done(self.process.returncode, self.output)
        assert code is None or done.code == code, f"exit code {done.code} instead of {code}\n{done.output}"
        return done


@dataclass(frozen=True)
class Operator:
    """A controller with a state directory of its own, at the keyboard."""

    fleet: Fleet
    state: Path

    def start(
        self, *words: str, program: str = "ansible-playbook", environment: Mapping[str, str] = MappingProxyType({})
    ) -> Running:
        """Start a command in the repository's root, with what is added to the environment."""
        return Running(
            subprocess.Popen(
                [
                    program,
                    *words,
                    "-e",
                    f"slipway_state_directory={self.state} slipway_release_directory={self.state}/release",
                ],
                cwd=self.fleet.clone.root,
                env={**self.fleet.environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )

    def play(self, *words: str, code: int | None = 0) -> Done:
        """Run `ansible-playbook` to its end; another exit code is an AssertionError (None: any)."""
        return self.start(*words).end(code)

    @property
    def catalogue(self) -> Path:
        """The catalogue's directory."""
        return self.state / "catalogue"

    def application(self, name: str, hosts: Iterable[str] | None = None, **description: Any) -> Application:
        """An application of the test's own, prepared on the hosts (default: all)."""
        application = Application(self, f"e2e-{name}", description)
        application.describe()
        for host in hosts or self.fleet.names():
            self.fleet.inside(host, f"APPLICATION={application.name}; {PREPARE}")
        return application


@dataclass
class Application:
    """An application on the fleet, and its releases."""

    operator: Operator
    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    outputs: dict[tuple[str, str], str] = field(default_factory=dict)
    oldest: str = ""
    newest: str = ""

    @property
    def fleet(self) -> Fleet:
        """The hosts."""
        return self.operator.fleet

    @property
    def variables(self) -> Path:
        """The file that describes the application to Ansible."""
        return self.operator.state / f"{self.name}.json"

    def describe(self, **changes: Any) -> None:
        """Write the description: what operators keep in group_vars."""
        self.changes = {**self.changes, **changes}
        description = {
            "user": USER,
            "check": {"argv": ["sh", "-c", PROBE.format(self.order_path("check"))]},
            "health": [
                {
                    "type": "command",
                    "argv": ["sh", "-c", PROBE.format(self.order_path("health"))],
                    "timeout_seconds": 90,
                }
            ],
            "health_patience": {"deadline_seconds": 2},
            **self.changes,
        }
        self.variables.write_text(
            json.dumps({"slipway_applications": {self.name: {k: v for k, v in description.items() if v is not None}}})
        )

    # what a test orders on a host

    def order_path(self, probe: str) -> str:
        return f"{ORDERS}/{self.name}-{probe}"

    def order(self, host: str, what: str, probe: str = "health") -> None:
        """Let the probe "hold" until told otherwise, or be "ill"."""
        self.fleet.inside(host, f"rm -f {self.order_path(probe)}.asked; touch {self.order_path(probe)}.{what}")

    def relieve(self, *hosts: str) -> None:
        """Take back all orders."""
        for host in hosts or self.fleet.names():
            self.fleet.inside(host, f"rm -f {ORDERS}/{self.name}-*")

    def was_asked(self, host: str, probe: str) -> bool:
        return self.fleet.inside(host, f"test -e {self.order_path(probe)}.asked", check=False).returncode == 0

    # what an operator does

    def make(self, release_id: str, files: Mapping[str, str | bytes] | None = None, *, approved: bool = True) -> str:
        """Make a release, as playbooks/release.yml does, and approve it; returns its id. A text that begins with `->` is a link."""
        source = self.operator.state / "sources" / self.name / release_id
        members = {"VERSION": release_id, "slipway.yml": f"application: {self.name}\n", **(files or {})}
        for name, data in members.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, str) and data.startswith("->"):
                path.symlink_to(data.removeprefix("->"))
            else:
                content = data.encode() if isinstance(data, str) else data
                path.write_bytes(content)
                path.chmod(0o755 if content.startswith(b"#!") else 0o644)
        request = bundle.Request(
            source=source,
            builder_key=load_private_key(self.operator.state / "keys/builder.pem", None),
            policy=TrustPolicy.parse((self.operator.state / "trust/trust-policy.dsse.json").read_bytes()),
            now=int(time.time()),
            release_id=release_id,
        )
        bundle.make(request, Catalogue(self.operator.catalogue))
        if approved:
            self.approve(release_id)
        return release_id

    def approve(self, release_id: str, *holders: str) -> None:
        """Let these holders, or all who must, approve the release for prod."""
        approve(self.operator.state, self.name, release_id, *holders)

    def forget(self, release_id: str) -> None:
        """Take a release out of the catalogue."""
        (self.operator.catalogue / self.name / "manifests" / f"{release_id}.dsse.json").unlink(missing_ok=True)

    def words(self, playbook: str, limit: str | None, words: Iterable[str]) -> list[str]:
        return [playbook, *(["-l", limit] if limit else []), "-e", f"@{self.variables}", *words]

    def start_deploy(self, *words: str, limit: str | None = "prod-1") -> Running:
        return self.operator.start(*self.words("deploy.yml", limit, words))

    def deploy(self, *words: str, limit: str | None = "prod-1", code: int | None = 0) -> Done:
        """deploy.yml; a first word without a dash is a release id."""
        if words and not words[0].startswith("-"):
            words = ("-e", f"release_id={words[0]}", *words[1:])
        return self.start_deploy(*words, limit=limit).end(code)

    def rollback(self, *words: str, limit: str | None = "prod-1", code: int | None = 0) -> Done:
        return self.operator.start(*self.words("rollback.yml", limit, words)).end(code)

    # what is there

    def active(self, host: str) -> str | None:
        """What the link says."""
        said = self.fleet.inside(host, f"readlink /srv/{self.name}/current", check=False).stdout.strip()
        return said.removeprefix("releases/") or None

    def actives(self, *hosts: str) -> list[str | None]:
        return [self.active(host) for host in hosts]

    def history(self, host: str) -> list[dict[str, Any]]:
        """The records, newest first."""
        done = self.fleet.inside(host, f"slipway history --json --limit 100 {self.name}")
        return list(json.loads(done.stdout))

    def statuses(self, host: str) -> list[tuple[str, str]]:
        """What became of which release, oldest first."""
        return [(record["release_id"], record["status"]) for record in reversed(self.history(host))]

    def mark(self) -> None:
        """From now on `news` tells only what comes."""
        self.told = {host: len(self.history(host)) for host in self.fleet.names()}

    def news(self, host: str) -> list[tuple[str, str]]:
        """What became of which release since `mark`, oldest first."""
        return self.statuses(host)[self.told.get(host, 0) :]

    def is_settled(self, host: str) -> bool:
        """Tell whether nothing is open, nothing half made is left, and every byte of what is active is right."""
        self.fleet.inside(host, f"slipway verify {self.name}")
        left = self.fleet.inside(
            host,
            f"cd /srv/{self.name} && ls -d .way-back releases/.staging-* .objects/.staging-* 2>/dev/null;"
            f"cd /var/lib/slipway/{self.name} && ls journal.jsonl lease.json 2>/dev/null",
            check=False,
        ).stdout
        assert not left, f"left on {host}: {left}"
        return True

    def open_transaction(self, host: str) -> str:
        """What is switched to and by whom, until it is confirmed: link, lease, journal and history."""
        state = f"/var/lib/slipway/{self.name}"
        command = (
            f"readlink /srv/{self.name}/current; cat {state}/lease.json {state}/journal.jsonl {state}/history.jsonl"
        )
        return self.fleet.inside(host, command).stdout

    def snapshot(self, *hosts: str, more: str = "") -> dict[str, str]:
        """Everything of this application on hosts: paths, types, modes, owners, sizes, links, content."""
        script = f"APPLICATION={self.name}; MORE='{more}'; {SNAPSHOT}"
        names = hosts or self.fleet.names()
        with ThreadPoolExecutor() as pool:
            return dict(zip(names, pool.map(lambda host: self.fleet.inside(host, script).stdout, names), strict=True))
