# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that are appended and never rewritten, each with the hash of the one before: a changed, dropped or swapped line shows.

A line is canonical JSON (RFC 8785) and LF. ``seq`` counts from 0; ``prev_hash`` is the RFC 6962 leaf hash of the line
before (its bytes without the LF), and for the first line the RFC 6962 hash of an empty tree.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import fsync_directory, write_all, write_durable
from . import merkle

EMPTY_TREE = merkle.EMPTY_ROOT.hex()
LINE_LIMIT = 4 << 20
TAIL_BYTES = 64 * 1024
Record = Mapping[str, Any]


def leaf_hash(line: bytes) -> str:
    """RFC 6962 section 2.1: SHA-256 over 0x00 and the leaf."""
    return merkle.leaf_hash(line).hex()


@dataclass(frozen=True)
class Chain:
    """A file of chained lines. What kind of file it is, and what is said of one that was altered, its kinds say."""

    path: Path

    def opened(self, flags: int) -> int:
        """A descriptor of the file; FileNotFoundError where there is none and ``flags`` do not create it."""
        raise NotImplementedError

    def content(self) -> bytes:
        """All bytes of the file, none where there is no file."""
        raise NotImplementedError

    def altered(self, where: str, found: str) -> Refusal:
        """What is said of a line that is not the one that was written."""
        raise NotImplementedError

    def append(self, record: Record) -> Record:
        """Append one record durably and return it with its ``seq`` and ``prev_hash``. One at a time: the caller has a lock.

        1. A torn last line (no LF: a crash in the middle of a write) is set aside beside the file; the chain goes on
           from the last whole line, and the record names what was set aside.
        2. One write, one fsync; for a new file the directory too. A failed write is cut off again.
        """
        created = not self.path.exists()
        descriptor = self.opened(os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            last, end, torn = self._tail(descriptor)
            extra: dict[str, Any] = {}
            if torn:
                extra["torn_line"] = self._set_aside(descriptor, end, torn)
            seq, prev_hash = (last["seq"] + 1, leaf_hash(canonical.encode(last))) if last else (0, EMPTY_TREE)
            complete = {**record, **extra, "seq": seq, "prev_hash": prev_hash}
            try:
                write_all(descriptor, canonical.encode(complete) + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        if created:
            fsync_directory(self.path.parent)
        return complete

    def _set_aside(self, descriptor: int, end: int, torn: bytes) -> str:
        aside = self.path.with_name(f"{self.path.name}.torn-{end}")
        write_durable(aside, torn, mode=0o600)
        os.ftruncate(descriptor, end)
        return aside.name

    def records(self) -> list[Record]:
        """Every whole line, oldest first, with its chain checked; a torn last line is left out.

        Refusal as ``altered`` says when a line is not canonical JSON or does not continue the one before.
        """
        lines = self.lines()[0]
        was_enabled = gc.isenabled()
        gc.disable()  # records are plain data without cycles: looking for some doubles the time of a long file
        try:
            return list(self.parsed(lines))
        finally:
            if was_enabled:
                gc.enable()

    def lines(self) -> tuple[list[bytes], bytes]:
        """Every whole line without its LF, oldest first and unchecked, and the bytes of a torn last one."""
        *whole, torn = self.content().split(b"\n")
        return whole, torn

    def parsed(self, lines: Iterable[bytes]) -> Iterator[Record]:
        """The records in ``lines``, each checked when its turn comes; Refusal as for `records`."""
        expected = EMPTY_TREE
        for number, line in enumerate(lines):
            where = f"line {number + 1}"
            record = self._parsed(line, where)
            if record.get("seq") != number or record.get("prev_hash") != expected:
                raise self.altered(where, "a line that does not continue the one before")
            expected = leaf_hash(line)
            yield record

    def _parsed(self, line: bytes, where: str) -> Record:
        try:
            record = canonical.parse_canonical(line, what="a record", limit=LINE_LIMIT)
        except Refusal as refusal:
            raise self.altered(where, str(refusal)) from refusal
        if not isinstance(record, dict) or type(record.get("seq")) is not int:
            raise self.altered(where, "a line that is no record")
        return record

    def last(self) -> Record | None:
        """The newest whole record, read from the end: its cost does not grow with the file."""
        try:
            descriptor = self.opened(os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return self._tail(descriptor)[0]
        finally:
            os.close(descriptor)

    def _tail(self, descriptor: int) -> tuple[Record | None, int, bytes]:
        """The last whole record, where the whole lines end, and the torn bytes behind them."""
        size = os.fstat(descriptor).st_size
        window, start, data, line_feeds = TAIL_BYTES, size, b"", 0
        while start > 0 and line_feeds < 2 and window <= 4 * LINE_LIMIT:
            start = max(0, size - window)
            data = os.pread(descriptor, size - start, start)
            line_feeds, window = data.count(b"\n"), window * 2
        if line_feeds == 0 and start == 0:
            return None, 0, data
        whole, _, torn = data.rpartition(b"\n")
        return self._parsed(whole.rpartition(b"\n")[2], "the last line"), size - len(torn), torn
