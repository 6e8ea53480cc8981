# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose approvals, or rollback authorizations, count for a release, here and now; who is missing, and who may step in.

One that does not count disturbs nothing: it is set apart with its Refusal, and told only where too few others count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ..base.clock import CLOCK_TOLERANCE_SECONDS, seconds_of, timestamp
from ..base.errors import Refusal
from . import dsse, quorum
from .approval import APPROVE, Approval, open_approval
from .authorization import Authorization, open_authorization
from .manifest import ReleaseManifest
from .policy import BUILDER, Key, Requirement, TrustPolicy

Consent = TypeVar("Consent", Approval, Authorization)
_REMEDIES: Final = {"approval": "Have it given again: make approve.", "authorization": "Have it given again."}


@dataclass(frozen=True)
class Scope:
    """For what a consent is judged: a verified manifest, an environment of this policy, a time in Unix seconds."""

    manifest: ReleaseManifest
    policy: TrustPolicy
    environment: str
    now: int


@dataclass(frozen=True)
class Uncounted:
    """One that does not count, and why; `role` and `holder` are None where it could not be read."""

    role: str | None
    holder: str | None
    refusal: Refusal

    def described(self) -> str:
        who = f"{self.role} by {self.holder}" if self.role else "one that cannot be read"
        return f"{who} ({self.refusal.reason}: {self.refusal.found})"


@dataclass(frozen=True)
class Missing:
    """So many holders of this role are missing; `holders` are those who may still agree."""

    role: str
    count: int
    holders: tuple[str, ...]

    def described(self) -> str:
        who = f"{', '.join(self.holders)} may give it" if self.holders else "the trust policy has nobody left for it"
        return f"{self.count} {self.role} ({who})"


@dataclass(frozen=True)
class Standing(Generic[Consent]):
    """What is asked for, what counts (one for each holder in each role), what is missing, and what does not count.

    `repeated` says that all is there but for one holder standing for two roles, which this environment does not take.
    """

    needed: Mapping[str, int]
    counted: tuple[Consent, ...]
    missing: tuple[Missing, ...]
    uncounted: tuple[Uncounted, ...]
    repeated: bool = False

    def found(self) -> str:
        """What there is, what is missing and what does not count, as one line."""
        there = ", ".join(f"{each.role} by {each.holder}" for each in self.counted) or "none"
        lacking = ", ".join(each.described() for each in self.missing)
        apart = ", ".join(each.described() for each in self.uncounted)
        parts = [there]
        parts += [f"missing: {lacking}"] if lacking else []
        parts += ["nobody counts for two roles here"] if self.repeated else []
        parts += [f"not counted: {apart}"] if apart else []
        return "; ".join(parts)

    def asked(self) -> str:
        """Who must agree: "1 engineering-lead, 1 risk-manager"."""
        return ", ".join(f"{count} {role}" for role, count in self.needed.items()) or "nobody"

    def reason(self) -> str | None:
        """The reason of what was given, where every place that is missing was given so; None where one was not given."""
        claimed = [each.role for each in self.uncounted]
        short = sum(max(0, each.count - claimed.count(each.role)) for each in self.missing)
        if short > claimed.count(None):
            return None
        roles = {None, *(each.role for each in self.missing)}
        return next((each.refusal.reason for each in self.uncounted if each.role in roles), None)


def judge_approvals(scope: Scope, envelopes: Iterable[bytes]) -> Standing[Approval]:
    """Say which approvals count for the release in this environment at this time; nothing is raised."""
    rules = scope.policy.environment(scope.environment)

    def opened(envelope: bytes) -> tuple[dsse.Envelope, Approval]:
        return open_approval(envelope)

    def require(signed: dsse.Envelope, approval: Approval) -> None:
        _require_holder("approval", scope, signed, approval)
        if approval.decision != APPROVE:
            raise _uncounted(
                "approval_rejects", "the decision approve", approval.decision, "Build a release that they approve."
            )
        age = rules.max_approval_age
        if scope.now >= seconds_of(approval.created) + age:
            raise _uncounted(
                "approval_too_old",
                f"an approval no older than {age} s in {scope.environment}",
                f"one of {approval.created}",
                _REMEDIES["approval"],
            )

    return _judge(scope, rules.require, envelopes, opened, require)


