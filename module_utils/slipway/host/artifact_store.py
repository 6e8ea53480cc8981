# SPDX-License-Identifier: GPL-3.0-or-later
"""An artifact store as files that a web server serves, in the layout of the catalogue. Hosts fetch the objects.

    <store>/<application>/objects/<two hex>/<sha256>
    <store>/<application>/trees/<sha256>.json
    <store>/<application>/manifests/<release_id>.dsse.json

A name never gets other content, so any cache may keep it for ever; a manifest comes last, so it names only what is there.
What is written here is checked by its digest, and what is fetched from here again by each host: the store is not trusted.

Root writes as the user to whom the way to the store belongs, so that this user can write there too (the catalogue of AWX's jobs is a store).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.fields import NAME, require_release_id
from ..base.files import (
    COPY_BYTES,
    denied_is_a_refusal,
    full_disk_is_a_refusal,
    open_regular,
    remove_temporary,
    sha256_of,
    sync_file_system,
    write_all,
    write_durable,
)
from ..trust.tree import FileList
from .pack import Object, Pack

_SUFFIX: Final = ".dsse.json"
_FILE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


@dataclass(frozen=True)
class ArtifactStore:
    """The part of a store that belongs to one application; nothing of it need exist yet."""

    root: Path
    application: str

    def __post_init__(self) -> None:
        if not NAME.match(self.application):
            raise Refusal(
                "application_invalid",
                expected="an application name of lower-case letters, digits, dashes and underscores",
                found=shown(self.application),
                remedy="Correct the application's name.",
            )

        if not self.root.is_absolute():
            raise Refusal(
                "store_path_relative",
                expected="an absolute path of the store, since it may be on another host",
                found=shown(str(self.root)),
                remedy="Give it from the root: -e release_store_path=/var/www/slipway",
            )

    @property
    def base(self) -> Path:
        return self.root / self.application

    def object(self, sha256: str) -> Path:
        return self.base / "objects" / sha256[:2] / sha256

    def tree(self, digest: str) -> Path:
        return self.base / "trees" / f"{digest}.json"

    def manifest(self, release_id: str) -> Path:
        require_release_id(release_id)
        return self.base / "manifests" / f"{release_id}{_SUFFIX}"

    def published(self) -> dict[str, str]:
        """The SHA-256 of every manifest that is here, by release."""
        found = (self.base / "manifests").glob(f"[!.]*{_SUFFIX}")
        return {path.name.removesuffix(_SUFFIX): sha256_of(path) for path in sorted(found)}

    def lacking(self, file_list: FileList, *, verify: bool) -> dict[str, int]:
        """The objects of a release that are not here, with their sizes; with `verify` also those with other bytes."""
        sizes = {entry.sha256: entry.size for entry in file_list.files}
        return {sha256: size for sha256, size in sizes.items() if not self._has(sha256, size, verify=verify)}

    def _has(self, sha256: str, size: int, *, verify: bool) -> bool:
        path = self.object(sha256)
        try:
            return os.lstat(path).st_size == size and (not verify or sha256_of(path) == sha256)
        except FileNotFoundError:
            return False

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Give an empty directory on the store's file system to the one who writes at the moment; what a crash left is removed."""
        self.base.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        self._require_own()
        lock = open_regular(self.base / ".lock", what="store_lock", flags=os.O_RDWR | os.O_CREAT)
        with os.fdopen(lock, "rb"):
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = self.base / ".incoming"
            with suppress(FileNotFoundError):
                shutil.rmtree(place)
            for name in ("trees", "manifests"):
                remove_temporary(self.base / name)
            place.mkdir(mode=0o700)
            try:
                yield place
            finally:
                shutil.rmtree(place)

    def _require_own(self) -> None:
        """Whoever else may change the directory could lead our writing elsewhere by a link in it."""
        status = os.lstat(self.base)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise Refusal(
                "store_not_own",
                expected=f"{self.base} to be a directory that nobody can change but who publishes (uid {os.geteuid()})",
                found=f"{stat.filemode(status.st_mode)} of uid {status.st_uid}",
                remedy=f"Publish as its owner, or give it to who publishes (chown -R {os.geteuid()}:{os.getegid()} {self.base}); and "
                "take the right to write from all others (chmod go-w); a web server only reads it.",
            )

    def put(self, incoming: Object, size: int, place: Path) -> None:
        """Write an object; it gets its name when its bytes are those that the name promises."""
        temporary, digest, written = place / incoming.sha256, hashlib.sha256(), 0
        with open(temporary, "xb", buffering=0) as stream:
            while written <= size and (chunk := incoming.stream.read(COPY_BYTES)):
                written += len(chunk)
                digest.update(chunk)
                write_all(stream.fileno(), chunk)
            os.fchmod(stream.fileno(), _FILE_MODE)
        if (written, digest.hexdigest()) != (size, incoming.sha256):
            raise Refusal(
                "object_altered",
                expected=f"{size} bytes with sha256 {incoming.sha256}",
                found=f"{written} bytes with sha256 {digest.hexdigest()}",
                remedy="The catalogue is damaged or tampered with: build the release again from its source.",
            )
        self.object(incoming.sha256).parent.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        os.rename(temporary, self.object(incoming.sha256))

    def finish(self, release_id: str, tree_digest: str, pack: Pack) -> None:
        """Add file list and manifest, when the objects are durable."""
        sync_file_system(self.base)
        for path, data in ((self.tree(tree_digest), pack.file_list), (self.manifest(release_id), pack.manifest)):
            path.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
            write_durable(path, data, mode=_FILE_MODE)


