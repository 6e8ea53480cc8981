# SPDX-License-Identifier: GPL-3.0-or-later
"""Who listens on a TCP port, read from /proc: a host need not have ss or lsof."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LISTENING: Final = "0A"
TABLES: Final = ("tcp", "tcp6")
SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True)
class Listener:
    """A socket that listens; ``pid`` is None where no process that we see has it, ``cgroups`` are the paths of that process."""

    port: int
    uid: int
    pid: int | None = None
    name: str = ""
    cgroups: frozenset[str] = frozenset()

    def described(self) -> str:
        return f"{self.name} (pid {self.pid})" if self.pid is not None else f"a process of uid {self.uid}"

    def is_in(self, cgroup: str) -> bool:
        """Whether the process is in the cgroup or below it."""
        return cgroup not in ("", "/") and any(path == cgroup or path.startswith(f"{cgroup}/") for path in self.cgroups)


def listeners(ports: Iterable[int], proc: Path) -> dict[int, list[Listener]]:
    """The listeners on each of these ports; a port without one is left out."""
    wanted = set(ports)
    sockets = {inode: (port, uid) for port, uid, inode in _sockets(proc) if port in wanted}
    if not sockets:
        return {}
    owners = dict(_owners(proc, sockets.keys()))
    found: dict[int, set[Listener]] = {}
    for inode, (port, uid) in sockets.items():
        pid = owners.get(inode)
        listener = (
            Listener(port, uid) if pid is None else Listener(port, uid, pid, _name(proc, pid), _cgroups(proc, pid))
        )
        found.setdefault(port, set()).add(listener)
    return {port: sorted(each, key=lambda listener: listener.pid or 0) for port, each in found.items()}


def _sockets(proc: Path) -> Iterator[tuple[int, int, str]]:
    """Port, user and inode of everything that listens."""
    for table in TABLES:
        try:
            lines = (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:  # no IPv6
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == LISTENING:
                yield int(columns[1].rpartition(":")[2], 16), int(columns[7]), columns[9]


def _owners(proc: Path, inodes: Iterable[str]) -> Iterator[tuple[str, int]]:
    """The process with each of these sockets; of several, such as a server and its workers, the oldest."""
    missing = set(inodes)
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        try:
            targets = [os.readlink(entry) for entry in os.scandir(proc / str(pid) / "fd")]
        except OSError:  # it has ended, or is not ours to look into
            continue
        for target in targets:
            if (match := SOCKET.fullmatch(target)) and match[1] in missing:
                missing.discard(match[1])
                yield match[1], pid
        if not missing:
            return


def _name(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "a process that has ended"


def _cgroups(proc: Path, pid: int) -> frozenset[str]:
    """The process's path in the hierarchies that systemd may use: the unified one, or its own."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    parts = [line.split(":", 2) for line in lines]
    return frozenset(part[2] for part in parts if len(part) == 3 and part[1] in ("", "name=systemd"))
