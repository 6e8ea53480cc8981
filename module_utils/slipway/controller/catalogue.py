# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases that there are: one directory on the controller, in the layout of an artifact store.

    <root>/<application>/manifests/<release_id>.dsse.json    signed manifests
    <root>/<application>/trees/<sha256>.json                 file lists, named by their digest
    <root>/<application>/objects/<two hex>/<sha256>          contents, named by their digest
    <root>/<application>/approvals/<manifest digest>/<environment>.<role>.<holder>.<digest>.dsse.json
    <root>/<application>/authorizations/…                    rollback authorizations, in the same way

A manifest is written last, so it names only what is there. Nothing read from here is trusted: whoever deploys it
verifies it.
"""

from __future__ import annotations

import difflib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from ..base.errors import Refusal, shown
from ..base.fields import NAME, require_release_id
from ..base.files import (
    denied_is_a_refusal,
    full_disk_is_a_refusal,
    read_regular,
    sha256_of,
    sync_file_system,
    write_durable,
)
from ..trust.approval import MAX_APPROVAL_BYTES, Approval, open_approval
from ..trust.authorization import MAX_AUTHORIZATION_BYTES, Authorization, open_authorization
from ..trust.dsse import MAX_ENVELOPE_BYTES
from ..trust.manifest import ReleaseManifest
from ..trust.tree import MAX_FILE_LIST_BYTES, FileList
from ..trust.verify import parse_manifest, verify_file_list

_SUFFIX: Final = ".dsse.json"
_NAMED_RELEASES: Final = 5
_NAMED_DIGITS: Final = 16  # of an approval's digest, enough to tell those of one holder apart
MAX_CONSENTS: Final = 256


class Catalogue:
    """The catalogue below `root`, which need not exist yet."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def applications(self) -> list[str]:
        """The applications that have releases, sorted."""
        return sorted(path.parent.name for path in self.root.glob("*/manifests") if NAME.match(path.parent.name))

    def release_ids(self, application: str) -> list[str]:
        """The names of the application's releases, sorted; nothing is read."""
        return sorted(path.name.removesuffix(_SUFFIX) for path in self._manifests(application).glob(f"[!.]*{_SUFFIX}"))

    def releases(self, application: str) -> list[ReleaseManifest]:
        """The manifests of the application as they are there, newest first by sequence; none of them is verified."""
        manifests = [self.manifest(application, release_id) for release_id in self.release_ids(application)]
        return sorted(manifests, key=lambda manifest: (-manifest.sequence, manifest.release_id))

    def manifest(self, application: str, release_id: str) -> ReleaseManifest:
        """The release's manifest, not verified; one that names another release is refused."""
        manifest = parse_manifest(self._manifest_bytes(application, release_id))
        if (manifest.application, manifest.release_id) != (application, release_id):
            raise Refusal(
                "catalogue_misnamed",
                expected=f"the manifest of {application} {release_id} in {self.manifest_path(application, release_id)}",
                found=f"the manifest of {manifest.application} {manifest.release_id}",
                remedy="Remove that file from the catalogue, and find out who put it there.",
            )
        return manifest

    def manifest_bytes(self, application: str, release_id: str) -> bytes:
        """The envelope of the release's manifest; Refusal("release_unknown") names the releases that there are."""
        data = self._manifest_bytes(application, release_id)
        self.manifest(application, release_id)
        return data

    def file_list_bytes(self, application: str, tree_digest: str) -> bytes:
        """The file list with this digest, not verified."""
        return self._read(self._tree(application, tree_digest), MAX_FILE_LIST_BYTES, "file list")

    def object_path(self, application: str, sha256: str) -> Path:
        """Where the content with this digest is, or would be."""
        return Path(f"{self._base(application)}/objects/{sha256[:2]}/{sha256}")

    def manifest_path(self, application: str, release_id: str) -> Path:
        """Where the release's manifest is, or would be."""
        require_release_id(release_id)
        return self._manifests(application) / f"{release_id}{_SUFFIX}"

    def is_intact(self, manifest: ReleaseManifest, file_list: FileList) -> bool:
        """Whether everything that the manifest names is there, byte by byte."""
        application = manifest.application
        tree = self._tree(application, manifest.tree_digest)
        if not tree.exists() or sha256_of(tree) != manifest.tree_digest:
            return False
        paths = {name: self.object_path(application, name) for name in file_list.object_names}
        return all(path.exists() and sha256_of(path) == name for name, path in paths.items())

    def newest_file_list(self, releases: Sequence[ReleaseManifest]) -> FileList | None:
        """The file list of the first of `releases` (newest first), for comparing; None when there is no sound one."""
        for manifest in releases[:1]:
            with suppress(Refusal):
                return verify_file_list(manifest, self.file_list_bytes(manifest.application, manifest.tree_digest))
        return None

    @contextmanager
    def workspace(self, application: str) -> Iterator[Path]:
        """Give an empty directory on the catalogue's file system to the one who may add releases at the moment.

        1. A lock that dies with its process is taken; a second builder waits for it.
        2. What a killed builder left behind is removed.
        3. The directory is removed at the end, whatever happened.

        Refusal ``write_denied`` where the catalogue is another user's.
        """
        base = self._base(application)
        place, denied = base / ".incoming", partial(denied_is_a_refusal, base, what="add a release")
        with ExitStack() as stack:
            with denied():
                base.mkdir(parents=True, exist_ok=True, mode=0o755)
                lock = stack.enter_context(open(base / ".lock", "w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            with denied():
                with suppress(FileNotFoundError):
                    shutil.rmtree(place)
                place.mkdir(mode=0o700)
            try:
                yield place
            finally:
                shutil.rmtree(place)

    def add(self, envelope: bytes, file_list: bytes, objects: Mapping[str, Path]) -> Path:
        """Add a release, durably, and return the path of its manifest.

        `objects` are files of the workspace by sha256; they move into the catalogue.

        1. The objects get their names, over older ones: should one of those be damaged, this mends it.
        2. One syncfs makes them durable, then file list and manifest follow, each atomic and durable.
        """
        manifest = parse_manifest(envelope)
        application = manifest.application
        tree = self._tree(application, manifest.tree_digest)
        path = self.manifest_path(application, manifest.release_id)
        base = self._base(application)
        what = f"keep the release {manifest.release_id}"
        with full_disk_is_a_refusal(base, what=what), denied_is_a_refusal(base, what=what):
            for start in {sha256[:2] for sha256 in objects}:
                (base / "objects" / start).mkdir(parents=True, exist_ok=True)
            for sha256, content in objects.items():
                os.chmod(content, 0o444)
                os.rename(content, f"{base}/objects/{sha256[:2]}/{sha256}")
            tree.parent.mkdir(exist_ok=True)
            path.parent.mkdir(exist_ok=True)
            sync_file_system(base)
            write_durable(tree, file_list, mode=0o644)
            write_durable(path, envelope, mode=0o644)
        return path

    def approvals(self, application: str, manifest_digest: str) -> list[bytes]:
        """The envelopes of the release's approvals, for every environment, sorted by name; none of them is verified."""
        return self._consents(self._approvals(application, manifest_digest), MAX_APPROVAL_BYTES, "approval file")

    def authorizations(self, application: str, manifest_digest: str) -> list[bytes]:
        """The envelopes of the rollback authorizations for the release, likewise."""
        directory = self._authorizations(application, manifest_digest)
        return self._consents(directory, MAX_AUTHORIZATION_BYTES, "authorization file")

    def add_approval(self, envelope: bytes, *, check: bool) -> Path:
        """Add an approval to the release that it names, durably, and return its path; with `check`, only say which.

        An envelope with the same payload that is there already is replaced: signatures may be spelled in several ways.
        """
        _, approval = open_approval(envelope)
        directory = self._approvals(approval.application, approval.manifest_digest)
        return _add_consent(directory, approval, envelope, check=check)

    def add_authorization(self, envelope: bytes, *, check: bool) -> Path:
        """Add a rollback authorization in the same way."""
        _, authorization = open_authorization(envelope)
        directory = self._authorizations(authorization.application, authorization.manifest_digest)
        return _add_consent(directory, authorization, envelope, check=check)

    def _approvals(self, application: str, manifest_digest: str) -> Path:
        return self._base(application) / "approvals" / manifest_digest

    def _authorizations(self, application: str, manifest_digest: str) -> Path:
        return self._base(application) / "authorizations" / manifest_digest

    def _consents(self, directory: Path, limit: int, what: str) -> list[bytes]:
        """What is no regular file, or too long, is left out: it must not stand in the way of those that are good."""
        found = []
        for path in sorted(directory.glob(f"[!.]*{_SUFFIX}"))[:MAX_CONSENTS]:
            with suppress(Refusal, OSError):
                found.append(read_regular(path, limit=limit, what=what))
        return found

    def _base(self, application: str) -> Path:
        if not NAME.match(application):
            raise Refusal(
                "application_invalid",
                expected="an application name of lower-case letters, digits, dashes and underscores",
                found=shown(application),
                remedy="Correct the application's name.",
            )
        return self.root / application

    def _manifests(self, application: str) -> Path:
        return self._base(application) / "manifests"

    def _tree(self, application: str, digest: str) -> Path:
        return self._base(application) / "trees" / f"{digest}.json"

    def _manifest_bytes(self, application: str, release_id: str) -> bytes:
        path = self.manifest_path(application, release_id)
        if not path.exists():
            raise self._unknown(application, release_id)
        return self._read(path, MAX_ENVELOPE_BYTES, "release manifest")

    def _read(self, path: Path, limit: int, what: str) -> bytes:
        if not path.exists():
            raise Refusal(
                "catalogue_incomplete",
                expected=f"a {what} at {path}",
                found="none",
                remedy="Build the release again from its source: that restores what is missing.",
            )
        return read_regular(path, limit=limit, what=what)

    def _unknown(self, application: str, release_id: str) -> Refusal:
        there = self.release_ids(application)
        if not there:
            return Refusal(
                "release_unknown",
                expected=f"the release {release_id} of {application} in {self.root}",
                found=f"no release of {application}; applications there: {', '.join(self.applications()) or 'none'}",
                remedy="Make a release first: ansible-playbook playbooks/release.yml.",
            )
        newest = [manifest.release_id for manifest in self.releases(application)[:_NAMED_RELEASES]]
        near = [name for name in difflib.get_close_matches(release_id, there, n=3) if name not in newest]
        also = f"; similar: {', '.join(near)}" if near else ""
        return Refusal(
            "release_unknown",
            expected=f"the release {release_id} of {application} in {self.root}",
            found=f"{len(there)} others; newest: {', '.join(newest)}{also}",
            remedy="Give one of these with -e release_id=, or none for the newest.",
        )


def _add_consent(directory: Path, consent: Approval | Authorization, envelope: bytes, *, check: bool) -> Path:
    name = f"{consent.environment}.{consent.role}.{consent.holder}.{consent.digest[:_NAMED_DIGITS]}{_SUFFIX}"
    if not check:
        with denied_is_a_refusal(directory.parents[1], what="keep what was signed"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)
            write_durable(directory / name, envelope, mode=0o644)
    return directory / name
