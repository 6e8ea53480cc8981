# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said while long work runs: how many hosts are done, how much has gone to them, how fast, and how long it will take.

The workers that stage hosts are processes of their own. Each notes how far it is in a directory of the run, and whoever
comes first when a line is due says one for all of them. Of work that is over within seconds nothing is said.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from ..application.preflight import size

INTERVAL_SECONDS: Final = 5.0
TICK_SECONDS: Final = 1.0
PACKING: Final = "packing"
SENDING: Final = "sending"
WORKING: Final = "working"
DONE: Final = "done"


@dataclass(frozen=True)
class Part:
    """How far one host is: ``moved`` of ``total`` bytes are packed or sent since ``began``, in Unix seconds."""

    step: str
    moved: int = 0
    total: int = 0
    began: float = 0.0


def line(parts: Sequence[Part], hosts: int, now: float) -> str:
    """What is said of ``hosts`` hosts, of which those that have begun are in ``parts``."""
    done = sum(part.step == DONE for part in parts)
    said = [f"{done} of {hosts} {'host' if hosts == 1 else 'hosts'} done"]
    sending = [part for part in parts if part.step == SENDING]
    packing = [part for part in parts if part.step == PACKING and part.total]
    working = sum(part.step == WORKING for part in parts)
    if sending:
        begun = [part for part in parts if part.step != PACKING]
        total = sum(part.total for part in begun)
        expected = total + total * (hosts - len(begun)) // len(begun)  # the others are thought to need as much
        moved = sum(part.total if part.step in (WORKING, DONE) else part.moved for part in begun)
        said.append(_pace("sent", moved, expected, now - min(part.began for part in begun if part.total)))
    elif packing:
        first = min(packing, key=lambda part: part.began)
        said.append(_pace("packed", first.moved, first.total, now - first.began))
    if working:
        said.append(f"{working} at unpacking, verifying and checking")
    return f"staging: {'; '.join(said)}"


def _pace(what: str, moved: int, total: int, seconds: float) -> str:
    text = f"{size(moved)} of {size(total)} {what}"
    rate = moved / seconds if seconds > 0 else 0
    return f"{text}, {size(int(rate))}/s, {_duration((total - moved) / rate)} left" if rate >= 1 else text


def _duration(seconds: float) -> str:
    """E.g. 17 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(frozen=True)
class Board:
    """What the workers of a run note for each other, in a directory that they share."""

    directory: Path

    def open(self) -> None:
        """Make it where it is not there yet; the first line is due an interval later."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError), open(self._said, "x"):
            pass

    def note(self, host: str, part: Part) -> None:
        """Say how far a host is."""
        path = self._path(host)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(part)), encoding="ascii")
        os.replace(beside, path)

    def forget(self, host: str) -> None:
        """Say nothing of a host any more: it has failed, and Ansible tells so."""
        self._path(host).unlink(missing_ok=True)

    def parts(self) -> list[Part]:
        """How far the hosts are that have noted anything."""
        return [Part(**json.loads(path.read_bytes())) for path in sorted(self.directory.glob("*.json"))]

    def is_due(self, now: float) -> bool:
        """Whether the caller is the one to say a line now."""
        with open(self._said, "a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if now - os.fstat(stream.fileno()).st_mtime < INTERVAL_SECONDS:
                return False
            os.utime(stream.fileno(), (now, now))
            return True

    @property
    def _said(self) -> Path:
        return self.directory / "said"

    def _path(self, host: str) -> Path:
        return self.directory / f"{hashlib.sha256(host.encode()).hexdigest()[:32]}.json"


class Progress:
    """How far the work for one host is, noted and said every now and then for as long as the context lasts.

    Nothing that goes wrong here may stop the work that it tells of.
    """

    def __init__(self, board: Board, host: str, hosts: int, say: Callable[[str], None]) -> None:
        self._board, self._host, self._hosts, self._say = board, host, hosts, say
        self._part = Part(WORKING)
        self._file: Path | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._board.open()
        self._thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):
            if failure:
                self._board.forget(self._host)
            else:
                self._board.note(self._host, replace(self._part, step=DONE))

    def packing(self, total: int) -> Callable[[int], None]:
        """A pack of ``total`` bytes is made; what is returned hears of each some that are in it."""
        self._part = Part(PACKING, total=total, began=time.time())

        def moved(count: int) -> None:
            self._part = replace(self._part, moved=self._part.moved + count)

        return moved

    def sending(self, path: Path) -> None:
        """The file travels to the host from now on."""
        self._file, self._part = path, Part(SENDING, total=path.stat().st_size, began=time.time())

    def working(self) -> None:
        """The host has all that it needs, and works."""
        self._file, self._part = None, replace(self._part, step=WORKING)

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            with suppress(OSError, ValueError):
                self.tick(time.time())

    def tick(self, now: float) -> None:
        """Note how far it is, and say a line if one is due."""
        part, path = self._part, self._file
        if path is not None:
            part = replace(part, moved=read_position(path, os.getpid()))
        self._board.note(self._host, part)
        if self._board.is_due(now):
            self._say(line(self._board.parts(), self._hosts, now))


def read_position(path: Path, process: int) -> int:
    """How far a process, or one that it started, has read a file, in bytes; 0 where the system does not tell.

    What sends a file is sftp, scp or dd, as the connection wants it, and none of them says how far it is.
    """
    file = os.stat(path)
    positions = [0]
    for each in _family(process):
        with suppress(OSError):  # it has ended meanwhile
            positions += _positions(each, file)
    return max(positions)


def _positions(process: int, file: os.stat_result) -> Iterator[int]:
    for descriptor in os.listdir(f"/proc/{process}/fd"):
        with suppress(OSError):  # it has been closed meanwhile
            opened = os.stat(f"/proc/{process}/fd/{descriptor}")
            if (opened.st_dev, opened.st_ino) == (file.st_dev, file.st_ino):
                lines = Path(f"/proc/{process}/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
                yield from (int(line.split()[1]) for line in lines if line.startswith("pos:"))


def _family(process: int) -> Iterator[int]:
    yield process
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            children = Path(f"/proc/{process}/task/{thread}/children").read_text(encoding="ascii").split()
            for child in children:
                yield from _family(int(child))