def publish(request: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Add what a pack brings of a release to the store, or only say what is published.

    request: path, application, pack (path, or null to look), release_id, tree (SHA-256 of its file list), verified (read what is
    here already). answer: changed, published (SHA-256 of the manifests by release), missing (SHA-256 of objects that the pack did
    not bring: send them and ask again), objects and bytes (how much the store lacked).
    """
    os.umask(0o022)  # a web server reads it, whatever umask the login shell has
    store = ArtifactStore(Path(request["path"]), request["application"])
    if not request.get("pack"):
        with _as_owner(store.base):
            return {"changed": False, "published": store.published(), "missing": [], "objects": 0, "bytes": 0}
    with open(request["pack"], "rb") as stream, _as_owner(store.base):
        return _published(store, request, Pack(stream), check)


@contextmanager
def _as_owner(base: Path) -> Iterator[None]:
    """Do what follows as who rules ``base``, where root would do it: the owner of the first name on the way to it that is not root's.

    Whoever owns that can put anything else in its place, so root must not follow them there: a link of theirs leads to where they may write
    themselves. What is made is theirs.
    """
    owner = _owner(base) if os.geteuid() == 0 else None
    if owner is None:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([owner.st_gid])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _owner(base: Path) -> os.stat_result | None:
    """Whose the first name on the way to ``base`` is that is not root's, links followed or not; None where all of it is root's."""
    real = Path(os.path.realpath(base))
    for path in (*reversed(base.parents), base, *reversed(real.parents), real):
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(path)
            if status.st_uid != 0:
                return status
    return None


def _published(store: ArtifactStore, request: Mapping[str, Any], pack: Pack, check: bool) -> dict[str, Any]:
    release_id, tree = request["release_id"], request["tree"]
    file_list = FileList.parse(pack.file_list, digest=tree)
    _require_same_content(store, release_id, pack)
    lacking = store.lacking(file_list, verify=bool(request.get("verified")))
    answer = {"missing": [], "objects": len(lacking), "bytes": sum(lacking.values())}
    is_changed = bool(lacking) or not _is_named(store, release_id, tree, pack)
    if is_changed and not check:
        what = f"publish {release_id}"
        with full_disk_is_a_refusal(_there(store.root), what=what), denied_is_a_refusal(store.base, what=what):
            answer["missing"] = _write(store, request, pack, lacking)
    return {**answer, "changed": is_changed and not answer["missing"], "published": store.published()}


def _write(store: ArtifactStore, request: Mapping[str, Any], pack: Pack, lacking: Mapping[str, int]) -> list[str]:
    """Put what came, then the names; or, when not all came, nothing but say what is missing."""
    missing = dict(lacking)
    with store.writing() as place:
        for incoming in pack.objects():
            if incoming.sha256 in missing:
                store.put(incoming, missing.pop(incoming.sha256), place)
        if not missing:
            store.finish(request["release_id"], request["tree"], pack)
    return sorted(missing)


def _is_named(store: ArtifactStore, release_id: str, tree: str, pack: Pack) -> bool:
    named = ((store.tree(tree), pack.file_list), (store.manifest(release_id), pack.manifest))
    return all(path.exists() and path.read_bytes() == data for path, data in named)


def _require_same_content(store: ArtifactStore, release_id: str, pack: Pack) -> None:
    path = store.manifest(release_id)
    if path.exists() and path.read_bytes() != pack.manifest:
        raise Refusal(
            "release_id_taken",
            expected=f"under the id {release_id} the manifest that {path} has, since caches may keep it for ever",
            found="another manifest",
            remedy="Build the release under an id of its own. If that file is not yours, find out who changed it, then remove it.",
        )


def _there(path: Path) -> Path:
    """The directory, or the nearest one above it that there is."""
    return next(each for each in (path, *path.parents) if each.is_dir())
