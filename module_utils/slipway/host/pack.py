# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels to a host in one piece: manifest, file list, the resident package if it is outdated, and missing objects.

A stream of members, each a line ``<name> <size>`` and so many bytes, in this order: ``manifest.dsse.json``,
``file-list.json``, optionally ``resident.pyz``, then objects named by their SHA-256. The stream is cut into blocks of at most
1 MiB. A block is two lengths (4 bytes each, big-endian: of its content, and of what follows) and its content, deflated
where that is shorter; two zeros end the pack. No name from it becomes a path, nobody needs more of it in memory than a block,
and what a block becomes is bounded by a length that is known before.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

from ..base.errors import Refusal, shown

MAGIC: Final = b"slipway pack 1\n"
MANIFEST = "manifest.dsse.json"
FILE_LIST = "file-list.json"
RESIDENT = "resident.pyz"
OBJECT_NAME = re.compile(r"[0-9a-f]{64}")
MANIFEST_LIMIT = 1 << 20
FILE_LIST_LIMIT = 256 << 20
RESIDENT_LIMIT = 16 << 20
BLOCK_BYTES: Final = 1 << 20
_LENGTHS: Final = struct.Struct(">II")
_HEADER: Final = re.compile(rb"([a-z0-9.-]{1,64}) (0|[1-9][0-9]{0,17})")
_HEADER_LIMIT: Final = 100
# Measured: level 1 packs text at 120 MiB/s to 0.29 of its size, level 6 at 33 MiB/s to 0.24; either tries noise at 48 MiB/s in vain.
_LEVEL: Final = 1
_SAMPLE_BYTES: Final = 4096
_SAMPLES: Final = 4
_WORTH_IT: Final = 0.8  # float weights reach 0.93, and inflate more slowly than a network brings them
_THREADS: Final = min(4, os.cpu_count() or 1)

Moved = Callable[[int], None]


def unheard(_count: int) -> None:
    """Where nobody wants to know how many bytes have gone."""


def write(
    destination: IO[bytes],
    *,
    manifest: bytes,
    file_list: bytes,
    resident: bytes | None,
    objects: Iterable[tuple[str, Path]],
    moved: Moved = unheard,
) -> None:
    """Write a pack; ``objects`` are pairs of SHA-256 and the file that holds the bytes, ``moved`` hears of each some read."""
    destination.write(MAGIC)
    with ThreadPoolExecutor(_THREADS) as pool:
        blocks = _BlockWriter(destination, pool)
        for name, data in ((MANIFEST, manifest), (FILE_LIST, file_list), (RESIDENT, resident)):
            if data is not None:
                blocks.write(_header(name, len(data)))
                blocks.write(data)
        for sha256, path in objects:
            _write_object(blocks, sha256, path, moved)
        blocks.end()


def _header(name: str, size: int) -> bytes:
    return b"%s %d\n" % (name.encode("ascii"), size)


def _write_object(blocks: _BlockWriter, sha256: str, path: Path, moved: Moved) -> None:
    """Hash while copying: a damaged catalogue is found before anything travels."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as stream:
            size = left = os.fstat(stream.fileno()).st_size
            blocks.write(_header(sha256, size))
            while data := stream.read(min(left, BLOCK_BYTES)):
                left -= len(data)
                digest.update(data)
                blocks.write(data)
                moved(len(data))
    except FileNotFoundError:
        raise _damaged(path, "no such file") from None
    if left or digest.hexdigest() != sha256:
        raise _damaged(path, f"bytes with sha256 {digest.hexdigest()}")


class _BlockWriter:
    """Cuts what is written into blocks and deflates several at a time; few enough wait to keep memory flat."""

    def __init__(self, destination: IO[bytes], pool: ThreadPoolExecutor) -> None:
        self._destination = destination
        self._pool = pool
        self._pending = bytearray()
        self._waiting: deque[Future[tuple[bytes, bytes]]] = deque()

    def write(self, data: bytes) -> None:
        """What is small waits for more; a whole block of a large file is one as it is, without being copied."""
        if len(self._pending) + len(data) > BLOCK_BYTES:
            self._flush()
        for start in range(0, len(data), BLOCK_BYTES):
            piece = data[start : start + BLOCK_BYTES]
            if len(piece) == BLOCK_BYTES:
                self._submit(piece)
            else:
                self._pending += piece

    def end(self) -> None:
        self._flush()
        while self._waiting:
            self._destination.writelines(self._waiting.popleft().result())
        self._destination.write(_LENGTHS.pack(0, 0))

    def _flush(self) -> None:
        if self._pending:
            self._submit(bytes(self._pending))
            self._pending.clear()

    def _submit(self, block: bytes) -> None:
        self._waiting.append(self._pool.submit(_framed, block))
        if len(self._waiting) > _THREADS:
            self._destination.writelines(self._waiting.popleft().result())


def _framed(block: bytes) -> tuple[bytes, bytes]:
    """The lengths of a block and what follows them: deflated where a sample says that it pays, and it does."""
    stored = block
    if _is_worth_it(block):
        deflated = zlib.compress(block, _LEVEL)
        stored = deflated if len(deflated) < len(block) else block
    return _LENGTHS.pack(len(block), len(stored)), stored


def _is_worth_it(block: bytes) -> bool:
    step = max(len(block) // _SAMPLES, _SAMPLE_BYTES)
    sample = b"".join(block[start : start + _SAMPLE_BYTES] for start in range(0, len(block), step))
    return len(zlib.compress(sample, _LEVEL)) < _WORTH_IT * len(sample)


def _damaged(path: Path, found: str) -> Refusal:
    return Refusal(
        "catalogue_damaged",
        expected=f"in {path} the bytes that its name promises",
        found=found,
        remedy="Build the release again from its source: that mends the catalogue.",
    )


class Readable(Protocol):
    """What an object's bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Object:
    """The bytes of one file on their way into the store; read ``stream`` before the next one is asked for."""

    sha256: str
    size: int
    stream: Readable


