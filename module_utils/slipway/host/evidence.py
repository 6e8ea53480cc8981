# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept beside a release on a host so that it can be verified there at any time, with nobody else's help.

``/var/lib/slipway/<application>/manifests/<release_id>/`` holds ``manifest.dsse.json`` and ``file-list.json`` as they were
signed, and ``application.json``, the description that it was staged under. ``approvals/`` and ``authorizations/`` hold, by the
digest of its payload, what was signed for the release and counted here. All that is signed stays when the release is pruned.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..application.description import Application
from ..base import canonical
from ..base.errors import Refusal
from ..base.files import fsync_directory, read_regular, write_durable
from ..trust import verify
from ..trust.approval import MAX_APPROVAL_BYTES
from ..trust.authorization import MAX_AUTHORIZATION_BYTES
from ..trust.manifest import ReleaseManifest
from ..trust.tree import FileList
from .pack import FILE_LIST, FILE_LIST_LIMIT, MANIFEST, MANIFEST_LIMIT
from .places import Places

APPLICATION = "application.json"
APPLICATION_LIMIT = 1 << 20
APPROVALS, AUTHORIZATIONS = "approvals", "authorizations"
CONSENT_LIMITS = {APPROVALS: MAX_APPROVAL_BYTES, AUTHORIZATIONS: MAX_AUTHORIZATION_BYTES}
MAX_CONSENTS = 64


@dataclass(frozen=True)
class Verified:
    """A release whose signatures, scope and file list hold; ``links`` are its declared shared paths."""

    manifest: ReleaseManifest
    file_list: FileList
    links: Mapping[str, str]

    @property
    def artifacts(self) -> list[dict[str, str]]:
        """The declared members that the release has, as records name them."""
        digests = {entry.path: entry.sha256 for entry in self.file_list.files}
        return [
            {"path": member.path, "sha256": digests[member.path]}
            for member in self.manifest.members
            if member.path in digests
        ]


