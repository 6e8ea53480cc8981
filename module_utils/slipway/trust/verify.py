# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that says whether a release may be trusted. It only reads, and gives the same answer twice.

verify_manifest    signed by the builder of this host's policy, for this application, not revoked, above the floor
require_fresh      neither manifest nor policy nor key has expired, and those approved who must; asked when a release
                   is activated by a deploy, never when one is rolled back to or running
require_in_sequence  it is not older than what ran here, or may be gone back to; asked of every switch that somebody
                   wants, never when an unconfirmed switch is taken back
verify_file_list   these are the bytes that the manifest names, and the artifacts it promotes are among them
verify_tree        these are the files that the list names, and no others
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal, shown
from . import dsse
from .approval import Approval
from .authorization import Authorization
from .consent import Missing, Scope, Standing, judge_approvals, judge_authorizations
from .manifest import ReleaseManifest, require_not_from_future
from .policy import BUILDER, TrustPolicy
from .tree import Difference, FileList, differences

_WHAT: Final = "release manifest"
_NAMED_DIFFERENCES: Final = 5


def verify_manifest(
    policy: TrustPolicy, envelope: bytes, *, application: str, environment: str, now: int | None
) -> ReleaseManifest:
    """Return the manifest in `envelope` when this environment's policy trusts it for `application`, or raise Refusal.

    `now` (Unix seconds, the host's own clock) serves against sequences from the future only, and is None for what was
    judged so before; `require_fresh` judges expiry.
    """
    policy.environment(environment)
    signed = _open(envelope)
    builders = policy.signed_by(BUILDER, signed, what=_WHAT)
    _refuse_revoked(policy, signed.payload)
    manifest = ReleaseManifest.parse(signed.payload)
    valid = policy.require_valid(BUILDER, builders, at=manifest.sequence, what=_WHAT)
    holders = sorted({key.holder for key in valid})
    if manifest.builder not in holders:
        raise Refusal(
            "builder_mismatch",
            expected=f"the builder {shown(manifest.builder)} among the signers",
            found=", ".join(holders),
            remedy="Build the release again with the key of the builder it names.",
        )
    if manifest.application != application:
        raise Refusal(
            "application_mismatch",
            expected=f"a release of {application}",
            found=f"a release of {manifest.application}",
            remedy="Give a release of this application; -e application= says which one is meant.",
        )
    _require_above_floor(policy, manifest)
    if now is not None:
        require_not_from_future(manifest, now)
    return replace(manifest, keyids=tuple(sorted(key.public.keyid for key in valid)))


def parse_manifest(envelope: bytes) -> ReleaseManifest:
    """Return the manifest in `envelope` with nothing verified: for showing and finding, never for acting on."""
    return ReleaseManifest.parse(_open(envelope).payload)


def _open(envelope: bytes) -> dsse.Envelope:
    return dsse.Envelope.parse(envelope, payload_type=dsse.IN_TOTO_TYPE, what=_WHAT)


def require_fresh(
    manifest: ReleaseManifest, policy: TrustPolicy, environment: str, now: int, approvals: Iterable[bytes]
) -> tuple[Approval, ...]:
    """Refuse to activate what has expired or was not approved; return the approvals that count.

    A candidate is only ever judged in check mode, so there is nothing to approve.
    """
    require_current(manifest, policy, environment, now)
    if manifest.promotion.candidate:
        return ()
    return require_approved(manifest, policy, environment, now, approvals)


def require_current(manifest: ReleaseManifest, policy: TrustPolicy, environment: str, now: int) -> None:
    """Refuse to activate what has expired: the policy, the manifest, its age here, or the key that signed it.

    Expiry bounds how long a thief of a key or a mirror of old releases can bring something new; it never stops a
    running service and never blocks the way back.
    """
    age = policy.environment(environment).max_manifest_age
    _require_before(now, seconds_of(policy.expires), "policy_expired", "a trust policy", "Sign and roll out a new one.")
    rebuild = "Build the release again."
    _require_before(now, seconds_of(manifest.expires), "manifest_expired", "a release manifest", rebuild)
    too_old = f"a release manifest no older than {age} s in {environment}"
    _require_before(now, manifest.sequence + age, "manifest_too_old", too_old, rebuild)
    builders = policy.roles[BUILDER].keys
    signers = [key for key in builders if key.public.keyid in manifest.keyids]
    policy.require_valid(BUILDER, signers, at=now, what=_WHAT)


