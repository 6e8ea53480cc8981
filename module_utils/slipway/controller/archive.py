# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacking an archive that may be hostile: .tar, .tar.gz, .tgz or .zip, into an empty directory.

The standard library reads the formats but believes them: it takes the same member twice, ends quietly at a damaged
header, and writes through links that the archive made before. So nothing is extracted by it. Each member's name, type
and size are judged here, files are written one by one, and links are made when all files are there.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NoReturn, cast

from ..base.errors import Refusal, shown
from ..base.files import COPY_BYTES, write_sparse
from ..trust.tree import DIRECTORY, FILE, MAX_TARGET_BYTES, PLAIN_MODE, SYMLINK, normal_mode, require_path

SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".zip")
MAX_MEMBERS: Final = 1_000_000
MAX_BYTES: Final = 16 << 30
_MAX_PADDING: Final = 1 << 20
_ENCRYPTED: Final = 0x1
_UNIX: Final = 3


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive that can be unpacked here."""
    return path.name.endswith(SUFFIXES)


def unpack(archive: Path, directory: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write what is in `archive` to the empty `directory`, or raise Refusal; modes are normalised.

    A refusal may leave some files in `directory`. Unpacked files may hold `max_bytes` altogether.
    """
    unpacked = _Unpacked(archive.name, directory, max_bytes)
    with _malformed_is_refused(archive.name):
        if archive.name.endswith(".zip"):
            _unpack_zip(archive, unpacked)
        else:
            _unpack_tar(archive, unpacked)
        unpacked.make_links()


def _refuse(reason: str, expected: str, found: str) -> NoReturn:
    raise Refusal(reason, expected=expected, found=found, remedy="Make the archive again from its source.")


@contextmanager
def _malformed_is_refused(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError) as error:
        _refuse("archive_malformed", f"{name} to be a whole archive", shown(str(error)))
    except OSError as error:
        # gzip.BadGzipFile is an OSError without a number, and a zip's offset before its beginning an invalid argument.
        if error.errno not in (None, errno.EINVAL):
            raise
        _refuse("archive_malformed", f"{name} to be a whole archive", shown(str(error)))


class _Unpacked:
    """The files written so far, and the rules that each further one must keep."""

    def __init__(self, name: str, directory: Path, max_bytes: int) -> None:
        self._name = name
        self._directory = directory
        self._left = max_bytes
        self._kinds: dict[str, str] = {}
        self._declared: set[str] = set()
        self._links: dict[str, str] = {}

    def admit(self, raw: str, kind: str, size: int = 0) -> str:
        """Return the path of a member in the tree, its parents made; "" for the root itself."""
        path = raw.removeprefix("./")
        if kind == DIRECTORY:
            path = path.removesuffix("/")
        if path in ("", ".") and kind == DIRECTORY:
            return ""
        require_path(path)
        if path in self._declared:
            _refuse("archive_duplicate", f"each member of {self._name} once", path)
        if len(self._declared) == MAX_MEMBERS or size > self._left:
            _refuse("archive_too_large", f"{self._name} to unpack within its limits", f"{path} with {size} bytes")
        self._left -= size
        self._declared.add(path)
        parent = posixpath.dirname(path)
        if parent:
            self._make_directory(parent)
        if kind == DIRECTORY:
            self._make_directory(path)
        elif path in self._kinds:
            _refuse("archive_duplicate", f"one type for each member of {self._name}", path)
        else:
            self._kinds[path] = kind
        return path

    def _make_directory(self, path: str) -> None:
        kind = self._kinds.get(path)
        if kind == DIRECTORY:
            return
        if kind is not None:
            _refuse("archive_through_link", f"{path} in {self._name} to be a directory", f"a {kind}")
        parent = posixpath.dirname(path)
        if parent:
            self._make_directory(parent)
        (self._directory / path).mkdir(mode=0o755)
        self._kinds[path] = DIRECTORY

    def write(self, path: str, mode: int, stream: IO[bytes]) -> None:
        """Write one file; `stream` ends with it, and the standard library refuses one that is cut."""
        with open(self._directory / path, "xb", buffering=0) as target:
            while data := stream.read(COPY_BYTES):
                write_sparse(target.fileno(), data)
            target.truncate(target.tell())  # what ends in zeros ends in a hole
        os.chmod(self._directory / path, normal_mode(path, FILE, mode))

    def link(self, path: str, target: str) -> None:
        """Remember a symbolic link; where it leads is judged with the whole tree."""
        self._links[path] = target

    def make_links(self) -> None:
        for path, target in self._links.items():
            if "\0" in target or not target or len(os.fsencode(target)) > MAX_TARGET_BYTES:
                _refuse("link_unsafe", f"{path} to have a short, printable target", shown(target))
            os.symlink(target, self._directory / path)


