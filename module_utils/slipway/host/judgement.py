# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether people let this host switch to a release: their approvals, and authorizations where it is a step back.

What counts is what came with the request and what is kept beside the release, judged by the host's own policy, identity,
history and clock. What counted is kept, so that a later exchange, and whoever audits, finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..base.errors import Refusal
from ..base.files import full_disk_is_a_refusal
from ..trust import verify
from ..trust.approval import Approval
from ..trust.consent import Scope
from ..trust.manifest import ReleaseManifest
from .evidence import APPROVALS, AUTHORIZATIONS, Evidence
from .history import View
from .places import Places
from .transaction import Judged

MAX_GIVEN = 16


@dataclass(frozen=True)
class Passed:
    """What counted for a release: ``kept`` are envelopes by kind and by the digest of their payload."""

    judged: Judged
    kept: Mapping[str, Mapping[str, bytes]]

    def lacking(self, evidence: Evidence, release_id: str) -> dict[str, list[str]]:
        """By kind, the digests of those that are not kept beside the release yet."""
        return {kind: evidence.lacking_consents(release_id, kind, consents) for kind, consents in self.kept.items()}

    def keep(self, evidence: Evidence, release_id: str) -> bool:
        """Keep what counted, durably; True when something was not kept yet."""
        lacking = {kind: digests for kind, digests in self.lacking(evidence, release_id).items() if digests}
        with full_disk_is_a_refusal(evidence.places.state, what=f"keep the approvals of {release_id}"):
            for kind, digests in lacking.items():
                evidence.keep_consents(release_id, kind, self.kept[kind], digests)
        return bool(lacking)


def require_passed(
    places: Places,
    manifest: ReleaseManifest,
    view: View,
    current: str | None,
    request: Mapping[str, Any],
    *,
    is_rollback: bool,
) -> Passed:
    """Judge a switch to the verified release while ``current`` is active, or raise Refusal.

    request: approvals and authorizations (envelopes as text, each optional). In a rollback, which goes only to what was active
    here, expiry and approvals are not asked for again; no request decides whether it is one, but the exchange that it is for.
    """
    host, evidence, release_id = places.host, Evidence(places), manifest.release_id
    policy, identity, now = host.policy(), host.identity(), host.clock.now()
    given = {
        kind: [*_given(request, kind), *evidence.consents(release_id, kind)] for kind in (APPROVALS, AUTHORIZATIONS)
    }
    approvals: tuple[Approval, ...] = ()
    verify.require_policy_of(policy, view.policy_version)
    if not is_rollback:
        approvals = verify.require_fresh(manifest, policy, identity.environment, now, given[APPROVALS])
    authorizations = verify.require_in_sequence(
        Scope(manifest, policy, identity.environment, now),
        view.past(current),
        host_id=identity.id,
        authorizations=given[AUTHORIZATIONS],
    )
    return Passed(
        Judged(
            manifest.sequence,
            {"version": policy.version, "digest": policy.digest},
            [each.as_record() for each in approvals],
            [each.as_record() for each in authorizations],
        ),
        {
            APPROVALS: {each.digest: each.envelope for each in approvals},
            AUTHORIZATIONS: {each.digest: each.envelope for each in authorizations},
        },
    )


def _given(request: Mapping[str, Any], kind: str) -> list[bytes]:
    texts = request.get(kind) or []
    if len(texts) > MAX_GIVEN:
        raise Refusal(
            "too_many_signed",
            expected=f"at most {MAX_GIVEN} {kind} with a request",
            found=str(len(texts)),
            remedy="Remove those from the catalogue that do not count: make approvals shows them.",
        )
    return [str(text).encode("utf-8", "surrogatepass") for text in texts]