def judge_authorizations(
    scope: Scope, envelopes: Iterable[bytes], *, host_id: str, used: Collection[str]
) -> Standing[Authorization]:
    """Say which rollback authorizations count on this host; `used` are the digests of those that it took before."""
    rules = scope.policy.environment(scope.environment)

    def opened(envelope: bytes) -> tuple[dsse.Envelope, Authorization]:
        return open_authorization(envelope)

    def require(signed: dsse.Envelope, authorization: Authorization) -> None:
        _require_holder("authorization", scope, signed, authorization)
        remedy = _REMEDIES["authorization"]
        if host_id not in authorization.hosts:
            others = f"one for {len(authorization.hosts)} other hosts"
            raise _uncounted(
                "authorization_of_another_host", f"an authorization for the host {host_id}", others, remedy
            )
        if authorization.digest in used:
            found = f"{authorization.digest}, which this host's history names"
            raise _uncounted("authorization_used", "an authorization that was not used here", found, remedy)

    return _judge(scope, rules.rollback_require, envelopes, opened, require)


def _judge(
    scope: Scope,
    requirements: Sequence[Requirement],
    envelopes: Iterable[bytes],
    opened: Callable[[bytes], tuple[dsse.Envelope, Consent]],
    require: Callable[[dsse.Envelope, Consent], None],
) -> Standing[Consent]:
    best: dict[tuple[str, str], Consent] = {}
    uncounted: list[Uncounted] = []
    for envelope in dict.fromkeys(envelopes):
        try:
            signed, consent = opened(envelope)
        except Refusal as refusal:
            uncounted.append(Uncounted(None, None, refusal))
            continue
        try:
            require(signed, consent)
        except Refusal as refusal:
            uncounted.append(Uncounted(consent.role, consent.holder, refusal))
            continue
        place = (consent.role, consent.holder)
        best[place] = max(best.get(place, consent), consent, key=lambda each: (each.expires, each.digest))
    # The policy also has a threshold for each role, so the stricter of the two is asked for.
    needed = {each.role: max(each.threshold, scope.policy.roles[each.role].threshold) for each in requirements}
    counted = tuple(best[place] for place in sorted(best) if place[0] in needed)
    given = {role: [each.holder for each in counted if each.role == role] for role in needed}
    distinct = scope.policy.environment(scope.environment).distinct_holders
    lacking = quorum.missing(needed, given, distinct=distinct)
    missing = tuple(
        Missing(role, count, tuple(sorted(set(able_to_agree(scope, role)) - set(given[role]))))
        for role, count in lacking.items()
    )
    repeated = bool(missing) and not quorum.missing(needed, given, distinct=False)
    return Standing(needed, counted, missing, tuple(uncounted), repeated)


def able_to_agree(scope: Scope, role: str) -> list[str]:
    """The holders of the role who may agree to this release now: with a valid key, and not its builders."""
    builders = _builders(scope)
    keys = scope.policy.roles[role].keys
    return sorted(
        {key.holder for key in keys if _is_usable(scope.policy, key, scope.now) and key.holder not in builders}
    )


def _is_usable(policy: TrustPolicy, key: Key, now: int) -> bool:
    return key.public.keyid not in policy.revoked_keys and key.is_valid_at(now)


def _builders(scope: Scope) -> set[str]:
    keys = scope.policy.roles[BUILDER].keys
    return {scope.manifest.builder, *(key.holder for key in keys if key.public.keyid in scope.manifest.keyids)}


