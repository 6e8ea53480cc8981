# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an operation in a process of its own under strace, which notes its system calls or lets one of them fail.

Only the main thread of that process is traced, from the first call of the operation on: so the N-th call of a name is
the same one in every run, and what the operation starts (a health command, say) is left alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

KILL = "KILL"
CREATES = {"openat"}  # with O_CREAT
CHANGES = {
    "chmod", "chown", "copy_file_range", "fallocate", "fchmod", "fchmodat", "fchown", "fchownat", "fdatasync", "flock", "fsync",
    "ftruncate", "lchown", "link", "linkat", "mkdir", "mkdirat", "pwrite64", "rename", "renameat", "renameat2", "rmdir", "sendfile",
    "symlink", "symlinkat", "sync_file_range", "syncfs", "truncate", "unlink", "unlinkat", "utimensat", "write",
}  # fmt: skip
# What needs room, or finds out late that there is none.
ALLOCATES = {
    "copy_file_range", "fallocate", "fdatasync", "fsync", "link", "linkat", "mkdir", "mkdirat", "pwrite64", "rename", "renameat",
    "renameat2", "sendfile", "symlink", "symlinkat", "syncfs", "write",
}  # fmt: skip
READS = {
    "getdents64",
    "lstat",
    "newfstatat",
    "openat",
    "pread64",
    "read",
    "readlink",
    "readlinkat",
    "stat",
    "statfs",
    "statx",
}
LINE = re.compile(r"(\w+)\((.*)")
SET_PTRACER = 0x59616D61
ANYBODY = ctypes.c_ulong(-1)


@dataclass(frozen=True)
class Call:
    """The ``number``-th call (from 1) of a name in the traced thread; ``about`` is its arguments without what is random."""

    name: str
    number: int
    about: str

    @property
    def makes_a_file(self) -> bool:
        return self.name in CREATES and "O_CREAT" in self.about

    def can(self, fault: str) -> bool:
        """Whether this fault makes sense here."""
        if fault == KILL:
            return self.name in CHANGES or self.makes_a_file
        if fault == "ENOSPC":
            return self.name in ALLOCATES or self.makes_a_file
        return self.name in CHANGES | READS


@dataclass(frozen=True)
class Ended:
    """How a traced operation ended: killed, or with an answer; ``calls`` are all that were noted."""

    answer: dict[str, Any] | None
    calls: list[Call]
    fired: Call | None


def run(operation: Callable[[], dict[str, Any]], *, fault: str | None = None, at: Call | None = None) -> Ended:
    """Run ``operation``; with a fault (KILL, or the name of an errno) it strikes in the call ``at``."""
    with TemporaryDirectory(prefix="slipway-strace-") as directory:
        log = Path(directory, "log")
        words = ["-e", f"trace={at.name}" if at else "trace=%file,%desc"]
        if fault and at:
            how = "signal=KILL" if fault == KILL else f"error={fault}"
            words += ["-e", f"inject={at.name}:{how}:when={at.number}"]
        code, said = _traced(operation, ["strace", "-qq", "-y", "-s", "0", "-o", str(log), *words])
        calls = parsed(log.read_text(errors="replace"))
    fired = None
    if at:
        hit = [call for call in calls if call.number == at.number]
        has_died = code == -9
        fired = hit[0] if hit and (has_died if fault == KILL else "(INJECTED)" in hit[0].about) else None
    if code not in (0, -9):
        raise AssertionError(f"the process ended with {code}: {said.decode(errors='replace')}")
    return Ended(json.loads(said) if code == 0 else None, calls, fired)


def _traced(operation: Callable[[], dict[str, Any]], words: list[str]) -> tuple[int, bytes]:
    """The exit code of a child that waits until strace has it, and what it said."""
    started, start = os.pipe()
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(start)
            ctypes.CDLL(None).prctl(SET_PTRACER, ANYBODY, 0, 0, 0)
            select.select([started], [], [])  # strace counts calls: a read here would be the first
            answer = json.dumps(operation()).encode()
            _write(said, answer)
            code = 0
        except BaseException:
            _write(said, traceback.format_exc().encode())
        finally:
            os._exit(code)
    os.close(started)
    os.close(said)
    with open(heard, "rb") as hearing, subprocess.Popen([*words, "-p", str(child)], stderr=subprocess.PIPE) as tracer:
        status = Path(f"/proc/{child}/status")
        while "TracerPid:\t0\n" in status.read_text():
            assert tracer.poll() is None, (tracer.stderr or hearing).read()
            time.sleep(0.001)
        os.close(start)
        told = hearing.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tracer.wait(30)
    return code, told


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def parsed(log: str) -> list[Call]:
    """The calls in what strace noted of one thread."""
    numbers: Counter[str] = Counter()
    calls = []
    for line in log.splitlines():
        if found := LINE.match(line):
            name, about = found.groups()
            numbers[name] += 1
            calls.append(Call(name, numbers[name], about))
    return calls
