# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory in memory that only its owner can read: what the processes of a run share, and what must never be on a disk.

It is below ``$XDG_RUNTIME_DIR`` or ``/dev/shm``, and is used only when it is what it should be: a directory of this user, of mode
0700, on a tmpfs whose pages no swap writes to a disk, below directories in which nobody else may rename it. Otherwise there is none, and whoever wanted
it does without and says why.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..base.files import open_regular, read_if_there, remove_temporary, remove_tree, temporary_name, write_all

NAME: Final = "slipway-secrets"
SHARED: Final = Path("/dev/shm")  # noqa: S108 - a directory there is verified before it is used
ENTRY_LIMIT: Final = 4 << 20
MEMORY_FILE_SYSTEMS: Final = ("tmpfs", "ramfs")
_MOUNT: Final = re.compile(r"\d+ \d+ (\d+):(\d+) \S+ \S+ \S+ .*?- (\S+) \S+ (\S+)")


class NotVolatile(Exception):
    """There is no such place; the text says what was found instead."""


@dataclass(frozen=True)
class Volatile:
    """The place at ``directory``, and in it what belongs to one ``run`` alone. ``passed_over`` says which better place was not what it must be."""

    directory: Path
    run: str
    passed_over: str = ""

    def read(self, name: str) -> bytes | None:
        """The content of an entry, None where there is none."""
        return read_if_there(self.directory / name, limit=ENTRY_LIMIT, what="entry of the secrets cache")

    def write(self, name: str, data: bytes) -> None:
        """Replace an entry by one rename: readers see the old or the new one."""
        path = self.directory / name
        temporary = temporary_name(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            try:
                write_all(descriptor, data)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)

    def names(self, directory: str) -> list[str]:
        """The entries of a directory, sorted, without locks and what is being written."""
        return sorted(
            f"{directory}/{name}" for name in os.listdir(self.directory / directory)
            if not name.startswith(".") and not name.endswith(".lock")
        )  # fmt: skip

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """One process at a time; a lock ends with its holder, however that ended."""
        descriptor = open_regular(
            self.directory / f"{name}.lock", what="lock of the secrets cache", flags=os.O_RDWR | os.O_CREAT
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def of_run(self, name: str) -> str:
        """The name of an entry that ends with the run."""
        return f"{self.run}/{name}"


def hashed(*parts: str) -> str:
    """Parts of any content as one file name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def this_run(pid: int) -> str:
    """The name of the run whose main process has this number: all of its workers find the same, no later run does."""
    return f"run-{os.stat('/proc/self/ns/pid').st_ino}-{pid}-{_started(pid)}"


def open_volatile(
    environment: Mapping[str, str], run: str, *, swap_accepted: bool = False, shared: Path = SHARED
) -> Volatile:
    """The place of this user, made where there is none; NotVolatile where it would not be what it must be."""
    found = []
    for directory in directories(environment, shared):
        if not directory.parent.is_dir():
            continue
        try:
            _require_unmovable(directory)
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
            _require_private(directory)
            _require_in_memory(directory, swap_accepted)
        except (OSError, NotVolatile) as error:
            found.append(f"{directory}: {error}")
            continue
        place = Volatile(directory, run, "; ".join(found))
        for below in ("cache", run):
            with suppress(FileExistsError):
                (directory / below).mkdir(mode=0o700)
        _forget_dead_runs(place)
        return place
    raise NotVolatile("; ".join(found) or "neither $XDG_RUNTIME_DIR nor /dev/shm is there")


def directories(environment: Mapping[str, str], shared: Path = SHARED) -> list[Path]:
    """Where the place of this user may be, the better one first."""
    own = Path(environment.get("XDG_RUNTIME_DIR") or "-")
    return [*([own / NAME] if own.is_absolute() else []), shared / f"{NAME}-{os.geteuid()}"]


def _require_unmovable(directory: Path) -> None:
    """Refuse a place that somebody else could move away and put another one there, while this user works in it by its name."""
    for above in (directory.parent, *Path(os.path.realpath(directory.parent)).parents, *directory.parent.parents):
        status = os.stat(above)
        is_shared = bool(status.st_mode & 0o022) and not status.st_mode & stat.S_ISVTX
        if is_shared or status.st_uid not in (0, os.geteuid()):
            raise NotVolatile(f"others may rename what is in {above}")


def _require_private(directory: Path) -> None:
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700:
        raise NotVolatile("not a directory of this user with mode 0700")


def _require_in_memory(directory: Path, swap_accepted: bool) -> None:
    kind, options = file_system_of(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    if kind not in MEMORY_FILE_SYSTEMS:
        raise NotVolatile(f"on {kind or 'an unknown file system'}, which is not memory")
    if kind == "tmpfs" and "noswap" not in options and not swap_accepted:
        swaps = swaps_on_disks(Path("/proc/swaps").read_text(encoding="utf-8"))
        if swaps:
            raise NotVolatile(f"its pages may be swapped to {', '.join(swaps)}")


def file_system_of(directory: Path, mounts: str) -> tuple[str | None, list[str]]:
    """The kind of the file system that a directory is on and its options, by proc(5) mountinfo."""
    device = os.stat(directory).st_dev
    for line in mounts.splitlines():
        if (mount := _MOUNT.match(line)) and os.makedev(int(mount[1]), int(mount[2])) == device:
            return mount[3], mount[4].split(",")
    return None, []


def swaps_on_disks(swaps: str) -> list[str]:
    """What is swapped to, by /proc/swaps, without compressed memory (zram)."""
    return [line.split()[0] for line in swaps.splitlines()[1:] if line.strip() and "/zram" not in line.split()[0]]


def _forget_dead_runs(place: Volatile) -> None:
    """Remove what ended with its run; runs of other containers (PID namespaces) are theirs."""
    own = place.run.rpartition("-")[0].rpartition("-")[0]
    for path in place.directory.glob(f"{own}-*"):
        pid, _, started = path.name.removeprefix(f"{own}-").partition("-")
        if path.name != place.run and (not pid.isdigit() or _started(int(pid)) != started):
            with suppress(OSError):  # another process of this run is quicker
                remove_tree(path)


def _started(pid: int) -> str:
    """Field 22 of proc(5) stat; the command name in field 2 may contain anything, so count from its last bracket."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return ""


def tidy(place: Volatile) -> None:
    """Remove what a killed writer left."""
    for below in ("cache", place.run):
        with suppress(OSError):
            remove_temporary(place.directory / below)
