# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a trust policy: version N + 1 after version N, by the rules of TUF's root metadata.

A new version is signed by the root threshold of the version before and by its own, follows it without a gap, never lowers
a floor and never takes a revocation back. The version before may have expired; the newest may not. Controllers and hosts
ask the same functions, so no host takes what its controller would have refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..base.clock import CLOCK_TOLERANCE_SECONDS, seconds_of, timestamp
from ..base.errors import Refusal
from . import dsse
from .policy import ROOT, Environment, Key, Role, TrustPolicy

MAX_CHAIN: Final = 256
KEYID_SHOWN: Final = 16
_WHAT: Final = "trust policy"


@dataclass(frozen=True)
class Version:
    """One version of a trust policy and the envelope in which it was judged."""

    policy: TrustPolicy
    envelope: bytes


def rotate(current: TrustPolicy, envelope: bytes, now: int) -> TrustPolicy:
    """Return the policy in `envelope` as the one that follows `current` at `now` (Unix seconds), or raise Refusal.

    The same version with the same payload is returned as it is: nothing is to be done then.
    """
    new = follow(current, (envelope,), now)
    return new[-1].policy if new else current


def follow(current: TrustPolicy, envelopes: Sequence[bytes], now: int) -> tuple[Version, ...]:
    """Return the versions in `envelopes` that come after `current`, each judged by the one before; none is no change.

    `envelopes` is a chain in ascending order; what is older than `current` is passed over. Only the newest version must
    not have expired: those in between were replaced before anybody had to live by them.
    """
    if not 1 <= len(envelopes) <= MAX_CHAIN:
        raise Refusal(
            "policy_chain_length",
            expected=f"1 to {MAX_CHAIN} versions of the trust policy",
            found=str(len(envelopes)),
            remedy="Give the versions from the host's own to the newest, oldest first.",
        )
    newest = TrustPolicy.parse(envelopes[-1])
    if newest.version < current.version:
        raise version_older(current, newest)
    taken: list[Version] = []
    for envelope in envelopes:
        offered = TrustPolicy.parse(envelope)
        if offered.version < current.version:
            continue
        last = taken[-1].policy if taken else current
        if offered.version <= last.version:
            _require_same(last, offered)
            continue
        _require_successor(last, offered, envelope)
        taken.append(Version(offered, envelope))
    if taken:
        _require_current(taken[-1], now)
    return tuple(taken)


def _require_current(version: Version, now: int) -> None:
    """Refuse a version to live by from `now` on: one that has expired, or whose root keys are not valid (any more)."""
    policy = version.policy
    if now >= seconds_of(policy.expires):
        raise Refusal(
            "policy_expired",
            expected=f"a trust policy, valid at {timestamp(now)}",
            found=f"version {policy.version}, which ended at {policy.expires}",
            remedy="Sign a new version (make trust-draft RENEW=yes), and give that.",
        )
    signers = policy.signed_by(ROOT, _open(version.envelope), what=_WHAT)
    # A key begins at the signing; a host whose clock is a little behind takes it too.
    begun = [key for key in signers if key.not_before <= now + CLOCK_TOLERANCE_SECONDS]
    at = max([now, *(key.not_before for key in begun)])
    policy.require_valid(ROOT, signers, at=at, what=_WHAT)


def lacking(current: TrustPolicy | None, envelope: dsse.Envelope) -> list[str]:
    """Say for each root threshold that a version does not meet yet how many of its holders have to sign, and who can.

    `envelope` may be a draft that nobody has signed. `current` is the version before, None for the first.
    """
    new = TrustPolicy.from_payload(envelope.payload)
    judges = [("itself", new)] if current is None else [(f"version {current.version}", current), ("itself", new)]
    missing = []
    for name, judge in judges:
        able = [key for key in judge.roles[ROOT].keys if key.public.keyid not in judge.revoked_keys]
        signed = {key.holder for key in able if key.public in dsse.signers(envelope, [each.public for each in able])}
        more = judge.roles[ROOT].threshold - len(signed)
        if more > 0:
            others = sorted({key.holder for key in able} - signed)
            missing.append(f"{more} more by the root of {name}, of {', '.join(others) or 'nobody'}")
    return missing


def _open(envelope: bytes) -> dsse.Envelope:
    return dsse.Envelope.parse(envelope, payload_type=dsse.TRUST_POLICY_TYPE, what=_WHAT)


