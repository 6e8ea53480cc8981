# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the N-th call to the operating system fail, or the process die in it, until an operation completes without a fault.

What SQLite's tests do: no moment is chosen by hand, so none is forgotten.
"""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.module_utils.slipway.host import store

# Every call by which the domain changes a disk, but open(2) with O_CREAT, which is added below.
CALLS = (
    "chmod", "fchmod", "fchown", "fsync", "ftruncate", "link", "mkdir", "posix_fallocate", "rename", "rmdir", "symlink", "unlink",
    "utime", "write",
)  # fmt: skip
# What needs room; the others work on a full disk.
ALLOCATING = frozenset({"create", "link", "mkdir", "posix_fallocate", "symlink", "write"})
DIED = 77
RESERVE = "reserve"


class Faults:
    """Counts the calls; ``on_call(number, name)`` is asked before each, and may raise or never return."""

    def __init__(self, on_call: Callable[[int, str], None], *, real_fsync: bool = False) -> None:
        self.names: list[str] = []
        self._on_call = on_call
        self._real_fsync = real_fsync
        self.is_room_made = False

    def _count(self, name: str) -> None:
        self.names.append(name)
        self._on_call(len(self.names) - 1, name)

    @contextmanager
    def installed(self) -> Iterator[Faults]:
        originals = {name: getattr(os, name) for name in (*CALLS, "open")}
        opener, syncfs = builtins.open, store.sync_file_system
        for name in CALLS:
            setattr(os, name, self._counting(name, originals[name]))
        os.open = self._counting_open(originals["open"])  # type: ignore[assignment]
        builtins.open = self._counting_opener(opener)  # type: ignore[assignment]
        store.sync_file_system = lambda path: self._count("fsync")
        try:
            yield self
        finally:
            for name, original in originals.items():
                setattr(os, name, original)
            builtins.open, store.sync_file_system = opener, syncfs

    def _counting(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._count(name)
            if name == "fsync" and not self._real_fsync:
                return None
            result = original(*arguments, **options)
            if name == "unlink" and os.path.basename(os.fspath(arguments[0])) == RESERVE:
                self.is_room_made = True
            return result

        return counted

    def _counting_open(self, original: Callable[..., int]) -> Callable[..., int]:
        def counted(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & os.O_CREAT and not os.path.lexists(path):
                self._count("create")
            return original(path, flags, *arguments, **options)

        return counted

    def _counting_opener(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if set(mode) & set("wxa") and not os.path.lexists(path):
                self._count("create")
            return original(path, mode, *arguments, **options)

        return counted


def die_at(number: int, operation: Callable[[], Any]) -> bool:
    """Run ``operation`` in a child process that dies, as by kill -9, before its N-th call; False when it got to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Faults(lambda at, _name: os._exit(DIED) if at == number else None).installed():
                operation()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DIED), f"the child ended with {code}"
    return code == DIED


def fail_once(number: int) -> Faults:
    """ENOSPC from the N-th call, and from no other."""

    def on_call(at: int, name: str) -> None:
        if at == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    return Faults(on_call)


def full_from(number: int) -> Faults:
    """A disk that is full from the N-th call on: nothing that needs room works until the reserve is given up."""

    def on_call(at: int, name: str) -> None:
        if at >= number and name in ALLOCATING and not faults.is_room_made:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    faults = Faults(on_call)
    return faults


def copy(template: Path, destination: Path) -> None:
    """Put ``destination`` back to what ``template`` is, hardlinks and times included."""
    shutil.rmtree(destination, ignore_errors=True)
    copied: dict[int, str] = {}

    def copy_or_link(source: str, target: str) -> str:
        inode = os.lstat(source).st_ino
        if inode in copied:
            os.link(copied[inode], target)
        else:
            copied[inode] = shutil.copy2(source, target)
        return target

    shutil.copytree(template, destination, symlinks=True, copy_function=copy_or_link)
