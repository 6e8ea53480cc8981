# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that says whether a release may be trusted. It only reads, and gives the same answer twice.

verify_manifest    signed by the builder of this host's policy, for this application, not revoked, above the floor
require_fresh      neither manifest nor policy nor key has expired, and nobody has yet to approve; asked when a release
                   is activated by a deploy, never when one is rolled back to or running
verify_file_list   these are the bytes that the manifest names, and the artifacts it promotes are among them
verify_tree        these are the files that the list names, and no others
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal, shown
from . import dsse
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


def require_fresh(manifest: ReleaseManifest, policy: TrustPolicy, environment: str, now: int) -> None:
    """Refuse to activate what has expired, or what nobody approved."""
    require_current(manifest, policy, environment, now)
    _require_no_approvals(policy, environment)


def require_current(manifest: ReleaseManifest, policy: TrustPolicy, environment: str, now: int) -> None:
    """Refuse what has expired: the policy, the manifest, its age in the environment, or the key that signed it.

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


def _require_no_approvals(policy: TrustPolicy, environment: str) -> None:
    """Approvals cannot be given yet, so where the policy asks for one nothing is activated, rather than unapproved."""
    asked = policy.environment(environment).require
    if asked:
        raise Refusal(
            "approval_missing",
            expected=f"the approvals that the trust policy asks for in {environment}",
            found=f"none by {', '.join(each.role for each in asked)}: this version of Slipway knows no approvals yet",
            remedy="Leave `require` of the environment empty until it does.",
        )


def _require_before(now: int, end: int, reason: str, what: str, remedy: str) -> None:
    if now >= end:
        raise Refusal(
            reason,
            expected=f"{what}, valid at {timestamp(now)}",
            found=f"its end at {timestamp(end)}",
            remedy=remedy,
        )