def version_older(current: TrustPolicy, offered: TrustPolicy) -> Refusal:
    """The refusal of a version that was in force here, and is not any more."""
    return Refusal(
        "policy_version_older",
        expected=f"version {current.version} of the trust policy, which is in force here, or a later one",
        found=f"version {offered.version}",
        remedy="Get the newest version from another controller or from a host (/etc/slipway), then run the same command.",
    )


def _require_same(known: TrustPolicy, offered: TrustPolicy) -> None:
    if offered.digest != known.digest:
        raise Refusal(
            "policy_version_taken",
            expected=f"version {known.version} of the trust policy as it is known here, {known.digest}",
            found=f"version {offered.version} with other content, {offered.digest}",
            remedy="A version is one content for ever. Find out who signed two, then sign the next version.",
        )


def _require_successor(current: TrustPolicy, offered: TrustPolicy, envelope: bytes) -> None:
    """Refuse what does not follow `current`; that its own root signed it has been judged already."""
    if offered.version != current.version + 1:
        raise Refusal(
            "policy_version_skipped",
            expected=f"version {current.version + 1} of the trust policy after version {current.version}",
            found=f"version {offered.version}",
            remedy="Give the versions in between too; the controller that made them keeps them beside its trust policy.",
        )
    try:
        current.signed_by(ROOT, _open(envelope), what=_WHAT)
    except Refusal as refusal:
        raise Refusal(
            "policy_unsigned_by_predecessor",
            expected=f"version {offered.version} of the trust policy signed by the root of version {current.version}: {refusal.expected}",
            found=refusal.found,
            remedy="Have it signed by root holders of the version before too (make trust-sign).",
        ) from refusal
    if offered.digest in current.revoked_payloads:
        raise Refusal(
            "policy_revoked",
            expected="a version that the trust policy before does not revoke",
            found=f"version {offered.version}, {offered.digest}",
            remedy="Sign another version.",
        )
    require_not_softened(current, offered)


def require_not_softened(current: TrustPolicy, offered: TrustPolicy) -> None:
    """Floors never fall and revocations never vanish, whoever signs."""
    for application, floor in sorted(current.min_safe_sequence.items()):
        if offered.min_safe_sequence.get(application, 0) < floor:
            raise Refusal(
                "policy_floor_lowered",
                expected=f"{application} to keep its floor of {floor} ({timestamp(floor)}) or a higher one",
                found=str(offered.min_safe_sequence.get(application, "none")),
                remedy="Leave the floor as it is: releases below it are known to be unsafe.",
            )
    withdrawn = sorted(
        (current.revoked_keys - offered.revoked_keys) | (current.revoked_payloads - offered.revoked_payloads)
    )
    if withdrawn:
        raise Refusal(
            "policy_revocation_withdrawn",
            expected="everything to stay revoked that version "
            f"{current.version} revokes ({len(current.revoked_keys)} keys, {len(current.revoked_payloads)} releases)",
            found=f"not revoked any more: {', '.join(withdrawn)}",
            remedy="Keep the revocation. A key that was revoked by mistake is replaced by a new one.",
        )


def differences(before: TrustPolicy | None, after: TrustPolicy) -> list[str]:
    """Say in words, one line each, what changes from `before` to `after`; what both say alike is left out."""
    if before is None:
        return described(after)
    lines = [f"version: {before.version} -> {after.version}"] if before.version != after.version else []
    if before.expires != after.expires:
        lines.append(f"expires: {before.expires} -> {after.expires}")
    lines += _key_differences(before, after)
    for name in sorted({*before.roles, *after.roles}):
        was, now = before.roles.get(name), after.roles.get(name)
        if was is None or now is None or was.threshold != now.threshold:
            lines.append(f"role {name}: {_needs(was)} -> {_needs(now)}")
    for name in sorted({*before.environments, *after.environments}):
        lines += _environment_differences(name, before.environments.get(name), after.environments.get(name))
    lines += _floor_differences(before.min_safe_sequence, after.min_safe_sequence)
    lines += [f"release {digest}: revoked" for digest in sorted(after.revoked_payloads - before.revoked_payloads)]
    return lines


def described(policy: TrustPolicy) -> list[str]:
    """Say in words, one line each, all that a policy says."""
    return [
        f"version: {policy.version}",
        f"expires: {policy.expires}",
        *(
            f"key {_named(role, key)}: {_validity(key, policy)}, public key {key.public.hex}"
            for role, key in _keys(policy).values()
        ),
        *(f"role {name}: {_needs(role)}" for name, role in sorted(policy.roles.items())),
        *(f"{name}: {text}" for name, each in sorted(policy.environments.items()) for text in _rules(each).values()),
        *_floor_differences({}, policy.min_safe_sequence),
        *(f"release {digest}: revoked" for digest in sorted(policy.revoked_payloads)),
    ]


