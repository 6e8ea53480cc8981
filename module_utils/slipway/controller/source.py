# SPDX-License-Identifier: GPL-3.0-or-later
"""The source of a release: a directory or an archive, read once, whole, while nobody writes there.

Each byte is read once: the same pass feeds the object, its sha256, and the sha256 of the bundle.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..base.errors import Refusal, shown
from ..base.files import write_sparse
from ..trust.members import CONTROLLER_CHECKS, MAX_MEMBER_BYTES, Findings, inspect, require_sound
from ..trust.tree import FILE, SYMLINK, Entry, FileList, survey
from . import archive, checkout
from .checkout import Checkout
from .descriptor import DESCRIPTOR, Descriptor, read_descriptor

_CHUNK: Final = 1 << 20
_TAR_BLOCK: Final = 512
_ON_DISK: Final = "/var/tmp"  # noqa: S108 - what is made there has a name of its own


@contextmanager
def opened(source: Path, *, max_bytes: int = archive.MAX_BYTES) -> Iterator[tuple[Path, Descriptor]]:
    """Give the source as a directory with its descriptor; an archive is unpacked for as long as it is needed.

    `max_bytes` is the most that an archive may unpack to.
    """
    if source.is_dir():
        yield source, read_descriptor(source)
    elif source.is_file() and archive.is_archive(source):
        with tempfile.TemporaryDirectory(prefix="slipway-", dir=_place_for_much()) as unpacked:
            archive.unpack(source, Path(unpacked), max_bytes=max_bytes)
            yield Path(unpacked), read_descriptor(Path(unpacked))
    else:
        raise Refusal(
            "source_unknown",
            expected=f"a directory or an archive ({', '.join(archive.SUFFIXES)}) at {source}",
            found="another file" if source.exists() else "nothing",
            remedy="Give the path of what is to be released (release_source).",
        )


def _place_for_much() -> str | None:
    """A temporary directory on a disk: /tmp may be memory (Debian 13), and an archive of a model would fill that."""
    return None if "TMPDIR" in os.environ or not os.access(_ON_DISK, os.W_OK) else _ON_DISK


@dataclass(frozen=True)
class Facts:
    """What a source is at the moment: the sha256 of its descriptor and of its file list, and its commit.

    `version` is None when nothing in the source states one; then the release id will be the version.
    """

    application: str
    version: str | None
    kind: str
    name: str
    descriptor_digest: str
    tree_digest: str
    checkout: Checkout


def facts(source: Path, descriptor: Descriptor, content: Content, version: str | None = None) -> Facts:
    """Return what `source` is, of which `content` was read; `version` is one that was asked for."""
    is_directory = source.is_dir()
    return Facts(
        application=descriptor.application,
        version=stated_version(descriptor, content.findings, version),
        kind="directory" if is_directory else "archive",
        name=source.resolve().name or "root",
        descriptor_digest=descriptor.digest,
        tree_digest=content.file_list.digest,
        checkout=checkout.look(source, descriptor.ships) if is_directory else Checkout(),
    )


def facts_now(source: Path, directory: Path, descriptor: Descriptor, version: str | None = None) -> Facts:
    """Read all of an opened source, and return what it is; members that are not sound are refused."""
    content = read(directory, descriptor)
    found = facts(source, descriptor, content, version)
    require_sound(content.findings, found.version or "")
    return found


def stated_version(descriptor: Descriptor, findings: Findings, version: str | None) -> str | None:
    """Return `version`, else the descriptor's, else a member's; a version other than the descriptor's is refused."""
    if version and descriptor.version and version != descriptor.version:
        raise Refusal(
            "version_mismatch",
            expected=f"the version that {DESCRIPTOR} says, {descriptor.version}",
            found=shown(version),
            remedy=f"Give the same version, or leave it out of {DESCRIPTOR}.",
        )
    return version or descriptor.version or next(iter(findings.versions.values()), None)


@dataclass(frozen=True)
class Content:
    """What one reading of a source found; `objects` are the copies in the workspace by sha256."""

    file_list: FileList
    bundle_digest: str
    findings: Findings
    objects: Mapping[str, Path]


