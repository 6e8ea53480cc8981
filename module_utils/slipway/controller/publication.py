# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the catalogue an artifact store lacks, and whether what was sent there arrived."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..base.errors import Refusal
from ..trust.manifest import ReleaseManifest
from .catalogue import Catalogue


def unpublished(
    catalogue: Catalogue, application: str, requested: str, published: Mapping[str, str], *, again: bool
) -> list[ReleaseManifest]:
    """The releases to send: the requested one or all, but not those whose manifest is published, unless ``again``.

    ``published`` is the SHA-256 of the manifests in the store by release. Refusal ``release_unknown`` where there is nothing to publish.
    """
    release_ids = [requested] if requested else catalogue.release_ids(application)
    if not release_ids:
        raise Refusal(
            "release_unknown",
            expected=f"a release of {application} in {catalogue.root}",
            found=f"none; applications there: {', '.join(catalogue.applications()) or 'none'}",
            remedy="Make a release first: ansible-playbook playbooks/release.yml.",
        )
    todo = []
    for release_id in release_ids:
        envelope = catalogue.manifest_bytes(application, release_id)
        if again or published.get(release_id) != hashlib.sha256(envelope).hexdigest():
            todo.append(catalogue.manifest(application, release_id))
    return sorted(todo, key=lambda release: (release.sequence, release.release_id))


def still_missing(release: ReleaseManifest, answer: Mapping[str, Any], sent: frozenset[str]) -> frozenset[str]:
    """What the store says that it misses: to be sent next. Refusal ``objects_missing`` when it was sent already."""
    missing = frozenset(answer["missing"])
    if missing and sent:
        raise Refusal(
            "objects_missing",
            expected=f"every object of {release.release_id} to arrive",
            found=f"{len(missing)} still missing, the first is {min(missing)}",
            remedy="Run the same command again; if it comes again, look at the disk of the store.",
        )
    return missing


@dataclass
class Sent:
    """What was added to a store, over all releases."""

    added: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0

    def add(self, release: ReleaseManifest, answer: Mapping[str, Any]) -> None:
        """Count a release that is whole in the store now; what the store lacked of it, its last answer says."""
        if answer["changed"]:
            self.added.append(release.release_id)
            self.objects += answer["objects"]
            self.bytes += answer["bytes"]

    def as_dict(self) -> dict[str, Any]:
        return {"changed": bool(self.added), "added": self.added, "objects": self.objects, "bytes": self.bytes}
