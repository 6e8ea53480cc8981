# SPDX-License-Identifier: GPL-3.0-or-later
"""The release store of one application on a host.

Bytes are kept once, as ``.objects/<first two hex>/<sha256>.<mode>``, and hardlinked into releases, so a release costs
what changed. A release is built under a ``.staging-`` name and gets its own by one rename when all of it is on disk:
a complete name is a complete release. ``current`` is the only thing that says what is active.

Everything that writes here runs under ``lease.exclusive``, so a ``.staging-`` name seen by the next one is garbage.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import secrets
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

from ..base.errors import Refusal
from ..base.files import (
    COPY_BYTES,
    fsync_directory,
    read_link,
    remove_tree,
    sha256_of_open,
    sync_file_system,
    write_sparse,
)
from ..trust.tree import EXECUTABLE_MODE, PLAIN_MODE, READERS, Entry, FileList, batches
from .incoming import Incoming
from .pack import Object
from .places import Places

STAGING = ".staging-"
RELEASES = "releases/"
DIRECTORY_MODE = 0o755


@dataclass(frozen=True)
class Store:
    """Objects and releases below ``/srv/<application>``."""

    places: Places

    def current(self) -> str | None:
        """The active release: what the link says. Refusal ``current_invalid`` when it says anything but a release."""
        said = read_link(self.places.current)
        if said is None:
            return None
        release = said.removeprefix(RELEASES)
        if not said.startswith(RELEASES) or "/" in release or release.startswith("."):
            raise Refusal(
                "current_invalid",
                expected=f"{self.places.current} to be a link to releases/<release_id>",
                found=said,
                remedy="Point it by hand at the release that is to run: ln -sfn releases/<release_id> current",
            )
        return release

    def release(self, release_id: str) -> Path:
        return self.places.releases / release_id

    def holds(self, release_id: str) -> bool:
        """Whether the release is here, whole."""
        return self.release(release_id).is_dir()

    def release_ids(self) -> list[str]:
        """Complete releases, by name."""
        if not self.places.releases.is_dir():
            return []
        return sorted(path.name for path in self.places.releases.iterdir() if not path.name.startswith("."))

    def object(self, entry: Entry) -> Path:
        return Path(self._name(entry))

    @cached_property
    def _objects(self) -> str:
        return os.fspath(self.places.objects)

    def _name(self, entry: Entry) -> str:
        """An object's path; a release has a hundred thousand of them, too many for Path."""
        return f"{self._objects}/{entry.sha256[:2]}/{entry.sha256}.{entry.mode:04o}"

    def _temporary_name(self) -> str:
        return f"{self._objects}/{STAGING}{secrets.token_hex(8)}"

    def lacking(self, file_list: FileList) -> set[str]:
        """The SHA-256 of every file whose bytes are not here, or are here but altered. Reads each object once.

        Bytes that are here under another mode only are not lacking: ``build`` copies them.
        """
        wanted = {(entry.sha256, entry.mode): entry for entry in file_list.files}.values()
        with ThreadPoolExecutor(READERS) as pool:
            states = list(chain.from_iterable(pool.map(self._states, batches(wanted))))
        altered = {entry.sha256 for entry, intact in zip(wanted, states, strict=True) if intact is False}
        here = {entry.sha256 for entry, intact in zip(wanted, states, strict=True) if intact}
        seen = altered | here
        unseen = {entry.sha256: entry for entry in wanted if entry.sha256 not in seen}
        return altered | {sha256 for sha256, entry in unseen.items() if self._under_another_mode(entry) is None}

    def _states(self, entries: Iterable[Entry]) -> list[bool | None]:
        return [_is_intact(self._name(entry), entry) for entry in entries]

    def put(self, incoming: Object, entries: Iterable[Entry], created: int) -> None:
        """Store an object under every mode that the list has for it; refused unless its bytes have its name."""
        first, *others = sorted(entries, key=lambda entry: entry.mode)
        if incoming.size != first.size:
            raise _altered(first, f"{incoming.size} bytes")  # before a byte of it fills the disk
        temporary = self._temporary_name()
        digest, size = hashlib.sha256(), 0
        try:
            with open(temporary, "xb", buffering=0) as stream:
                while chunk := incoming.stream.read(COPY_BYTES):
                    size += len(chunk)
                    digest.update(chunk)
                    write_sparse(stream.fileno(), chunk)
                if digest.hexdigest() != first.sha256 or size != first.size:
                    raise _altered(first, f"{size} bytes with sha256 {digest.hexdigest()}")
                self._finish(stream.fileno(), first, created)
            self._rename(temporary, first)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        for other in others:
            self._copy(self.object(first), other)

    def _finish(self, descriptor: int, entry: Entry, created: int) -> None:
        os.ftruncate(descriptor, entry.size)  # what ends in zeros ends in a hole
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, (created, created))

    def _rename(self, temporary: str, entry: Entry) -> None:
        path = self._name(entry)
        try:
            os.rename(temporary, path)
        except FileNotFoundError:
            os.makedirs(posixpath.dirname(path), mode=0o700, exist_ok=True)
            os.rename(temporary, path)

    def adopt(self, path: Path, entries: Iterable[Entry], created: int) -> None:
        """Take a file on this file system whose bytes were verified as an object, under every mode that the list has for it."""
        first, *others = sorted(entries, key=lambda entry: entry.mode)
        os.chmod(path, first.mode)
        os.utime(path, (created, created))
        self._rename(os.fspath(path), first)
        for other in others:
            self._copy(self.object(first), other)

    def _copy(self, source: Path, entry: Entry) -> None:
        """A second object with the same bytes: for another mode, or where the file system allows no more links."""
        temporary = self._temporary_name()
        with open(source, "rb", buffering=0) as original, open(temporary, "xb", buffering=0) as stream:
            while chunk := original.read(COPY_BYTES):
                write_sparse(stream.fileno(), chunk)
            self._finish(stream.fileno(), entry, int(os.fstat(original.fileno()).st_mtime))
        os.rename(temporary, self._name(entry))

    def build(self, release_id: str, file_list: FileList, links: Mapping[str, str], created: int) -> None:
        """Make the release from objects that are here and intact.

        1. Everything is laid out under a ``.staging-`` name.
        2. One syncfs makes it durable.
        3. One rename gives it its name; an older tree of that name that was not intact is moved away first.
        """
        self.places.releases.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        staging = self.places.releases / f"{STAGING}{release_id}-{secrets.token_hex(8)}"
        staging.mkdir(mode=0o700)
        try:
            self._lay_out(staging, file_list, links, created)
            sync_file_system(staging)
            final = self.release(release_id)
            if final.is_dir():
                self._discard(final)
            os.rename(staging, final)
            fsync_directory(self.places.releases)
        except BaseException:
            remove_tree(staging) if staging.is_dir() else self._discard(final)
            raise

    def _lay_out(self, staging: Path, file_list: FileList, links: Mapping[str, str], created: int) -> None:
        directories = [staging]
        base = os.fspath(staging)
        for entry in file_list.entries:
            path = f"{base}/{entry.path}"
            if entry.type == "dir":
                os.mkdir(path)
                directories.append(Path(path))
            elif entry.type == "symlink":
                os.symlink(entry.target, path)
            else:
                self._link(entry, path)
        for path_name, target in links.items():
            for parent in reversed(Path(path_name).parents[:-1]):
                if not (staging / parent).is_dir():
                    (staging / parent).mkdir()
                    directories.append(staging / parent)
            os.symlink(target, staging / path_name)
        for directory in reversed(directories):
            os.chmod(directory, DIRECTORY_MODE)
            os.utime(directory, (created, created))

    def _link(self, entry: Entry, path: str) -> None:
        source = self._name(entry)
        try:
            os.link(source, path)
        except FileNotFoundError:
            other = self._under_another_mode(entry)
            if other is None:
                raise
            self._copy(other, entry)
            os.link(source, path)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self._copy(Path(source), entry)
            os.link(source, path)

    def read(self, entry: Entry) -> bytes:
        """The bytes of an object that is not lacking."""
        path = self.object(entry)
        return (path if path.exists() else self._under_another_mode(entry) or path).read_bytes()

    def _under_another_mode(self, entry: Entry) -> Path | None:
        """An intact object with the same bytes, whatever its mode."""
        others = (entry._replace(mode=mode) for mode in (PLAIN_MODE, EXECUTABLE_MODE) if mode != entry.mode)
        return next((self.object(other) for other in others if _is_intact(self._name(other), other)), None)

    def _discard(self, release: Path) -> None:
        """Take a release's name away before its files, so that it is never seen half removed."""
        doomed = self.places.releases / f"{STAGING}removed-{secrets.token_hex(8)}"
        os.rename(release, doomed)
        remove_tree(doomed)

    def sweep(self) -> list[str]:
        """Remove what an interrupted exchange left; returns the names."""
        left = [
            *(self.places.releases.glob(f"{STAGING}*") if self.places.releases.is_dir() else ()),
            *(self.places.objects.glob(f"{STAGING}*") if self.places.objects.is_dir() else ()),
        ]
        for path in left:
            remove_tree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return [path.name for path in left]

    def prune(self, doomed: Iterable[str]) -> None:
        """Remove releases, then every object that no release links any more, and what a fetch left that did not end."""
        for release_id in doomed:
            if release_id == self.current():
                raise ValueError(f"{release_id} is active")
            self._discard(self.release(release_id))
        if self.places.objects.is_dir():
            for directory in self.places.objects.iterdir():
                if directory.is_dir():
                    with os.scandir(directory) as objects:
                        unused = [each.path for each in objects if each.stat(follow_symlinks=False).st_nlink == 1]
                    for path in unused:
                        os.unlink(path)
        Incoming(self.places).clear()


def expendable(
    release_ids: Iterable[str], *, activations: Iterable[str], protected: Iterable[str | None], keep_count: int
) -> list[str]:
    """The releases to prune, oldest first: all but the protected ones and the ``keep_count`` last active ones.

    A release that was never active goes before one that was.
    """
    last_active = {release: number for number, release in enumerate(activations)}
    by_age = sorted(release_ids, key=lambda release: (last_active.get(release, -1), release))
    safe = set(protected)
    excess = max(0, len(by_age) - keep_count)
    return [release for release in by_age if release not in safe][:excess]


def _altered(entry: Entry, found: str) -> Refusal:
    return Refusal(
        "object_altered",
        expected=f"{entry.size} bytes with sha256 {entry.sha256} for {entry.path}",
        found=found,
        remedy="The catalogue is damaged or tampered with: build the release again from its source.",
    )


def _is_intact(path: str, entry: Entry) -> bool | None:
    """Whether an object is what its name says, None when it is not there."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if status.st_mode != stat.S_IFREG | entry.mode or status.st_size != entry.size:
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return sha256_of_open(descriptor, entry.size) == entry.sha256
    finally:
        os.close(descriptor)