class BundleDigest:
    """The sha256 of a release as one tar stream that anyone can make again from its files.

    POSIX pax format; the entries in the order of the file list; owner, group and time 0; then two zero blocks.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def start(self, entry: Entry) -> None:
        """Add the entry's header; its bytes follow by `update`, then `end`."""
        kinds = {FILE: tarfile.REGTYPE, SYMLINK: tarfile.SYMTYPE}
        header = tarfile.TarInfo(entry.path)
        header.type = kinds.get(entry.type, tarfile.DIRTYPE)
        header.mode = entry.mode
        header.size = entry.size
        header.linkname = entry.target
        self._digest.update(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))

    def update(self, data: bytes) -> None:
        """Add some of the bytes of the file that was started."""
        self._digest.update(data)

    def end(self, entry: Entry) -> None:
        """Pad the file that was started to whole blocks."""
        self._digest.update(bytes(-entry.size % _TAR_BLOCK))

    def hexdigest(self) -> str:
        """The digest, with the end of the archive added."""
        final = self._digest.copy()
        final.update(bytes(2 * _TAR_BLOCK))
        return final.hexdigest()


def read(directory: Path, descriptor: Descriptor, workspace: Path | None = None) -> Content:
    """Read every file that would be shipped, once, and copy each into `workspace` if there is one.

    The source is surveyed, read, and surveyed again: Refusal("source_changed") for one that changed meanwhile.
    """
    with _vanishing_is_refused():
        return _read_once(directory, descriptor, workspace)


def _read_once(directory: Path, descriptor: Descriptor, workspace: Path | None) -> Content:
    surveyed = survey(directory, descriptor.skips)
    FileList(tuple([_with_placeholder(entry) for entry in surveyed]))  # refuses a bad tree before it is read
    stamps = _stamps(directory, surveyed)
    parsed = {member.path for member in descriptor.members if member.format != "none"}
    bundle = BundleDigest()
    entries: list[Entry] = []
    kept: dict[str, bytes] = {}
    objects: dict[str, Path] = {}
    for number, entry in enumerate(surveyed):
        bundle.start(entry)
        if entry.type == FILE:
            copy = workspace / str(number) if workspace else None
            sha256, data = _read_file(directory, entry, bundle, copy, keep=entry.path in parsed)
            entries.append(entry._replace(sha256=sha256))
            kept[entry.path] = data
            if copy:
                objects[sha256] = copy
        else:
            entries.append(entry)
        bundle.end(entry)
    if survey(directory, descriptor.skips) != surveyed or _stamps(directory, surveyed) != stamps:
        raise _changed("the source", "files added, removed or changed")
    findings = inspect(descriptor.members, kept.get, CONTROLLER_CHECKS)
    return Content(FileList(tuple(entries)), bundle.hexdigest(), findings, objects)


def _with_placeholder(entry: Entry) -> Entry:
    return entry._replace(sha256="0" * 64) if entry.type == FILE else entry


def _read_file(
    directory: Path, entry: Entry, bundle: BundleDigest, copy: Path | None, *, keep: bool
) -> tuple[str, bytes]:
    """Return the file's sha256, and its bytes when they are to be kept for checking; b"" when not."""
    if keep and entry.size > MAX_MEMBER_BYTES:
        raise Refusal(
            "member_too_large",
            expected=f"{entry.path} with at most {MAX_MEMBER_BYTES} bytes, since it is checked as a member",
            found=f"{entry.size} bytes",
            remedy="Declare it with format: none.",
        )
    digest = hashlib.sha256()
    kept: list[bytes] = []
    descriptor = os.open(f"{directory}/{entry.path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as source, open(copy or os.devnull, "wb", buffering=0) as target:
        left = entry.size + 1  # one more than there should be, to see a file that grows
        while left and (data := source.read(min(left, _CHUNK))):
            left -= len(data)
            digest.update(data)
            bundle.update(data)
            write_sparse(target.fileno(), data)
            if keep:
                kept.append(data)
        if copy:
            target.truncate(entry.size)  # what ends in zeros ends in a hole
    if left != 1:
        raise _changed(entry.path, f"{entry.size + 1 - left} bytes or more instead of {entry.size}")
    return digest.hexdigest(), b"".join(kept)


def _stamps(directory: Path, entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """What a change to a file leaves behind, whoever makes it."""
    statuses = (os.lstat(f"{directory}/{entry.path}") for entry in entries)
    return [(s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in statuses]


@contextmanager
def _vanishing_is_refused() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise _changed(str(error.filename), error.strerror or "another file in its place") from None


def _changed(path: str, found: str) -> Refusal:
    return Refusal(
        "source_changed",
        expected=f"{path} to stay as it is while it is read",
        found=found,
        remedy="Wait until nobody writes there, then make the release again.",
    )
