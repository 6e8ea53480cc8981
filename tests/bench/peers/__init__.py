# SPDX-License-Identifier: GPL-3.0-or-later
"""Slipway and what it is measured beside: each deploys the same two releases to the same hosts, in a place of its own there.

Each tool does what its users would have it do: bring the files, switch a link, restart a unit that serves them, ask until it
answers with the release. What else it does or leaves out is its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import image

from ..bundles import Bundle
from ..hosts import Failed, Target, on_all

REPOSITORY = Path(__file__).resolve().parents[3]
PLACE = REPOSITORY / ".slipway" / "bench"
CACHE = image.cache() / "bench"
BINARIES = Path(sys.executable).parent

# Asks the unit for its release until it answers with that one: bench-well PORT RELEASE.
WELL = r"""#!/bin/bash
for try in {1..100}; do
    if { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null; then
        printf 'GET /version HTTP/1.0\r\n\r\n' >&3
        grep -q "^$2$" <&3 && exit 0
        exec 3>&-
    fi
    sleep 0.1
done
echo "port $1 does not serve the release $2" >&2
exit 1
"""
# nginx is said to be started when it listens.
UNIT = """[Service]
Type=forking
PIDFile=/run/{unit}.pid
ExecStart=/usr/sbin/nginx -c /etc/{unit}.conf
"""
CONFIGURATION = """user root;
worker_processes 1;
pid /run/{unit}.pid;
error_log /var/log/{unit}.log;
events {{}}
http {{ access_log off; server {{ listen {port}; root {base}/current; }} }}
"""


class Unavailable(Exception):
    """A tool cannot be had here; the report says so with these words."""


@dataclass(frozen=True)
class Bench:
    """What is measured: the bundle, whether a unit serves it, and how many hosts Ansible works on at a time."""

    bundle: Bundle
    has_service: bool
    forks: int
    control: Path

    def source(self, release: str) -> Path:
        return PLACE / "bundles" / self.bundle.name / release

    def run(self, argv: Sequence[str | Path], directory: Path = REPOSITORY, **environment: str) -> None:
        """Run a command whose output goes to the log; a failure tells the end of it."""
        words = [str(word) for word in argv]
        (PLACE / "logs").mkdir(parents=True, exist_ok=True)
        path = PLACE / "logs" / f"{Path(words[0]).name}.log"
        with path.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {shlex.join(words)}\n")
            log.flush()
            begin = log.tell()
            done = subprocess.run(
                words,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                check=False,
            )
        if done.returncode != 0:
            said = path.read_bytes()[begin:].decode("utf-8", "replace")
            raise Failed(shlex.join(words), done.returncode, said)

    def ansible(self, *arguments: str, hosts: Sequence[Target], **environment: str) -> None:
        """Run ansible-playbook on these hosts, with connections that stay open and so many forks."""
        limit = ["-l", ",".join(host.name for host in hosts)] if hosts else []
        shared = "-o ControlMaster=auto -o ControlPersist=3600s -o ServerAliveInterval=5 -o ServerAliveCountMax=2"
        self.run(
            [BINARIES / "ansible-playbook", *arguments, *limit],
            ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"),
            ANSIBLE_FORKS=str(self.forks),
            ANSIBLE_TIMEOUT="120",  # all hosts have the same processors: one that waits for them is not lost
            ANSIBLE_SSH_ARGS=shared,
            ANSIBLE_SSH_CONTROL_PATH_DIR=str(self.control),
            **environment,
        )


# What Ansible does where nobody configured it otherwise, and what recipes count on.
USUAL = {"ANSIBLE_INJECT_FACT_VARS": "True"}


class Tool:
    """One way to deploy. `base` on the hosts has `current`, a link to the release that is served."""

    name: str
    port: int

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.place = PLACE / self.name
        self.place.mkdir(parents=True, exist_ok=True)

    @property
    def unit(self) -> str:
        return f"bench-{self.name}"

    @property
    def base(self) -> str:
        return f"/home/operator/bench/{self.name}"

    def version(self) -> str:
        """Make sure that it can be used here, and say which version it is; else `Unavailable`."""
        raise NotImplementedError

    def prepare(self, hosts: Sequence[Target]) -> None:
        """Give hosts its unit, which serves what `current` has, and connections that are open."""
        if not self.bench.has_service:
            return
        names = {"unit": self.unit, "port": self.port, "base": self.base}
        files = {
            f"/etc/systemd/system/{self.unit}.service": UNIT.format(**names),
            f"/etc/{self.unit}.conf": CONFIGURATION.format(**names),
            "/usr/local/bin/bench-well": WELL,
        }
        written = "".join(f"printf %s {shlex.quote(text)} > {path}; " for path, text in files.items())
        script = f"set -e; {written}chmod 0755 /usr/local/bin/bench-well; systemctl daemon-reload"
        on_all(hosts, f"sudo sh -c {shlex.quote(script)}")

    def forget(self, hosts: Sequence[Target]) -> None:
        """Make the hosts what they are before its first deployment."""
        stop = f"sudo systemctl stop {self.unit}; " if self.bench.has_service else ""
        on_all(hosts, f"{stop}sudo rm -rf {self.base}")

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        raise NotImplementedError

    def rollback(self, hosts: Sequence[Target]) -> None:
        """Go from `two` back to `one`."""
        raise NotImplementedError

    def served(self, release: str) -> str:
        """A shell command: restart the unit and ask until it serves the release."""
        return f"sudo systemctl restart {self.unit} && {self.asked(release)}" if self.bench.has_service else "true"

    def asked(self, release: str) -> str:
        """A shell command: ask until the unit serves the release."""
        return f"bench-well {self.port} {release}" if self.bench.has_service else "true"

    def switched(self, release: str) -> str:
        """A shell command: let `current` be the release, unless it is, with a restart then; the unit must serve it either way."""
        return (
            f'cd {self.base} && if [ "$(readlink current)" = releases/{release} ]; then {self.asked(release)}; '
            f"else ln -sfn releases/{release} next && mv -T next current && {self.served(release)}; fi"
        )
