# SPDX-License-Identifier: GPL-3.0-or-later
"""Files outside the release tree that activation replaces: kept before, named in the record, verified before restored.

A *kept* file is plain data, for the journal and the history: {path, existed, sha256, mode, uid, gid, backup}; ``backup``
is a path below the application's state directory, or null where nothing was there before.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..application.description import ReplacedFile
from ..base.errors import Refusal
from ..base.files import fsync_directory, read_regular, remove_durable, write_durable
from ..trust.chain import Record
from .places import Places

SIZE_LIMIT = 64 << 20
Kept = Mapping[str, Any]


@dataclass(frozen=True)
class Replacement:
    """New content for a file outside the tree, None where none is to be; ``owner`` and ``group`` are names."""

    file: ReplacedFile
    content: bytes | None

    @property
    def path(self) -> str:
        return self.file.path


@dataclass(frozen=True)
class Backups:
    """Keeps, replaces and restores files for one application."""

    places: Places

    def replacements(
        self, files: Iterable[ReplacedFile], release: Path, release_id: str, records: Sequence[Record]
    ) -> list[Replacement]:
        """What each declared file is to contain under ``release``.

        A release without the source gets what was there while it was active before: the content of a verified backup,
        or nothing where nothing was. When no record says what was there: Refusal ``file_source_missing``.
        """
        found = []
        for file in files:
            source = release / file.source
            content: bytes | None
            if source.is_file():
                content = read_regular(source, limit=SIZE_LIMIT, what="file of the release")
            else:
                content = self._from_history(file, release_id, records)
            found.append(Replacement(file, content))
        return found

    def _from_history(self, file: ReplacedFile, release_id: str, records: Sequence[Record]) -> bytes | None:
        for record in reversed(records):
            if record["previous_release_id"] == release_id:
                for kept in record["backups"]:
                    if kept["path"] == file.path:
                        return self._verified(kept) if kept["existed"] else None
        raise Refusal(
            "file_source_missing",
            expected=f"{file.source} in the release {release_id}, for {file.path}",
            found="neither that nor a backup from when the release was active",
            remedy="Deploy a release that contains it, or take the file out of slipway_applications.",
        )

    def outdated(self, replacements: Iterable[Replacement]) -> list[Replacement]:
        """Those whose file does not have the declared content, mode and owner already.

        Refusal ``owner_unknown`` for any of them, so that it shows while nothing is changed.
        """
        return [replacement for replacement in replacements if not self._is_in_place(replacement)]

    def _is_in_place(self, replacement: Replacement) -> bool:
        path, owner = self._on_host(replacement.path), self._ids(replacement.file)
        if replacement.content is None:
            return not os.path.lexists(path)
        if path.is_symlink() or not path.is_file():
            return False
        status = path.stat()
        if (status.st_mode & 0o7777, status.st_uid, status.st_gid) != (replacement.file.mode, *owner):
            return False
        return path.read_bytes() == replacement.content

    def keep(self, replacements: Iterable[Replacement], transaction: str) -> list[Kept]:
        """Copy what is there now, durably, before anything is replaced."""
        directory = self.places.backups / transaction
        kept = []
        for number, replacement in enumerate(replacements):
            path = self._on_host(replacement.path)
            self._require_safe_place(path)
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise Refusal(
                    "file_not_regular",
                    expected=f"a regular file or nothing at {replacement.path}",
                    found="a link or another kind of file",
                    remedy="Remove it, or take the file out of slipway_applications.",
                )
            if not path.exists():
                kept.append(_kept(replacement.path))
                continue
            content = read_regular(path, limit=SIZE_LIMIT, what="replaced file")
            status = path.lstat()
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            backup = directory / str(number)
            write_durable(backup, content, mode=0o600)
            kept.append(
                _kept(
                    replacement.path,
                    sha256=hashlib.sha256(content).hexdigest(),
                    mode=status.st_mode & 0o777,
                    uid=status.st_uid,
                    gid=status.st_gid,
                    backup=str(backup.relative_to(self.places.state)),
                )
            )
        if directory.is_dir():
            fsync_directory(self.places.backups)
        return kept

    def replace(self, replacements: Iterable[Replacement]) -> None:
        """Put the new content in place, one atomic rename a file."""
        for replacement in replacements:
            path = self._on_host(replacement.path)
            self._require_safe_place(path)
            if replacement.content is None:
                remove_durable(path)
            else:
                write_durable(path, replacement.content, mode=replacement.file.mode, owner=self._ids(replacement.file))

    def verify(self, kept_files: Iterable[Kept]) -> dict[str, bytes]:
        """The content of every backup by path; Refusal ``backup_altered`` unless each has the bytes that were kept."""
        return {kept["path"]: self._verified(kept) for kept in kept_files if kept["existed"]}

    def restore(self, kept_files: Iterable[Kept]) -> None:
        """Put back what was kept: all backups are verified first, then the files are written or removed."""
        kept_files = list(kept_files)
        content = self.verify(kept_files)
        for kept in kept_files:
            self._require_safe_place(self._on_host(kept["path"]))
        for kept in kept_files:
            if kept["existed"]:
                path = self._on_host(kept["path"])
                write_durable(path, content[kept["path"]], mode=kept["mode"], owner=(kept["uid"], kept["gid"]))
            else:
                remove_durable(self._on_host(kept["path"]))

    def _verified(self, kept: Kept) -> bytes:
        path = self.places.state / kept["backup"]
        content = read_regular(path, limit=SIZE_LIMIT, what="backup")
        found = hashlib.sha256(content).hexdigest()
        if found != kept["sha256"]:
            raise Refusal(
                "backup_altered",
                expected=f"sha256 {kept['sha256']} in {path}, the backup of {kept['path']}",
                found=found,
                remedy="Restore that file from your own backup; this one cannot be trusted.",
            )
        return content

    def _require_safe_place(self, path: Path) -> None:
        """Root writes by name only where nobody else can move the name: every directory above is root's, and no link."""
        for directory in reversed([parent for parent in path.parents if parent.is_relative_to(self.places.host.root)]):
            try:
                status = directory.lstat()
            except FileNotFoundError:
                raise Refusal(
                    "file_directory_missing",
                    expected=f"the directory of {path}",
                    found=f"no {directory}",
                    remedy="Create it, or take the file out of slipway_applications.",
                ) from None
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != self.places.host.uid or status.st_mode & 0o022:
                raise Refusal(
                    "file_directory_unsafe",
                    expected=f"{directory} to be a directory of uid {self.places.host.uid} that nobody else may write to",
                    found=f"mode {stat.filemode(status.st_mode)}, uid {status.st_uid}",
                    remedy=f"Keep {path.name} in a directory of root's, or in shared_paths, which the application owns.",
                )

    def _on_host(self, path: str) -> Path:
        return self.places.host.root / path.lstrip("/")

    def _ids(self, file: ReplacedFile) -> tuple[int, int]:
        """Numeric owner and group; our own where we are not root (only tests are not)."""
        if os.geteuid() != 0:
            return os.geteuid(), os.getegid()
        try:
            return pwd.getpwnam(file.owner).pw_uid, grp.getgrnam(file.group).gr_gid
        except KeyError as error:
            raise Refusal(
                "owner_unknown",
                expected=f"the user {file.owner} and the group {file.group}, who are to own {file.path}",
                found=str(error),
                remedy="Create them (playbooks/bootstrap.yml does for the application's own), or correct `files`.",
            ) from error


def _kept(path: str, **found: Any) -> Kept:
    return {
        "path": path, "existed": bool(found), "sha256": None, "mode": None, "uid": None, "gid": None, "backup": None, **found,
    }  # fmt: skip