@dataclass(frozen=True)
class Evidence:
    """Reads, writes and verifies the evidence of one application's releases."""

    places: Places

    def directory(self, release_id: str) -> Path:
        return self.places.manifests / release_id

    def digest(self, release_id: str) -> str | None:
        """The digest of the kept manifest, None where none is kept that can be read."""
        try:
            return self.manifest(release_id).digest
        except Refusal:
            return None

    def holds(self, release_id: str, envelope: bytes, file_list: bytes, application: Application) -> bool:
        """Whether exactly this evidence is kept here already."""
        try:
            return self.read(release_id) == (envelope, file_list) and self._read(
                release_id, APPLICATION, APPLICATION_LIMIT, what="application"
            ) == _described(application)
        except Refusal:
            return False

    def envelope(self, release_id: str) -> bytes:
        """The envelope of the kept manifest."""
        return self._read(release_id, MANIFEST, MANIFEST_LIMIT, what="manifest")

    def manifest(self, release_id: str) -> ReleaseManifest:
        """The kept manifest, parsed but not verified: for showing what there is."""
        return verify.parse_manifest(self.envelope(release_id))

    def application(self, release_id: str) -> Application:
        """The description that the release was staged under."""
        data = self._read(release_id, APPLICATION, APPLICATION_LIMIT, what="application")
        values = canonical.parse_canonical(data, what="application")
        if not isinstance(values, dict):
            values = {}
        return Application.parse(values.get("name", ""), values.get("description"))

    def read(self, release_id: str) -> tuple[bytes, bytes]:
        """Envelope and file list as they were signed."""
        return self.envelope(release_id), self._read(release_id, FILE_LIST, FILE_LIST_LIMIT, what="file list")

    def _read(self, release_id: str, name: str, limit: int, *, what: str) -> bytes:
        return read_regular(self.directory(release_id) / name, limit=limit, what=what)

    def verify(self, release_id: str) -> Verified:
        """Verify what is kept for a release against this host's own trust policy and environment."""
        envelope, file_list = self.read(release_id)
        return self._verified(envelope, file_list, release_id, self.application(release_id), now=None)

    def verified(self, envelope: bytes, file_list: bytes, release_id: str, application: Application) -> Verified:
        """The same for bytes that have just arrived, which must not come from the future.

        What is kept was judged so when it arrived: a clock that is wrong later must not stand in the way back.
        """
        return self._verified(envelope, file_list, release_id, application, now=self.places.host.clock.now())

    def _verified(
        self, envelope: bytes, file_list: bytes, release_id: str, application: Application, now: int | None
    ) -> Verified:
        host = self.places.host
        manifest = verify.verify_manifest(
            host.policy(),
            envelope,
            application=self.places.application,
            environment=host.identity().environment,
            now=now,
        )
        if manifest.release_id != release_id:
            raise Refusal(
                "release_mismatch",
                expected=f"the manifest of {release_id}",
                found=f"the manifest of {manifest.release_id}",
                remedy="Ask for the release by the id in its manifest.",
            )
        listed = verify.verify_file_list(manifest, file_list)
        links = application.shared_links()
        _require_apart(listed, links)
        return Verified(manifest, listed, links)

    def verify_tree(self, verified: Verified) -> None:
        """Compare the release on disk with its file list, both ways and byte by byte."""
        release = self.places.releases / verified.manifest.release_id
        verify.verify_tree(verified.file_list, release, links=verified.links, owner=self.places.host.uid)

    def keep(self, release_id: str, envelope: bytes, file_list: bytes, application: Application) -> None:
        """Write the evidence of a release, durably, before the release gets its name."""
        directory = self.directory(release_id)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, data in ((MANIFEST, envelope), (FILE_LIST, file_list), (APPLICATION, _described(application))):
            write_durable(directory / name, data, mode=0o644)
        fsync_directory(self.places.manifests)
        fsync_directory(self.places.state)

    def consents(self, release_id: str, kind: str) -> list[bytes]:
        """The approvals, or authorizations, that are kept for a release; what cannot be read is left out."""
        found = []
        for path in sorted((self.directory(release_id) / kind).glob("*.dsse.json"))[:MAX_CONSENTS]:
            with suppress(Refusal):
                found.append(read_regular(path, limit=CONSENT_LIMITS[kind], what=f"kept {kind}"))
        return found

    def lacking_consents(self, release_id: str, kind: str, consents: Mapping[str, bytes]) -> list[str]:
        """Which of ``consents`` (envelopes by the digest of their payload) are not kept, or not as they are."""
        kept = set(self.consents(release_id, kind))
        return sorted(digest for digest, envelope in consents.items() if envelope not in kept)

    def keep_consents(self, release_id: str, kind: str, consents: Mapping[str, bytes], lacking: Sequence[str]) -> None:
        """Keep those of ``consents`` that are ``lacking``, durably; where there would be too many, older ones go."""
        directory = self.directory(release_id) / kind
        directory.mkdir(mode=0o755, exist_ok=True)
        names = {f"{digest}.dsse.json" for digest in consents}
        others = sorted(path for path in directory.glob("*") if path.name not in names)
        for path in others[max(0, MAX_CONSENTS - len(names)) :]:
            path.unlink()
        for digest in lacking:
            write_durable(directory / f"{digest}.dsse.json", consents[digest], mode=0o644)
        fsync_directory(self.directory(release_id))

    def thin(self, release_id: str) -> None:
        """After pruning: the signed manifest stays as evidence, what only served the tree goes."""
        for name in (FILE_LIST, APPLICATION):
            path = self.directory(release_id) / name
            if path.exists():
                os.unlink(path)


def _described(application: Application) -> bytes:
    return canonical.encode({"name": application.name, "description": dict(application.raw)})


def _require_apart(file_list: FileList, links: Mapping[str, str]) -> None:
    """A shared path is the application's own: a release that brings something there would be shadowed or shadow it."""
    paths = {entry.path: entry.type for entry in file_list.entries}
    for link in links:
        parents = [parent.as_posix() for parent in Path(link).parents[:-1]]
        taken = [path for path in paths if path == link or path.startswith(link + "/")]
        taken += [parent for parent in parents if paths.get(parent, "dir") != "dir"]
        if taken:
            raise Refusal(
                "shared_path_taken",
                expected=f"nothing in the release at the shared path {link}",
                found=taken[0],
                remedy="Take it out of the release, or out of shared_paths in slipway_applications.",
            )