def _require_holder(kind: str, scope: Scope, signed: dsse.Envelope, consent: Approval | Authorization) -> None:
    """Refuse a consent that was not signed by who it names, for this release and here, or not for this time."""
    _require_signature(kind, scope, signed, consent)
    _require_scope(kind, scope, consent)
    _require_time(kind, scope, consent)


def _require_signature(kind: str, scope: Scope, signed: dsse.Envelope, consent: Approval | Authorization) -> None:
    policy, remedy = scope.policy, _REMEDIES[kind]
    if consent.digest in policy.revoked_payloads:
        raise _uncounted(f"{kind}_revoked", f"an {kind} that the trust policy does not revoke", consent.digest, remedy)
    named = f"a signature by a key of {consent.holder} in the role {consent.role}"
    role = policy.roles.get(consent.role)
    keys = [key for key in role.keys if key.holder == consent.holder] if role else []
    signers = dsse.signers(signed, [key.public for key in keys])
    own = [key for key in keys if key.public in signers]
    if not own:
        others = _signers_of_any_role(policy, signed)
        if others:
            raise _uncounted("approver_mismatch", named, f"one by {', '.join(others)}", remedy)
        raise _uncounted("signature_unknown", named, "none by any key of the trust policy over these bytes", remedy)
    trusted = [key for key in own if key.public.keyid not in policy.revoked_keys]
    if not trusted:
        raise _uncounted("key_revoked", named, "one by a revoked key", remedy)
    times = (seconds_of(consent.created), scope.now)
    if not any(all(key.is_valid_at(time) for time in times) for key in trusted):
        found = ", ".join(f"{timestamp(key.not_before)} to {timestamp(key.not_after)}" for key in trusted)
        expected = f"{named} valid at {consent.created} and at {timestamp(scope.now)}"
        raise _uncounted("key_outside_validity", expected, found, remedy)
    if consent.holder in _builders(scope):
        raise _uncounted(f"{kind}_by_builder", f"an {kind} by somebody other than its builder", consent.holder, remedy)


def _signers_of_any_role(policy: TrustPolicy, signed: dsse.Envelope) -> list[str]:
    """Who did sign, as "holder (role)"."""
    keys = [(role.name, key) for role in policy.roles.values() for key in role.keys]
    signers = dsse.signers(signed, [key.public for _, key in keys])
    return sorted(f"{key.holder} ({role})" for role, key in keys if key.public in signers)


def _require_scope(kind: str, scope: Scope, consent: Approval | Authorization) -> None:
    # Each reason stands in a place of its own, where the references find it.
    manifest, remedy = scope.manifest, _REMEDIES[kind]
    if consent.manifest_digest != manifest.digest:
        expected = f"an {kind} for {manifest.release_id}, by the digest {manifest.digest}"
        raise _uncounted(f"{kind}_of_another_release", expected, consent.manifest_digest, remedy)
    if consent.application != manifest.application:
        expected = f"an {kind} for the application {manifest.application}"
        raise _uncounted(f"{kind}_of_another_application", expected, consent.application, remedy)
    if consent.environment != scope.environment:
        expected = f"an {kind} for the environment {scope.environment}"
        raise _uncounted(f"{kind}_of_another_environment", expected, consent.environment, remedy)


def _require_time(kind: str, scope: Scope, consent: Approval | Authorization) -> None:
    remedy = _REMEDIES[kind]
    if seconds_of(consent.created) > scope.now + CLOCK_TOLERANCE_SECONDS:
        expected = f"an {kind} created by {timestamp(scope.now)} and at most {CLOCK_TOLERANCE_SECONDS} s later"
        raise _uncounted(f"{kind}_from_future", expected, consent.created, "Compare the clocks.")
    if scope.now >= seconds_of(consent.expires):
        expected = f"an {kind}, valid at {timestamp(scope.now)}"
        raise _uncounted(f"{kind}_expired", expected, f"its end at {consent.expires}", remedy)


def _uncounted(reason: str, expected: str, found: str, remedy: str) -> Refusal:
    return Refusal(reason, expected=expected, found=found, remedy=remedy)
