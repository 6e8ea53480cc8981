# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance of the lab as tests and benchmarks use it: commands on hosts, faults, and playbooks against it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import hosts, shell, ssh
from .instance import Host, Instance
from .names import Clone


@dataclass(frozen=True)
class Fleet:
    """The hosts of an instance that is up. Hosts are named as in the inventory."""

    clone: Clone
    record: Instance

    def names(self, group: str | None = None) -> list[str]:
        """Return the hosts' names, those of one group if it is given."""
        return [host.name for host in self.record.hosts if group in (None, host.group)]

    def host(self, name: str) -> Host:
        """Return a host's record: address, container, volume."""
        return self.record.host(name)

    def run(
        self, name: str, command: str, *, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root over ssh, as a controller would; with `check` its failure is a LabError."""
        remote = f"sudo -n sh -c {shlex.quote(command)}"
        done = ssh.run(self.clone, self.record.instance, self.host(name), remote, timeout=timeout)
        if check and done.returncode != 0:
            raise shell.failure(done)
        return done

    def inside(self, name: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root without the network: it works in a host that is cut off, too."""
        return shell.podman("exec", self.host(name).container, "sh", "-c", command, check=check)

    def cut(self, name: str) -> None:
        """Take the host's network down: connections hang."""
        hosts.cut(self.host(name))

    def heal(self, name: str) -> None:
        """Give the host its network back."""
        hosts.heal(self.host(name))

    @contextmanager
    def partition(self, *names: str) -> Iterator[None]:
        """Cut hosts off while the block runs."""
        for name in names:
            self.cut(name)
        try:
            yield
        finally:
            for name in names:
                self.heal(name)

    def kill(self, name: str) -> None:
        """Crash the host; `start` brings it back with its disk."""
        hosts.kill(self.host(name))

    def start(self, name: str) -> None:
        """Start a killed host and wait until it has booted."""
        hosts.start(self.host(name))

    def reboot(self, name: str) -> None:
        """Reboot the host and wait until it has booted."""
        hosts.reboot(self.host(name))

    def pause(self, name: str) -> None:
        """Freeze the host."""
        hosts.pause(self.host(name))

    def unpause(self, name: str) -> None:
        """Let a frozen host go on."""
        hosts.unpause(self.host(name))

    def mend(self) -> None:
        """Bring every host back from whatever a test did to it; running ones are left alone."""
        hosts.bring_up(self.clone, self.record, self._no_new_hosts)

    def _no_new_hosts(self) -> str:
        raise AssertionError("a host of this fleet is gone: `python3 -m lab up` makes it anew")

    def environment(self) -> dict[str, str]:
        """Return the environment in which Ansible's default inventory is this fleet."""
        binaries = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}",
            "ANSIBLE_CONFIG": str(self.clone.root / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "SLIPWAY_LAB_INSTANCE": self.record.instance,
        }

    def start_command(self, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in the repository's root against this fleet; standard error comes with standard output."""
        return subprocess.Popen(
            words,
            cwd=self.clone.root,
            env={**self.environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(
        self, *words: str, environment: Mapping[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository's root to its end; the exit code is for the test to judge."""
        process = self.start_command(*words, environment=environment)
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, output, "")

    def playbook(
        self, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """Run `ansible-playbook` with these arguments."""
        return self.command("ansible-playbook", *arguments, environment=environment, timeout=timeout)
