# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an operator types: a checkout on a controller, and shells there and on hosts that stay open between commands."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deployments import Done, Running

from lab import ssh
from lab.fleet import Fleet
from lab.instance import USER

COMMAND_SECONDS = 180
AUTHOR = {
    f"GIT_{who}_{what}": f"operator{end}"
    for who in ("AUTHOR", "COMMITTER")
    for what, end in (("NAME", ""), ("EMAIL", "@slipway.example"))
}


class Shell:
    """A bash that stays open: its directory and variables last, and `$?` is the last command's."""

    def __init__(
        self, words: Sequence[str], directory: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._last = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # the end

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> Done:
        """Run a command to its end, with nothing to read; one that takes longer than `seconds` is an AssertionError."""
        assert self._process.stdin is not None
        mark = uuid.uuid4().hex
        self._process.stdin.write(
            f"(exit {self._last})\n{{ {command}\n}} </dev/null 2>&1\nprintf '\\n%s %s\\n' {mark} $?\n"
        )
        self._process.stdin.flush()
        said: list[str] = []
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"still running after {seconds:.0f} s: {command}\n{''.join(said)}") from None
            assert line, f"the shell ended: {command}\n{''.join(said)}"
            if line.startswith(mark):
                self._last = int(line.split()[1])
                return Done(self._last, "".join(said))
            said.append(line)

    def close(self) -> None:
        """End it, and what it still runs."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass
class Workplace:
    """A checkout of this tree with its own `.slipway` and an inventory of the fleet's hosts, as operators fill one in."""

    fleet: Fleet
    root: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """What this controller keeps."""
        return self.root / ".slipway"

    def check_out(self) -> None:
        """Copy the tracked files, name the hosts, and let ssh know them."""
        clone = self.fleet.clone.root
        listed = self.fleet.command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached").stdout
        for name in filter(None, listed.split("\0")):
            if (clone / name).is_symlink() or (clone / name).exists():
                (self.root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(clone / name, self.root / name, follow_symlinks=False)
        for lock in (self.root / "requirements").glob("*.lock"):
            os.utime(lock, (0, 0))  # the virtual environment is this one; make must not see a reason to renew it
        (self.root / ".venv").symlink_to(clone / ".venv")
        self.name_hosts()
        settings = (self.root / "ansible.cfg").read_text(encoding="utf-8")
        inventories = "inventory = inventories/staging/hosts,inventories/prod/hosts"
        assert "inventory = inventories/lab/hosts" in settings
        (self.root / "ansible.cfg").write_text(settings.replace("inventory = inventories/lab/hosts", inventories))
        for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Name our hosts"]):
            self.fleet.command("git", "-C", str(self.root), *words, environment=AUTHOR)

    def name_hosts(self) -> None:
        """Fill in inventories/staging/hosts and inventories/prod/hosts."""
        options = " ".join(ssh.options(self.fleet.clone, self.fleet.record.instance))
        for group in ("staging", "prod"):
            lines = [f"[{group}]"]
            lines += [
                f"{name} ansible_host={self.fleet.host(name).address} ansible_user={USER}"
                for name in self.fleet.names(group)
            ]
            lines += [
                "[all:vars]",
                f"ansible_ssh_private_key_file={ssh.private_key(self.fleet.clone)}",
                f"ansible_ssh_common_args='{options}'",
                # As in inventories/lab/hosts: so that the lab can end a connection before its host goes.
                f"ansible_control_path=%(directory)s/slipway-{self.fleet.clone.hash}-%%h-%%r",
            ]
            (self.root / f"inventories/{group}/hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return what an operator's shell has; the checkout's own ansible.cfg is found from its root."""
        environment = {**self.fleet.environment(), "PATH": self._path(), **self.variables}
        del environment["ANSIBLE_CONFIG"]
        return environment

    def shell(self) -> Shell:
        """Open a shell at the root of the checkout."""
        return Shell(["bash", "--noprofile", "--norc"], self.root, self.environment())

    def start(self, *words: str) -> Running:
        """Start a command at the root of the checkout."""
        return Running(
            subprocess.Popen(
                words,
                cwd=self.root,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )

    def _path(self) -> str:
        """PATH with an ssh that knows the hosts by name, as an operator's own configuration would let it."""
        binaries = self.root / ".slipway-ssh"
        binaries.mkdir(exist_ok=True)
        lines = ["UserKnownHostsFile " + ssh.quoted(ssh.known_hosts(self.fleet.clone, self.fleet.record.instance))]
        lines += ["GlobalKnownHostsFile /dev/null", f"User {USER}", "IdentitiesOnly yes"]
        lines += [f"IdentityFile {ssh.quoted(ssh.private_key(self.fleet.clone))}"]
        for host in self.fleet.record.hosts:
            lines += [f"Host {host.name}", f"  HostName {host.address}"]
        (binaries / "config").write_text("\n".join(lines) + "\n", encoding="utf-8")
        script = binaries / "ssh"
        script.write_text(f'#!/bin/sh\nexec "{shutil.which("ssh")}" -F "{binaries}/config" "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        return f"{binaries}:{self.fleet.environment()['PATH']}"

    def host_shell(self, name: str) -> Shell:
        """Open a root's shell on a host, without the network."""
        return Shell(["podman", "exec", "--interactive", self.fleet.host(name).container, "bash", "--login"])