class _StrictHeader(tarfile.TarInfo):
    """A tar header that is refused where the standard library would look away."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:  # TarFile.next() takes this for the end of the archive
            _refuse("archive_malformed", "a whole archive with sound headers", shown(str(error)))
        for field in (bytes(buf[0:100]), bytes(buf[157:257])):
            if field.partition(b"\0")[2].strip(b"\0"):
                _refuse(
                    "archive_name",
                    "archive members with names that end once",
                    f"{shown(field)}, with bytes after its end",
                )
        return header


def _unpack_tar(archive: Path, unpacked: _Unpacked) -> None:
    mode = "r:" if archive.name.endswith(".tar") else "r:gz"
    with tarfile.open(archive, mode, tarinfo=_StrictHeader, errors="surrogateescape") as tar:  # type: ignore[call-overload]
        for member in tar:
            _unpack_tar_member(tar, member, unpacked)
        _require_padding(archive.name, cast(IO[bytes], tar.fileobj))


def _unpack_tar_member(tar: tarfile.TarFile, member: tarfile.TarInfo, unpacked: _Unpacked) -> None:
    if member.isdir():
        normal_mode(member.name, DIRECTORY, member.mode)
        unpacked.admit(member.name, DIRECTORY)
    elif member.issym():
        unpacked.link(unpacked.admit(member.name, SYMLINK), member.linkname)
    elif member.isreg() and not member.issparse():
        path = unpacked.admit(member.name, FILE, member.size)
        with cast(IO[bytes], tar.extractfile(member)) as stream:
            unpacked.write(path, member.mode, stream)
    elif member.islnk():
        _refuse("archive_hardlink", "an archive made with tar --hard-dereference", f"the hard link {member.name}")
    else:
        kind = "sparse file" if member.issparse() else f"member of type {shown(member.type)}"
        _refuse("file_special", f"{member.name} to be a file, directory or symbolic link", f"a {kind}")


def _require_padding(name: str, stream: IO[bytes]) -> None:
    """Refuse bytes after the end of a tar: a second archive there would be read by some programs and not by others."""
    padding = stream.read(_MAX_PADDING + 1)
    if padding.strip(b"\0") or len(padding) > _MAX_PADDING:
        _refuse("archive_malformed", f"nothing after the end of {name}", "further bytes")


def _unpack_zip(archive: Path, unpacked: _Unpacked) -> None:
    with zipfile.ZipFile(archive) as package:
        for member in package.infolist():
            _unpack_zip_member(package, member, unpacked)


def _unpack_zip_member(package: zipfile.ZipFile, member: zipfile.ZipInfo, unpacked: _Unpacked) -> None:
    mode = member.external_attr >> 16 if member.create_system == _UNIX else 0
    kind = _zip_kind(member, mode)
    if member.flag_bits & _ENCRYPTED:
        _refuse("archive_encrypted", "an archive without a password", f"{member.filename} encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may ask for gigabytes of memory
        _refuse("archive_compression", "an archive that is stored or deflated", f"method {member.compress_type}")
    path = unpacked.admit(member.orig_filename, kind, member.file_size)
    if kind == DIRECTORY:
        normal_mode(path, kind, mode)
        return
    with package.open(member) as stream:
        if kind == SYMLINK:
            target = stream.read(MAX_TARGET_BYTES + 1)
            unpacked.link(path, target.decode("utf-8"))
        else:
            unpacked.write(path, stat.S_IMODE(mode) or PLAIN_MODE, stream)


def _zip_kind(member: zipfile.ZipInfo, mode: int) -> str:
    kind = stat.S_IFMT(mode)
    if member.is_dir():
        return DIRECTORY
    if kind == stat.S_IFLNK:
        return SYMLINK
    if kind not in (0, stat.S_IFREG):
        _refuse("file_special", f"{member.filename} to be a file, directory or symbolic link", f"file type {kind:o}")
    return FILE