def _keys(policy: TrustPolicy) -> dict[str, tuple[str, Key]]:
    """Every key that has a role, with that role, by key id; sorted by role, holder and beginning."""
    found = [(name, key) for name, role in policy.roles.items() for key in role.keys]
    return {key.public.keyid: (name, key) for name, key in sorted(found, key=_age)}


def _age(found: tuple[str, Key]) -> tuple[str, str, int]:
    return found[0], found[1].holder, found[1].not_before


def _named(role: str, key: Key) -> str:
    return f"{key.public.keyid[:KEYID_SHOWN]} of {key.holder} ({role})"


def _validity(key: Key, policy: TrustPolicy) -> str:
    if key.public.keyid in policy.revoked_keys:
        return "revoked"
    return f"valid from {timestamp(key.not_before)} to {timestamp(key.not_after)}"


def _key_differences(before: TrustPolicy, after: TrustPolicy) -> Iterable[str]:
    were, are = _keys(before), _keys(after)
    for keyid in sorted({*were, *are}, key=lambda keyid: _order(were, are, keyid)):
        if keyid not in are:
            yield f"key {_named(*were[keyid])}: taken out, what it signed is not trusted any more"
        elif keyid not in were:
            yield f"key {_named(*are[keyid])}: new, {_validity(are[keyid][1], after)}"
        else:
            yield from _changes_of_key(before, after, were[keyid], are[keyid])
    for keyid in sorted(after.revoked_keys - before.revoked_keys - set(are)):
        yield f"key {keyid[:KEYID_SHOWN]}: revoked"


def _order(
    were: Mapping[str, tuple[str, Key]], are: Mapping[str, tuple[str, Key]], keyid: str
) -> tuple[str, str, bool, bool, str]:
    """By role and holder; of a holder's keys those that stay first, then those that go, then those that come."""
    role, key = are.get(keyid) or were[keyid]
    return role, key.holder, keyid not in were, keyid not in are, keyid


def _changes_of_key(
    before: TrustPolicy, after: TrustPolicy, was: tuple[str, Key], now: tuple[str, Key]
) -> Iterable[str]:
    if (was[0], was[1].holder) != (now[0], now[1].holder):
        yield f"key {_named(*was)}: now of {now[1].holder} ({now[0]})"
    if _validity(now[1], after) == _validity(was[1], before):
        return
    # Every key lasts as long as the policy: that it does so anew is not worth a line.
    lasted = timestamp(was[1].not_after) == before.expires and timestamp(now[1].not_after) == after.expires
    if "revoked" in (_validity(now[1], after), _validity(was[1], before)) or not lasted:
        yield f"key {_named(*now)}: {_validity(was[1], before)} -> {_validity(now[1], after)}"
    elif was[1].not_before != now[1].not_before:
        yield f"key {_named(*now)}: begins {timestamp(was[1].not_before)} -> {timestamp(now[1].not_before)}"


def _needs(role: Role | None) -> str:
    return "none" if role is None else f"{role.threshold} of {len({key.holder for key in role.keys})} holders"


def _rules(environment: Environment | None) -> dict[str, str]:
    """What an environment asks for, a text for each of its rules."""
    if environment is None:
        return {}
    asked = ", ".join(f"{each.threshold} {each.role}" for each in environment.require) or "none"
    authorized = ", ".join(f"{each.threshold} {each.role}" for each in environment.rollback_require) or "nobody"
    return {
        "approvals": f"approvals {asked}",
        "holders": "holders distinct" if environment.distinct_holders else "holders need not be distinct",
        "manifest": f"manifests at most {environment.max_manifest_age} s old",
        "approval": f"approvals at most {environment.max_approval_age} s old",
        "depth": f"rollback over {environment.rollback_depth} releases",
        "authorization": f"rollback further authorized by {authorized}",
    }


def _environment_differences(name: str, before: Environment | None, after: Environment | None) -> Iterable[str]:
    if after is None:
        yield f"{name}: taken out, nothing can be activated there any more"
        return
    was, now = _rules(before), _rules(after)
    for rule, text in now.items():
        if was.get(rule) != text:
            yield f"{name}: {was[rule]} -> {text}" if rule in was else f"{name}: {text}"


def _floor_differences(before: Mapping[str, int], after: Mapping[str, int]) -> Iterable[str]:
    for application, floor in sorted(after.items()):
        if before.get(application, 0) != floor:
            yield f"floor of {application}: {floor} ({timestamp(floor)})"
