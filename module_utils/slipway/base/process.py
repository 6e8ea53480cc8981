# SPDX-License-Identifier: GPL-3.0-or-later
"""A process as something that is remembered, and later known to be gone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process that is recognised again, also after its number was given to another one.

    ``namespace`` is the name of its machine (or container) and the kernel's of its PID namespace, with a space between.
    """

    boot_id: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(_boot_id(), _namespace(), pid, _started(pid))

    def is_alive(self) -> bool:
        """False only when it is known: a process of another machine or container may well be alive."""
        if self.namespace.partition(" ")[0] != os.uname().nodename:
            return True
        if self.boot_id != _boot_id():
            return False
        return self.namespace != _namespace() or (bool(self.started) and _started(self.pid) == self.started)

    def is_here(self) -> bool:
        """True only when it is known: it runs in this PID namespace."""
        return self.namespace == _namespace() and self.is_alive()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return f"{os.uname().nodename} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """Field 22 of proc(5) stat; the command name in field 2 may contain anything, so count from its last bracket.

    An empty text for one that has ended, also where nobody has asked yet how (Z, X).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
