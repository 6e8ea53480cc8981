# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of `make bench`: an instance of the lab of its own, and how its commands reach them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import instance, lifecycle, ssh
from lab.names import Clone

# Each session that a host's ssh server begins gets a line in its journal, whoever asks for it.
VERBOSE = (
    "printf 'LogLevel VERBOSE\\n' | sudo tee /etc/ssh/sshd_config.d/bench.conf > /dev/null && sudo systemctl reload ssh"
)


@dataclass(frozen=True)
class Target:
    """A host: its name in the inventory, its address, and the words by which ssh reaches it over a shared connection."""

    name: str
    address: str
    user: str
    key: str
    known_hosts: str
    ssh: tuple[str, ...]

    @property
    def login(self) -> str:
        return f"{self.user}@{self.address}"


def up(name: str, count: int, control: Path) -> list[Target]:
    """Bring an instance of the lab up with so many hosts, or more if there are; shared connections have their sockets in `control`."""
    clone = Clone.here()
    before = instance.load(clone, name)
    there = len(before.hosts) if before and before.ready else 0
    record = lifecycle.up(clone, name, f"prod={max(count, there)}")
    os.environ["SLIPWAY_LAB_INSTANCE"] = name
    shared = ("-o", "ControlMaster=auto", "-o", "ControlPersist=3600s", "-o", f"ControlPath={control}/rsync-%C")
    targets = [
        Target(
            name=host.name,
            address=host.address,
            user=record.user,
            key=str(ssh.private_key(clone)),
            known_hosts=str(ssh.known_hosts(clone, name)),
            ssh=("ssh", *ssh.options(clone, name), "-i", str(ssh.private_key(clone)), *shared),
        )
        for host in record.hosts
    ]
    return targets[:count]


def as_people_have_it() -> None:
    """Let Python keep what it compiles, as it does unless somebody forbade it: from a checkout it would be compiled anew in each run."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def close(control: Path) -> None:
    """End the shared connections whose sockets are in a directory."""
    for socket in control.iterdir():
        subprocess.run(
            ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "host"], capture_output=True, check=False
        )


def ask_all(hosts: Sequence[Target], command: str) -> list[str]:
    """Run a shell command on all hosts in parallel and return what each says."""
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return list(pool.map(lambda host: _ask(host, command), hosts))


def _ask(host: Target, command: str) -> str:
    done = subprocess.run([*host.ssh, host.login, command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{host.name}: {command}", done.returncode, done.stderr.strip())
    return done.stdout.strip()


def on_all(hosts: Sequence[Target], command: str) -> None:
    """Run a shell command on all hosts in parallel."""
    wait([subprocess.Popen([*host.ssh, host.login, command], stdout=subprocess.DEVNULL) for host in hosts])


def wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all of them; the first failure is raised when all have ended."""
    codes = [process.wait() for process in processes]
    for process, code in zip(processes, codes, strict=True):
        if code != 0:
            raise Failed(shlex.join(map(str, process.args)), code)  # type: ignore[arg-type]


class Failed(Exception):
    """A command that was measured, or prepares a measurement, did not succeed."""

    def __init__(self, command: str, code: int, detail: str = "") -> None:
        super().__init__(f"{command[-200:]} ended with exit code {code}" + (f": {detail[-500:]}" if detail else ""))


def encoded(value: object) -> str:
    """Plain data as the text of a file that programs read, JSON or YAML."""
    return json.dumps(value, indent=2) + "\n"
