# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a release: from a directory or an archive to objects, file list and signed manifest in the catalogue.

The source says itself what it is (descriptor.py) and is read once (source.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..base.clock import CLOCK_TOLERANCE_SECONDS, timestamp
from ..base.errors import Refusal, shown
from ..base.fields import VERSION, require_release_id
from ..trust import dsse, verify
from ..trust.keys import PublicKey, SigningKey
from ..trust.lifecycle import require_programs
from ..trust.manifest import Limits, ReleaseManifest, statement
from ..trust.members import require_sound
from ..trust.policy import BUILDER, TrustPolicy
from ..trust.promotion import Artifact, Metadata, Promotion
from ..trust.tree import FileList
from . import archive
from .catalogue import Catalogue
from .descriptor import Descriptor
from .migrations import read_migrations
from .source import Content, Facts, facts, opened, read
from .validation import evidence_of

DEFAULT_VALID_SECONDS: Final = 365 * 86400


@dataclass(frozen=True)
class Request:
    """What to make a release of, and in whose name; `now` and `valid_seconds` are Unix seconds and seconds.

    `audit` is a validated audit bundle of this source; it also says build and tickets, which then need not be given.
    """

    source: Path
    builder_key: SigningKey
    policy: TrustPolicy
    now: int
    release_id: str | None = None
    version: str | None = None
    release_type: str = "minor"
    candidate: bool = False
    audit: Path | None = None
    build_id: str | None = None
    tickets: tuple[str, ...] = ()
    valid_seconds: int = DEFAULT_VALID_SECONDS
    max_bytes: int = archive.MAX_BYTES


@dataclass(frozen=True)
class Made:
    """A release, and whether it is new; `previous` is the file list of the newest release before it."""

    changed: bool
    manifest: ReleaseManifest
    file_list: FileList
    path: Path
    previous: FileList | None


def listing(file_list: FileList | None) -> str:
    """Return the list as text, one line for each entry, for people and for comparing."""
    entries = file_list.entries if file_list else ()
    return "".join(f"{e.type:7} {e.mode:04o} {e.sha256[:16] or e.target or '-':16} {e.path}\n" for e in entries)


def make(request: Request, catalogue: Catalogue, *, check: bool = False) -> Made:
    """Make a release and add it to the catalogue; with `check` say what would be made and write nothing there.

    1. The source is surveyed, read once, and surveyed again: one that changed meanwhile is refused.
    2. Its members are checked, all problems named at once.
    3. A release of the same id and content is left alone, or mended when something of it is missing or damaged; one
       of other content is refused.
    4. The sequence is `now`, or one more than the newest release's: no two releases of an application share it.
    """
    with opened(request.source, max_bytes=request.max_bytes) as (directory, descriptor):
        place: AbstractContextManager[Path | None] = nullcontext()
        if not check:
            place = catalogue.workspace(descriptor.application)
        with place as workspace:
            content = read(directory, descriptor, workspace)
            found = facts(request.source, descriptor, content, request.version)
            draft = _Draft(
                request, descriptor, content, found, _promotion(request, directory, descriptor, content, found)
            )
            return _make(draft, catalogue, workspace)


@dataclass(frozen=True)
class _Draft:
    """Everything that a manifest says, but its release id and sequence."""

    request: Request
    descriptor: Descriptor
    content: Content
    facts: Facts
    promotion: Promotion


def _make(draft: _Draft, catalogue: Catalogue, workspace: Path | None) -> Made:
    request, content, application = draft.request, draft.content, draft.descriptor.application
    existing = catalogue.releases(application)
    sequence = _sequence(request.now, existing)
    release_id = request.release_id or f"release_{datetime.fromtimestamp(sequence, UTC):%Y%m%d_%H%M%S}"
    require_release_id(release_id)
    version = draft.facts.version or release_id
    _require_version(version)
    require_sound(content.findings, version)
    require_programs(
        draft.descriptor.hooks, draft.descriptor.migrations, {file.path: file.mode for file in content.file_list.files}
    )
    same = next((manifest for manifest in existing if manifest.release_id == release_id), None)
    if same:
        _require_same(same, draft, version)
        envelope = catalogue.manifest_bytes(same.application, release_id)
    else:
        envelope = _signed(draft, sequence=sequence, release_id=release_id, version=version)
    made = Made(
        changed=not same or not catalogue.is_intact(same, content.file_list),
        manifest=verify.parse_manifest(envelope),
        file_list=content.file_list,
        path=catalogue.manifest_path(application, release_id),
        previous=content.file_list if same else catalogue.newest_file_list(existing),
    )
    if workspace and made.changed:
        catalogue.add(envelope, content.file_list.encode(), content.objects)
    return made


def _promotion(request: Request, directory: Path, descriptor: Descriptor, content: Content, found: Facts) -> Promotion:
    """What the manifest says of evidence, artifacts, the way back, the watch and where the release comes from."""
    given = Metadata.asked(request.build_id, request.tickets)
    evidence = (
        evidence_of(request.audit, found, descriptor, build_id=given.build_id, tickets=given.tickets)
        if request.audit
        else None
    )
    return Promotion(
        release_type=request.release_type,
        audit=evidence.reference if evidence else None,
        artifacts=_artifacts(descriptor, content),
        verification_steps=descriptor.verification_steps,
        monitoring=descriptor.monitoring,
        metadata=Metadata(
            git_branch=found.checkout.branch,
            git_tag=found.checkout.tag,
            build_id=evidence.build_id if evidence else given.build_id,
            tickets=evidence.tickets if evidence else given.tickets,
        ),
        database=read_migrations(directory, descriptor.database) if descriptor.database else None,
        candidate=request.candidate,
    )


def _artifacts(descriptor: Descriptor, content: Content) -> tuple[Artifact, ...]:
    """The members that have a kind and are there, in the order of slipway.yml, with the version that they state."""
    there = {entry.path: entry.sha256 for entry in content.file_list.files}
    return tuple(
        Artifact(
            member.kind, member.path, there[member.path], content.findings.versions.get(member.path, member.version)
        )
        for member in descriptor.members
        if member.kind and member.path in there
    )


def _signed(draft: _Draft, *, sequence: int, release_id: str, version: str) -> bytes:
    """Return the manifest's envelope, verified with the trust policy as a host would verify it."""
    request, content = draft.request, draft.content
    payload = statement(
        application=draft.descriptor.application,
        version=version,
        release_id=release_id,
        sequence=sequence,
        expires=timestamp(sequence + request.valid_seconds),
        builder=request.policy.holder(BUILDER, PublicKey.of(request.builder_key)),
        source=_described(draft.facts),
        limits=Limits(len(content.file_list.files), content.file_list.total_bytes),
        tree_digest=content.file_list.digest,
        tree_size=len(content.file_list.encode()),
        bundle_digest=content.bundle_digest,
        members=draft.descriptor.members,
        promotion=draft.promotion,
        hooks=draft.descriptor.hooks,
        migrations=draft.descriptor.migrations,
    )
    envelope = dsse.sign(dsse.IN_TOTO_TYPE, payload, request.builder_key)
    keys = request.policy.signed_by(BUILDER, envelope, what="release manifest")
    request.policy.require_valid(BUILDER, keys, at=sequence, what="release manifest")
    return envelope.encode()


def _sequence(now: int, existing: Sequence[ReleaseManifest]) -> int:
    sequence = max(now, existing[0].sequence + 1) if existing else now
    if sequence > now + CLOCK_TOLERANCE_SECONDS:
        raise Refusal(
            "clock_set_back",
            expected=f"a clock later than the newest release, {existing[0].release_id} of {existing[0].created}",
            found=timestamp(now),
            remedy="Set this machine's clock right (timedatectl), then make the release again.",
        )
    return sequence


def _require_version(version: str) -> None:
    if not VERSION.match(version):
        raise Refusal(
            "version_invalid",
            expected="a version such as 1.2.3",
            found=shown(version),
            remedy="Use letters, digits, dots, dashes, pluses and underscores, starting with a letter or digit.",
        )


def _require_same(manifest: ReleaseManifest, draft: _Draft, version: str) -> None:
    """Refuse to give a release id that is taken to something else: an id means one content for ever.

    Evidence, build and tickets are compared only where they are given again. Branch and tag are not: they move.
    """
    there, wanted = manifest.promotion, draft.promotion
    facts = (
        ("files", manifest.tree_digest, draft.content.file_list.digest),
        ("version", manifest.version, version),
        ("members", manifest.members, draft.descriptor.members),
        ("type", there.release_type, wanted.release_type),
        ("rollback plan", there.verification_steps, wanted.verification_steps),
        ("monitoring", there.monitoring, wanted.monitoring),
        ("database", there.database, wanted.database),
        ("hooks", manifest.hooks, draft.descriptor.hooks),
        ("migrations", manifest.migrations, draft.descriptor.migrations),
        ("audit", there.audit, wanted.audit or there.audit),
        ("build id", there.metadata.build_id, wanted.metadata.build_id or there.metadata.build_id),
        ("tickets", there.metadata.tickets, wanted.metadata.tickets or there.metadata.tickets),
    )
    others = [name for name, before, now in facts if before != now]
    if others:
        raise Refusal(
            "release_exists",
            expected=f"a new release id, or the same content as {manifest.release_id} of {manifest.created}",
            found=f"other {' and '.join(others)}",
            remedy="Give another release_id, or none for one made from the time.",
        )


def _described(found: Facts) -> dict[str, str]:
    commit = found.checkout.commit
    return {"kind": found.kind, "name": found.name, **({"git_commit": commit} if commit else {})}