def require_policy_of(policy: TrustPolicy, newest: int) -> None:
    """Refuse to decide by a trust policy older than version `newest`, which this host has decided by before."""
    if policy.version < newest:
        raise Refusal(
            "policy_version_older",
            expected=f"version {newest} of the trust policy or a newer one, as the history of this host names it",
            found=f"version {policy.version}",
            remedy="Find out who put the older one back; playbooks/trust.yml brings the newest again.",
        )


def require_approved(
    manifest: ReleaseManifest, policy: TrustPolicy, environment: str, now: int, approvals: Iterable[bytes]
) -> tuple[Approval, ...]:
    """Return the approvals that count, or refuse with who is missing, who may step in, and how.

    The reason is `approval_missing` when one was not given, else that of what was given and does not count.
    """
    standing = judge_approvals(Scope(manifest, policy, environment, now), approvals)
    if not standing.missing:
        return standing.counted
    expected = f"{manifest.release_id} approved for {environment}: {standing.asked()}"
    remedy = f"Have it approved: {'; '.join(_approve(manifest, environment, each) for each in standing.missing)}"
    raise Refusal(
        standing.reason() or ("approver_not_distinct" if standing.repeated else "approval_missing"),
        expected=expected,
        found=standing.found(),
        remedy=f"{remedy}.",
    )


def _approve(manifest: ReleaseManifest, environment: str, missing: Missing) -> str:
    return f"make approve RELEASE_ID={manifest.release_id} ENVIRONMENT={environment} ROLE={missing.role}"


@dataclass(frozen=True)
class Highest:
    """The newest release that was deployed here with success: its sequence and the digest of its manifest."""

    sequence: int
    digest: str


@dataclass(frozen=True)
class Past:
    """What a host's own verified history says of an application. All digests but those in `used` are of manifests.

    `current` is what is active, `before` the others that were, each once, newest first; `used` are the digests of
    authorizations that the host took.
    """

    current: str | None = None
    highest: Highest | None = None
    before: Sequence[str] = ()
    used: Collection[str] = ()


def require_in_sequence(
    scope: Scope, past: Past, *, host_id: str, authorizations: Iterable[bytes]
) -> tuple[Authorization, ...]:
    """Refuse to go back further than the policy lets this host; return the authorizations that this step back needs.

    1. What is newer than all that was deployed here, or is the newest of it, or is active, is no step back.
    2. What was active here is within reach while it is among the last `rollback_depth` releases before the active one.
    3. Anything else takes authorizations by all whom the policy asks for; where it asks for nobody, there can be none.
    """
    manifest, highest = scope.manifest, past.highest
    rules = scope.policy.environment(scope.environment)
    if highest is None or manifest.sequence > highest.sequence or manifest.digest in (highest.digest, past.current):
        return ()
    if manifest.digest in past.before[: rules.rollback_depth]:
        return ()
    standing = judge_authorizations(scope, authorizations, host_id=host_id, used=past.used)
    if standing.needed and not standing.missing:
        return standing.counted
    raise _out_of_sequence(scope, past, highest, standing)


def _out_of_sequence(scope: Scope, past: Past, highest: Highest, standing: Standing[Authorization]) -> Refusal:
    manifest, depth = scope.manifest, scope.policy.environment(scope.environment).rollback_depth
    if manifest.digest in past.before:
        expected = f"one of the last {depth} releases that were active here before the active one (allowedRollback)"
        found = f"{manifest.release_id}, {past.before.index(manifest.digest) + 1} releases back"
        return _unauthorized("rollback_too_deep", expected, found, scope, standing)
    if manifest.sequence == highest.sequence:
        found = f"{manifest.release_id}, whose sequence is that of another release, the newest one deployed here"
        return _unauthorized("sequence_taken", "one release for each sequence", found, scope, standing)
    expected = "a release newer than all that were deployed here, or one that was active here"
    found = f"{manifest.release_id}, created {manifest.created}; the newest one deployed here was created {timestamp(highest.sequence)}"
    return _unauthorized("sequence_behind", expected, found, scope, standing)