class Pack:
    """Reads a pack front to back."""

    def __init__(self, source: Readable) -> None:
        self._blocks = _BlockReader(source)
        self.manifest = self._document(MANIFEST, MANIFEST_LIMIT)
        self.file_list = self._document(FILE_LIST, FILE_LIST_LIMIT)
        self.resident: bytes | None = None
        self._ahead = self._next()
        if self._ahead is not None and self._ahead.name == RESIDENT:
            self.resident = self._bytes(self._ahead, RESIDENT_LIMIT)
            self._ahead = self._next()

    def objects(self) -> Iterator[Object]:
        """Each object once, in the order of the pack."""
        seen: set[str] = set()
        member = self._ahead
        while member is not None:
            if not OBJECT_NAME.fullmatch(member.name) or member.name in seen:
                raise _invalid(f"the member {shown(member.name)}")
            seen.add(member.name)
            yield Object(member.name, member.size, member)
            member.skip()
            member = self._next()

    def _document(self, name: str, limit: int) -> bytes:
        member = self._next()
        if member is None or member.name != name:
            raise _invalid(f"{shown(member.name) if member else 'the end'} where {name} belongs")
        return self._bytes(member, limit)

    def _bytes(self, member: _Member, limit: int) -> bytes:
        if member.size > limit:
            raise _invalid(f"{member.name} with {member.size} bytes (at most {limit})")
        return b"".join(iter(lambda: member.read(BLOCK_BYTES), b""))

    def _next(self) -> _Member | None:
        line = self._blocks.line()
        if line is None:
            return None
        found = _HEADER.fullmatch(line)
        if not found:
            raise _invalid(f"{shown(line)} where the name and size of a member belong")
        return _Member(found[1].decode("ascii"), int(found[2]), self._blocks)


class _Member:
    """A member's name, size and bytes; a pack that ends or breaks inside them is refused."""

    def __init__(self, name: str, size: int, blocks: _BlockReader) -> None:
        self.name = name
        self.size = size
        self._left = size
        self._blocks = blocks

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, b"" at the member's end; without ``size`` all that is left."""
        if size < 0:
            return b"".join(iter(lambda: self.read(BLOCK_BYTES), b""))
        wanted = min(size, self._left)
        if not wanted:
            return b""
        data = self._blocks.read(wanted)
        if not data:
            raise _invalid(f"the end within {self.name}")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what nobody has read of it."""
        while self.read(BLOCK_BYTES):
            pass


class _BlockReader:
    """The stream of members, block by block."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._block = b""
        self._place = 0
        if self._exactly(len(MAGIC)) != MAGIC:
            raise _invalid("something else from the first bytes on")

    def read(self, size: int) -> bytes:
        """Between 1 and ``size`` bytes; b"" when the pack is over."""
        if self._place == len(self._block):
            self._block, self._place = self._read_block(), 0
        data = self._block[self._place : self._place + size]
        self._place += len(data)
        return data

    def line(self) -> bytes | None:
        """The next line without its end, of at most 100 bytes; None when the pack is over."""
        found = b""
        while len(found) < _HEADER_LIMIT:
            if self._place == len(self._block):
                self._block, self._place = self._read_block(), 0
                if not self._block and not found:
                    return None
                if not self._block:
                    break
            end = self._block.find(b"\n", self._place, self._place + _HEADER_LIMIT)
            if end >= 0:
                found += self._block[self._place : end]
                self._place = end + 1
                return found
            found += self.read(_HEADER_LIMIT)
        raise _invalid(f"{shown(found)} where the name and size of a member belong")

    def _read_block(self) -> bytes:
        size, stored = _LENGTHS.unpack(self._exactly(_LENGTHS.size))
        if size == stored == 0:
            return b""
        if not 0 < stored <= size <= BLOCK_BYTES:
            raise _invalid(f"a block of {size} bytes in {stored}")
        data = self._exactly(stored)
        return data if stored == size else _inflated(data, size)

    def _exactly(self, size: int) -> bytes:
        """So many bytes, in as many reads as a pipe needs for them."""
        pieces, left = [], size
        while left:
            data = self._source.read(left)
            if not data:
                raise _invalid("an end in its midst")
            pieces.append(data)
            left -= len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _inflated(data: bytes, size: int) -> bytes:
    """The block of exactly ``size`` bytes that ``data`` is the whole deflated form of; one more is never made."""
    inflating = zlib.decompressobj()
    try:
        block = inflating.decompress(data, size + 1)
    except zlib.error as error:
        raise _invalid(str(error)) from error
    if len(block) != size or not inflating.eof or inflating.unused_data:
        raise _invalid(f"a block that does not inflate to the {size} bytes that it says")
    return block


def _invalid(found: str) -> Refusal:
    return Refusal(
        "pack_invalid",
        expected="a pack as the controller writes it",
        found=found,
        remedy="Run the same command again; if it comes again, something between controller and host alters data.",
    )
