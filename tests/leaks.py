# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for what must be nowhere: in files, in archives inside of them, and in what every process of this machine shows of itself while a command runs.

A canary is a value with every mark that quoting changes around a word of letters and digits, which no quoting changes: it is enough to find the
word. So what has to be undone are encodings of bytes only: base64 at its three alignments, base64 across lines, hexadecimal, and compression. This shares
nothing with the code that masks output.
"""

from __future__ import annotations

import base64
import io
import os
import re
import secrets
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

WORD_LENGTH = 20
SETTLED = 10
UNPACKED_LIMIT = 4 << 20
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_FOLDED = re.compile(rb"[\s\\\"']+")


@dataclass(frozen=True)
class Canary:
    """A value that is to pass through somewhere, called by what it is for."""

    name: str
    word: str = field(default_factory=lambda: "Zq" + secrets.token_hex(WORD_LENGTH // 2 - 1))

    @property
    def value(self) -> str:
        """With every mark that shells, JSON, YAML and URLs write otherwise."""
        return f"p\"{self.word}'$ +/=%ü"

    @property
    def plain(self) -> str:
        """Where a value may be one word of plain letters only."""
        return f"plain-{self.word}"

    @property
    def needles(self) -> dict[str, bytes]:
        """What its word is in each encoding of bytes."""
        data = self.word.encode()
        found = {"literal": data, "hexadecimal": data.hex().encode(), "HEXADECIMAL": data.hex().upper().encode()}
        for shift in range(3):
            bits = base64.b64encode(b"\0" * shift + data)
            found[f"base64 shifted by {shift}"] = bits[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        return found


@dataclass(frozen=True)
class Hit:
    """A canary where none may be."""

    canary: str
    form: str
    where: str


@dataclass
class Search:
    """Looks for canaries, and counts what it looked at."""

    canaries: list[Canary]
    files: int = 0
    bytes: int = 0
    samples: int = 0
    processes: int = 0
    archives: int = 0
    hits: list[Hit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._needles: list[tuple[str, str, bytes]] = []
        self._shown: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        known, self.canaries = self.canaries, []
        for canary in known:
            self.expect(canary)

    def expect(self, canary: Canary) -> None:
        """From now on look for this one too, and in what processes have shown so far."""
        self.canaries.append(canary)
        needles = [(canary.name, form, needle) for form, needle in canary.needles.items()]
        self._needles = [*self._needles, *needles]
        for where, data in self._shown:
            self.hits += [Hit(name, form, where) for name, form, needle in needles if needle in data]

    def data(self, data: bytes, where: str) -> list[Hit]:
        """Look into bytes, and into what is packed in them; returns what was found there."""
        self.bytes += len(data)
        found = {(name, form) for name, form, needle in self._needles if needle in data}
        folded = _FOLDED.sub(b"", data)
        found |= {
            (name, f"{form}, folded")
            for name, form, needle in self._needles
            if needle in folded and (name, form) not in found
        }
        for unpacked in self._unpacked(data):
            self.archives += 1
            found |= {(name, f"{form}, packed") for name, form, needle in self._needles if needle in unpacked}
        hits = [Hit(name, form, where) for name, form in sorted(found)]
        with self._lock:
            self.hits += hits
        return hits

    def text(self, text: str, where: str) -> list[Hit]:
        return self.data(text.encode("utf-8", "surrogateescape"), where)

    def tree(self, top: Path, *, but: Iterable[str] = ()) -> int:
        """Look into every file below a directory and into its name, but below the paths in ``but``; returns how many that were."""
        before = self.files
        excepted = tuple(str(top / each) for each in but)
        for directory, below, names in os.walk(top):
            below[:] = [name for name in below if os.path.join(directory, name) not in excepted]
            for name in names:
                path = os.path.join(directory, name)
                if path in excepted:
                    continue
                try:
                    if stat.S_ISREG(os.lstat(path).st_mode):
                        with open(path, "rb") as stream:
                            self.data(stream.read() + b"\n" + os.fsencode(name), path)
                        self.files += 1
                    elif os.path.islink(path):
                        self.data(os.fsencode(os.readlink(path)), path)
                except FileNotFoundError:  # gone meanwhile
                    continue
        return self.files - before

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look at the command lines and environments of all processes, hosts of the lab included, again and again while the block runs."""
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(over,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _watch(self, over: threading.Event) -> None:
        seen: set[tuple[str, bytes]] = set()
        rounds: dict[str, int] = {}
        own = str(os.getpid())
        while True:
            is_last = over.is_set()
            there = {name for name in os.listdir("/proc") if name.isdigit() and name != own}
            rounds = {process: rounds.get(process, 0) + 1 for process in there}
            for process, number in rounds.items():
                # One that is new may become another program yet; one that is old seldom says something else.
                if number <= SETTLED or number % SETTLED == 0:
                    self._sample(process, seen)
            self.samples += 1
            self.processes = len({process for process, _ in seen})
            if is_last:
                return
            over.wait(0.02)

    def _sample(self, process: str, seen: set[tuple[str, bytes]]) -> None:
        for what in ("cmdline", "environ"):
            try:
                with open(f"/proc/{process}/{what}", "rb") as stream:
                    data = stream.read()
            except OSError:  # it ended
                continue
            if (process, data) not in seen:
                seen.add((process, data))
                where = f"/proc/{process}/{what}: {data[:80]!r}"
                self._shown.append((where, data))
                self.data(data, where)

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        """What is compressed or archived in bytes, also where that is written in base64."""
        if len(data) > UNPACKED_LIMIT:
            return
        yield from _inflated(data)
        for run in _BASE64.findall(data):
            if len(run) > 64:
                try:
                    decoded = base64.b64decode(run[: len(run) // 4 * 4])
                except ValueError:
                    continue
                yield decoded  # what is in base64 may have been so before
                yield from _inflated(decoded)

    @property
    def summary(self) -> str:
        """What was looked at."""
        return (
            f"searched {self.files} files, {self.bytes >> 10} KiB, {self.archives} archives in them, {self.samples} samples of {self.processes} processes, "
            f"for {len(self.canaries)} canaries in {len(self.canaries[0].needles)} encodings each, also folded: {len(self.hits)} hits"
        )


def _inflated(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PK\x03\x04":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for name in archive.namelist():
                    yield archive.read(name)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
            return
    elif data[:2] in (b"\x1f\x8b", b"\x78\x9c", b"\x78\xda", b"\x78\x01"):
        try:
            yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, UNPACKED_LIMIT)
        except zlib.error:
            return