def _unauthorized(reason: str, expected: str, found: str, scope: Scope, standing: Standing[Authorization]) -> Refusal:
    """The refusal of a step back, with who may authorize it; the reason of what they gave goes before ours."""
    release_id, environment = scope.manifest.release_id, scope.environment
    if not standing.needed:
        remedy = f"Deploy a newer release; the trust policy lets nobody authorize a rollback in {environment}."
        return Refusal(reason, expected=expected, found=found, remedy=remedy)
    asked = "; ".join(
        f"make authorize-rollback RELEASE_ID={release_id} ENVIRONMENT={environment} ROLE={each.role} HOSTS=…"
        for each in standing.missing
    )
    return Refusal(
        standing.reason() or reason,
        expected=f"{expected}, or {standing.asked()} who authorize it",
        found=f"{found}; authorizations: {standing.found()}",
        remedy=f"Deploy a newer release, or have this one authorized: {asked}.",
    )


def verify_file_list(manifest: ReleaseManifest, data: bytes) -> FileList:
    """Return the file list in `data` when it is the one that the verified `manifest` names, or raise Refusal."""
    file_list = FileList.parse(data, digest=manifest.tree_digest, limit=manifest.tree_size)
    files, size = len(file_list.files), file_list.total_bytes
    if files != manifest.limits.files or size != manifest.limits.bytes or len(data) != manifest.tree_size:
        raise Refusal(
            "file_list_limits",
            expected=f"{manifest.limits.files} files with {manifest.limits.bytes} bytes in {manifest.tree_size}",
            found=f"{files} files with {size} bytes in {len(data)}",
            remedy="Build the release again.",
        )
    manifest.promotion.require_artifacts_of(file_list)
    return file_list


def verify_tree(
    file_list: FileList, directory: Path, *, links: Mapping[str, str] | None = None, owner: int = 0
) -> None:
    """Raise Refusal("release_altered") when `directory` is not exactly `file_list`; see `tree.differences`."""
    require_unaltered(differences(file_list, directory, links=links, owner=owner), directory)


def require_unaltered(found: list[Difference], directory: Path) -> None:
    """Raise Refusal("release_altered") that names the first differences with their codes and counts the others."""
    if not found:
        return
    named = "; ".join(f"{shown(d.path)[1:-1]} {d.problem} [{d.code}]" for d in found[:_NAMED_DIFFERENCES])
    others = len(found) - _NAMED_DIFFERENCES
    raise Refusal(
        "release_altered",
        expected=f"{directory} exactly as its signed file list says",
        found=f"{named}; and {others} more" if others > 0 else named,
        remedy="Find out who changed it. If it is active, roll back or deploy another; if not, deploying it builds it anew.",
    )


def _refuse_revoked(policy: TrustPolicy, payload: bytes) -> None:
    digest = hashlib.sha256(payload).hexdigest()
    if digest in policy.revoked_payloads:
        raise Refusal(
            "manifest_revoked",
            expected="a release that the trust policy does not revoke",
            found=f"the revoked manifest {digest}",
            remedy="Deploy another release.",
        )


def _require_above_floor(policy: TrustPolicy, manifest: ReleaseManifest) -> None:
    floor = policy.min_safe_sequence.get(manifest.application, 0)
    if manifest.sequence < floor:
        raise Refusal(
            "below_floor",
            expected=f"a release of {manifest.application} created at {timestamp(floor)} or later",
            found=f"{manifest.release_id}, created {manifest.created}",
            remedy="Older releases are known to be unsafe (minSafeSequence); deploy a newer one.",
        )


def _require_before(now: int, end: int, reason: str, what: str, remedy: str) -> None:
    if now >= end:
        raise Refusal(
            reason,
            expected=f"{what}, valid at {timestamp(now)}",
            found=f"its end at {timestamp(end)}",
            remedy=remedy,
        )
