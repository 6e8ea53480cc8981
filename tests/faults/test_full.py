# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk without room, without inodes, or that is read-only, at each stage: refused with the reason, or done, and always back.

The room left is swept from nothing to enough, on a real small file system; nobody frees any meanwhile.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.invariants import Known, require_honest, require_served, require_settled
from faults.machine import Machine
from faults.operations import BY_NAME, Operation, recover
from lab import shell

PAGE = 4096
ROOM = 4 << 20
INODES = 1000
STAGES = (
    "stage",
    "fetch",
    "activate",
    "activate, ill",
    "confirm",
    "confirm and prune",
    "revert",
    "roll back",
    "recover",
)
BACK = ("revert", "recover")  # what must work without any room


class Tmpfs:
    """A small file system in memory at ``place``, whose room can be taken."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        owner = f"uid={os.geteuid()},gid={os.getegid()},mode=0755"
        self._mount("-t", "tmpfs", "-o", f"size={ROOM},nr_inodes={INODES},{owner}", "tmpfs")

    def _mount(self, *words: str) -> None:
        shell.run(["mount", *words, str(self.place)], root=True)

    def close(self) -> None:
        shell.run(["umount", str(self.place)], root=True)

    def leave_pages(self, count: int) -> None:
        """Leave so many pages for data and no more."""
        with open(self.place / "filler", "wb", buffering=0) as stream:
            while self._write(stream.fileno()):
                pass
            os.ftruncate(stream.fileno(), os.fstat(stream.fileno()).st_size - count * PAGE)
        assert os.statvfs(self.place).f_bavail == count

    def _write(self, descriptor: int) -> int:
        try:
            return os.write(descriptor, bytes(PAGE))
        except OSError:
            return 0

    def leave_inodes(self, count: int) -> None:
        """Leave so many names for files and no more."""
        (self.place / "fillers").mkdir()
        for number in range(os.statvfs(self.place).f_favail - count):
            (self.place / "fillers" / str(number)).touch()
        assert os.statvfs(self.place).f_favail == count

    def free(self) -> None:
        (self.place / "filler").unlink(missing_ok=True)
        if (self.place / "fillers").exists():
            for path in (self.place / "fillers").iterdir():
                path.unlink()
            (self.place / "fillers").rmdir()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        self._mount("-o", "remount,ro")
        try:
            yield
        finally:
            self._mount("-o", "remount,rw")


@pytest.fixture
def tmpfs(in_memory: Path) -> Iterator[Tmpfs]:
    made = Tmpfs(in_memory / "small")
    yield made
    made.close()


@pytest.fixture
def small(tmpfs: Tmpfs, in_memory: Path) -> Machine:
    """A machine with all that it has on the small file system; the controller has room."""
    return Machine.with_releases(tmpfs.place / "machine", in_memory / "desk")


@pytest.mark.parametrize("what", ["pages", "inodes"])
@pytest.mark.parametrize("operation", [BY_NAME[name] for name in STAGES], ids=lambda operation: operation.name)
def test_a_disk_with_too_little_room_is_refused_or_enough(operation, what, small, tmpfs, tell):
    """From nothing left upwards, until the exchange no longer notices."""
    operation.prepare(small)
    before = Known.of(small)
    leave = tmpfs.leave_pages if what == "pages" else tmpfs.leave_inodes
    for left in itertools.count():
        leave(left)
        answer = operation.exchange(small)
        require_served(small, {"v1", "v2", "v3"})
        require_right(operation, small, before, answer)
        back = recover(small)
        assert not back.get("failed"), f"{left} {what} left: {back}"
        require_settled(small, before, operation.possible)
        has_noticed = (
            answer.get("failed") and answer["reason"] == "disk_full"
        ) or not small.site.places.reserve.exists()
        tmpfs.free()
        small.start_over()
        # Going back frees what it no longer needs before it needs room; that there was none, `leave` has asserted.
        assert has_noticed or left or operation.name in BACK, "there was room enough with none left"
        if not has_noticed or (operation.name == "activate, ill" and answer["reason"] == "health_failed"):
            break
    tell(operation.name, f"no {what}", left + 1)


def require_right(operation: Operation, machine: Machine, before: Known, answer: dict) -> None:
    require_honest(machine, before, answer)
    if not answer.get("failed"):
        assert operation.is_done(machine), answer
        return
    assert operation.name not in BACK, f"going back needs no room: {answer}"
    assert answer["reason"] in ("disk_full", "deadman_not_armed", "switch_failed", "health_failed"), answer
    assert answer["reason"] == "health_failed" or "No space left on device" in answer["msg"] or "free" in answer["msg"]


@pytest.mark.parametrize("what", ["pages", "inodes"])
def test_a_disk_that_fills_up_while_the_unit_restarts_hinders_no_way_back(what, small, tmpfs, tell):
    operation = BY_NAME["activate, ill"]
    operation.prepare(small)
    before = Known.of(small)
    leave = tmpfs.leave_pages if what == "pages" else tmpfs.leave_inodes
    filled = []

    def fill(verb: str) -> None:
        if verb == "restart" and not filled:
            filled.append(verb)
            leave(0)

    small.systemd.before.append(fill)
    answer = operation.exchange(small)
    assert filled, "the disk was not filled"
    assert (answer["reason"], answer["outcome"], small.served) == ("health_failed", "reverted", "v1")
    require_settled(small, before, {"v1"})
    tell("way back", f"no {what}", 1)


@pytest.mark.parametrize("operation", [BY_NAME[name] for name in STAGES], ids=lambda operation: operation.name)
def test_a_disk_that_is_read_only_is_refused_and_the_next_run_goes_on(operation, small, tmpfs, tell):
    operation.prepare(small)
    before = Known.of(small)
    with tmpfs.read_only():
        answer = operation.exchange(small)
        assert (answer["failed"], answer["reason"], answer["changed"]) == (True, "file_system_read_only", False), answer
        assert Known.of(small) == before
    answer = operation.exchange(small)
    assert operation.name == "activate, ill" or (not answer.get("failed") and operation.is_done(small)), answer
    recover(small)
    require_settled(small, before, operation.possible)
    tell(operation.name, "read-only", 1)
