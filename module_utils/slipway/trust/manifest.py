# SPDX-License-Identifier: GPL-3.0-or-later
"""The release manifest: an in-toto Statement v1 that says what a release is made of, by whom, and until when.

Subjects: `bundle`, the release as one deterministic tar stream, and `tree`, its file list (tree.py); sha256 each.
The predicate has the members of `statement` and no others, those of promotion.py optional; times are RFC 3339 in UTC,
sizes are bytes. What is run on hosts is in lifecycle.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..base import canonical
from ..base.clock import CLOCK_TOLERANCE_SECONDS, seconds_of, timestamp
from ..base.errors import Refusal
from ..base.fields import GIT_COMMIT, LAST_SECOND, NAME, ONE_LINE, RELEASE_ID, VERSION, Fields
from .lifecycle import Hooks, Migration, take_migrations
from .members import Member, read_members
from .promotion import Promotion
from .statement import STATEMENT_TYPE, require_type, sha256_of, subjects_of
from .tree import MAX_FILE_LIST_BYTES

RELEASE_MANIFEST_TYPE: Final = "https://slipway.dev/release-manifest/v1"

_WHAT: Final = "release manifest"
_REASON: Final = "manifest_malformed"


@dataclass(frozen=True)
class Limits:
    """The size of the release, known before anything of it is read: regular files and the bytes in them."""

    files: int
    bytes: int


@dataclass(frozen=True)
class ReleaseManifest:
    """A manifest as parsed; it is worth something only when `verify.verify_manifest` returned it.

    `digest` is the sha256 of the payload and names the manifest everywhere. `keyids` are the builder's keys that
    signed it, empty before verification. `tree_size` is the length of the file list in bytes.
    """

    application: str
    version: str
    release_id: str
    sequence: int
    created: str
    expires: str
    builder: str
    source: Mapping[str, str]
    limits: Limits
    members: tuple[Member, ...]
    tree_digest: str
    tree_size: int
    bundle_digest: str
    digest: str
    predicate: Mapping[str, Any]
    promotion: Promotion = field(default_factory=Promotion)
    hooks: Hooks = field(default_factory=Hooks)
    migrations: tuple[Migration, ...] = ()
    keyids: tuple[str, ...] = ()

    @classmethod
    def parse(cls, payload: bytes) -> ReleaseManifest:
        """Read the canonical payload of a manifest's envelope, or raise Refusal."""
        document = canonical.parse_canonical(payload, what=_WHAT)
        statement = Fields(document, _WHAT, _REASON)
        require_type(statement, RELEASE_MANIFEST_TYPE)
        bundle_digest, tree_digest = _subjects(statement)
        fields = statement.object("predicate")
        statement.end()
        limits = fields.object("limits")
        manifest = cls(
            application=fields.text("application", NAME),
            version=fields.text("version", VERSION),
            release_id=fields.text("release_id", RELEASE_ID),
            sequence=fields.integer("sequence", maximum=LAST_SECOND),
            created=fields.time("created"),
            expires=fields.time("expires"),
            builder=fields.text("builder", NAME),
            source=_source(fields.object("source")),
            limits=Limits(limits.integer("files"), limits.integer("bytes")),
            members=read_members(fields.objects("members", maximum=1000)),
            tree_digest=tree_digest,
            tree_size=limits.integer("tree_bytes", maximum=MAX_FILE_LIST_BYTES),
            bundle_digest=bundle_digest,
            digest=hashlib.sha256(payload).hexdigest(),
            predicate=document["predicate"],
            promotion=Promotion.take(fields),
            hooks=Hooks.take(fields.object("hooks")),
            migrations=take_migrations(fields),
        )
        limits.end()
        fields.end()
        _require_order(manifest)
        return manifest


def statement(
    *,
    application: str,
    version: str,
    release_id: str,
    sequence: int,
    expires: str,
    builder: str,
    source: Mapping[str, str],
    limits: Limits,
    tree_digest: str,
    tree_size: int,
    bundle_digest: str,
    members: Sequence[Member] = (),
    promotion: Promotion | None = None,
    hooks: Hooks | None = None,
    migrations: Sequence[Migration] = (),
) -> bytes:
    """Return the canonical payload of a release manifest; `created` is the time that `sequence` stands for."""
    predicate = {
        "application": application,
        "builder": builder,
        "created": timestamp(sequence),
        "expires": expires,
        "hooks": (hooks or Hooks()).as_dict(),
        "limits": {"bytes": limits.bytes, "files": limits.files, "tree_bytes": tree_size},
        "members": [member.as_dict() for member in members],
        "migrations": [migration.as_dict() for migration in migrations],
        "release_id": release_id,
        "sequence": sequence,
        "source": dict(source),
        "version": version,
        **(promotion or Promotion()).as_dict(),
    }
    payload = canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": predicate,
            "predicateType": RELEASE_MANIFEST_TYPE,
            "subject": [
                {"digest": {"sha256": bundle_digest}, "name": "bundle"},
                {"digest": {"sha256": tree_digest}, "name": "tree"},
            ],
        }
    )
    ReleaseManifest.parse(payload)
    return payload


def require_not_from_future(manifest: ReleaseManifest, now: int) -> None:
    """Refuse a sequence ahead of the clock: it would shut out every honest release until then (fast-forward)."""
    if manifest.sequence > now + CLOCK_TOLERANCE_SECONDS:
        raise Refusal(
            "manifest_from_future",
            expected=f"a manifest created by {timestamp(now)} and at most {CLOCK_TOLERANCE_SECONDS} s later",
            found=manifest.created,
            remedy="Compare the clocks of the builder and of this host.",
        )


def _subjects(fields: Fields) -> tuple[str, str]:
    """Return the digests of bundle and tree, which are there once each and in this order."""
    subjects = subjects_of(fields, "the two subjects bundle and tree", 2)
    digests: list[str] = []
    for subject, name in zip(subjects, ("bundle", "tree"), strict=True):
        subject.choice("name", name)
        digests.append(sha256_of(subject))
        subject.end()
    return digests[0], digests[1]


def _source(fields: Fields) -> dict[str, str]:
    source = {"kind": fields.choice("kind", "directory", "archive"), "name": fields.text("name", ONE_LINE)}
    if "git_commit" in fields:
        source["git_commit"] = fields.text("git_commit", GIT_COMMIT)
    fields.end()
    return source


def _require_order(manifest: ReleaseManifest) -> None:
    found = ""
    if manifest.sequence != seconds_of(manifest.created):
        found = f"sequence {manifest.sequence}, created {manifest.created}"
    elif seconds_of(manifest.expires) <= manifest.sequence:
        found = f"created {manifest.created}, expires {manifest.expires}"
    if found:
        raise Refusal(
            _REASON,
            expected=f"{_WHAT}: sequence is created in Unix seconds, and expires is later",
            found=found,
            remedy="Build the release again.",
        )
