# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels to a host in one piece: manifest, file list, the resident package if it is outdated, and missing objects.

A GNU tar stream, uncompressed, whose members come in this order: ``manifest.dsse.json``, ``file-list.json``, optionally
``resident.pyz``, then objects named by their SHA-256. The reader takes nothing else, never extracts to a path from the
archive, and reads the stream once.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from ..base.errors import Refusal, shown

MANIFEST = "manifest.dsse.json"
FILE_LIST = "file-list.json"
RESIDENT = "resident.pyz"
OBJECT_NAME = re.compile(r"[0-9a-f]{64}")
MANIFEST_LIMIT = 1 << 20
FILE_LIST_LIMIT = 256 << 20
RESIDENT_LIMIT = 16 << 20
# isreg() takes sparse files too, whose few bytes here could become any number in the store.
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def write(
    destination: IO[bytes],
    *,
    manifest: bytes,
    file_list: bytes,
    resident: bytes | None,
    objects: Iterable[tuple[str, Path]],
) -> None:
    """Write a pack; ``objects`` are pairs of SHA-256 and the file that holds the bytes."""
    with tarfile.open(fileobj=destination, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as archive:
        _add(archive, MANIFEST, manifest)
        _add(archive, FILE_LIST, file_list)
        if resident is not None:
            _add(archive, RESIDENT, resident)
        for sha256, path in objects:
            _add_object(archive, sha256, path)


def _add_object(archive: tarfile.TarFile, sha256: str, path: Path) -> None:
    """Hash while copying: a damaged catalogue is found before anything travels."""
    try:
        with open(path, "rb") as stream:
            hashing = _Hashing(stream)
            member = tarfile.TarInfo(sha256)
            member.size = os.fstat(stream.fileno()).st_size
            archive.addfile(member, hashing)
    except FileNotFoundError:
        raise _damaged(path, "no such file") from None
    if hashing.digest.hexdigest() != sha256:
        raise _damaged(path, f"bytes with sha256 {hashing.digest.hexdigest()}")


class _Hashing:
    """What TarFile.addfile reads from."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


def _damaged(path: Path, found: str) -> Refusal:
    return Refusal(
        "catalogue_damaged",
        expected=f"in {path} the bytes that its name promises",
        found=found,
        remedy="Build the release again from its source: that mends the catalogue.",
    )


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


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

    def __init__(self, source: IO[bytes]) -> None:
        with _damage_is_a_refusal():
            self._archive = tarfile.open(fileobj=source, mode="r|", bufsize=1 << 20)  # noqa: SIM115 - its source is the caller's
        self._members = iter(self._archive)
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
            yield Object(member.name, member.size, self._stream(member))
            member = self._next()

    def _document(self, name: str, limit: int) -> bytes:
        member = self._next()
        if member is None or member.name != name:
            raise _invalid(f"{shown(member.name) if member else 'the end'} where {name} belongs")
        return self._bytes(member, limit)

    def _bytes(self, member: tarfile.TarInfo, limit: int) -> bytes:
        if member.size > limit:
            raise _invalid(f"{member.name} with {member.size} bytes (at most {limit})")
        return self._stream(member).read()

    def _next(self) -> tarfile.TarInfo | None:
        with _damage_is_a_refusal():
            member = next(self._members, None)
        if member is not None and (member.type not in PLAIN or member.issparse() or member.size < 0):
            raise _invalid(f"{shown(member.name)}, which is no plain file")
        return member

    def _stream(self, member: tarfile.TarInfo) -> Readable:
        with _damage_is_a_refusal():
            return _Member(cast(IO[bytes], self._archive.extractfile(member)))


class _Member:
    """A member's bytes; a pack that ends or breaks inside them is refused like one that breaks between members."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        with _damage_is_a_refusal():
            return self._stream.read(size)


@contextmanager
def _damage_is_a_refusal() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _invalid(str(error)) from error


def _invalid(found: str) -> Refusal:
    return Refusal(
        "pack_invalid",
        expected="a pack as the controller writes it",
        found=found,
        remedy="Run the same command again; if it comes again, something between controller and host alters data.",
    )
