# SPDX-License-Identifier: GPL-3.0-or-later
"""The next version of a trust policy, made from a description that people can read. Controller only.

A description is {keys: [{holder, role, public_key, valid_until}], environments: {name: {require, distinct_holders,
max_manifest_age_days, max_approval_age_days, rollback_depth, rollback_require}}, thresholds: {role: n}, valid_days,
revoked_keys: [key id or public key], revoked_releases: [manifest digest], floors: {application: time or sequence}}.

`valid_until` retires a key: what it signed before stays valid. What may be left out: valid_until (as long as the policy),
rollback_require (nobody can authorize a rollback that the depth does not allow), and the last three. What was revoked once
stays revoked, and a floor stays, whether the description still says so or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.fields import LAST_SECOND, NAME, SHA256, Fields
from ..trust.keys import PublicKey
from ..trust.policy import BUILDER, FORMAT, MAX_KEYS, MAX_REVOKED, ROOT, Key, TrustPolicy
from ..trust.rotation import differences, require_not_softened

DAY_SECONDS: Final = 86400
MAX_DAYS: Final = 3650
_REASON: Final = "policy_draft_invalid"
_REMEDY: Final = "Correct the variables that describe the trust policy (group_vars/all/trust.yml)."


@dataclass(frozen=True)
class Draft:
    """A trust policy but for its version and times. `ends` has the keys that retire; `revoked_keys` is as it was described."""

    holders: Mapping[str, str]
    publics: Mapping[str, PublicKey]
    ends: Mapping[str, int]
    roles: Mapping[str, Any]
    environments: Mapping[str, Any]
    valid_seconds: int
    revoked_keys: tuple[str, ...]
    revoked_releases: tuple[str, ...]
    floors: Mapping[str, int]

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> Draft:
        """Read a description, or raise Refusal("policy_draft_invalid")."""
        optional: dict[str, Any] = {"revoked_keys": [], "revoked_releases": [], "floors": {}}
        fields = Fields({**optional, **description}, "trust policy", _REASON, _REMEDY)
        thresholds = fields.object("thresholds")
        holders: dict[str, str] = {}
        publics: dict[str, PublicKey] = {}
        ends: dict[str, int] = {}
        roles: dict[str, Any] = {}
        for item in fields.objects("keys", maximum=MAX_KEYS):
            public = PublicKey.from_hex(item.text("public_key", SHA256))
            if public.keyid in publics:
                raise item.refusal("public_key", "each key once", public.hex)
            publics[public.keyid] = public
            holders[public.keyid] = item.text("holder", NAME)
            name = item.text("role", NAME)
            role = roles.setdefault(name, {"keyids": [], "threshold": 1})
            role["keyids"].append(public.keyid)
            if "valid_until" in item:
                ends[public.keyid] = _seconds(item, "valid_until")
                if name == ROOT:
                    raise item.refusal("valid_until", "none for a root key: it is taken out or revoked", name)
            item.end()
        for name in thresholds.names():
            if name not in roles:
                raise thresholds.refusal("", f"roles that have keys: {', '.join(roles)}", name)
            roles[name]["threshold"] = thresholds.integer(name, minimum=1)
        environments = {
            name: _environment(item) for name, item in fields.table("environments", NAME, maximum=64).items()
        }
        draft = cls(
            holders=holders,
            publics=publics,
            ends=ends,
            roles=roles,
            environments=environments,
            valid_seconds=fields.integer("valid_days", minimum=1, maximum=MAX_DAYS) * DAY_SECONDS,
            revoked_keys=_digests(fields, "revoked_keys"),
            revoked_releases=_digests(fields, "revoked_releases"),
            floors=_floors(fields.object("floors")),
        )
        fields.end()
        for role in roles.values():
            role["keyids"].sort()
        return draft

    def policy(self, *, since: int, until: int, before: TrustPolicy | None = None) -> dict[str, Any]:
        """Return the payload of the version after `before`, or of version 1.

        It is valid until `until`; its new keys begin at `since` (Unix seconds), those that `before` has keep their beginning.
        """
        known = _keys_of(before)
        revoked = set(self._revoked_keyids(before))
        return {
            "environments": dict(self.environments),
            "expires": timestamp(until),
            "format": FORMAT,
            "keys": {
                keyid: {
                    "holder": self.holders[keyid],
                    "notAfter": timestamp(min(until, self.ends.get(keyid, until))),
                    "notBefore": timestamp(known[keyid].not_before if keyid in known else since),
                    "public": public.hex,
                }
                for keyid, public in self.publics.items()
            },
            "minSafeSequence": {**(before.min_safe_sequence if before else {}), **self.floors},
            "revoked": {
                "keys": sorted(revoked | (before.revoked_keys if before else frozenset())),
                "payloads": sorted({*self.revoked_releases} | (before.revoked_payloads if before else frozenset())),
            },
            "roles": dict(self.roles),
            "version": before.version + 1 if before else 1,
        }

    def next_version(self, before: TrustPolicy | None, *, now: int) -> bytes:
        """Return the canonical payload of the next version, signed by nobody yet, or refuse one that could not be lived by."""
        payload = canonical.encode(self.policy(since=now, until=now + self.valid_seconds, before=before))
        policy = TrustPolicy.from_payload(payload)
        if before is not None:
            require_not_softened(before, policy)
        _require_reachable(policy, now)
        return payload

    def changes(self, policy: TrustPolicy) -> list[str]:
        """Say in words what the description says otherwise than `policy`, apart from version and times; empty: nothing."""
        described = self.policy(since=0, until=seconds_of(policy.expires), before=policy) | {"version": policy.version}
        return differences(policy, TrustPolicy.from_payload(canonical.encode(described)))

    def _revoked_keyids(self, before: TrustPolicy | None) -> list[str]:
        """The ids of the keys to revoke: each was given by its id or as a public key, which look alike."""
        known = {**{keyid: key.public for keyid, key in _keys_of(before).items()}, **self.publics}
        names = {**{keyid: keyid for keyid in known}, **{public.hex: keyid for keyid, public in known.items()}}
        names |= {keyid: keyid for keyid in (before.revoked_keys if before else ())}
        for name in self.revoked_keys:
            if name not in names:
                raise Refusal(
                    _REASON,
                    expected="revoked_keys: keys of this trust policy or of the version before, by key id or public key",
                    found=name,
                    remedy=_REMEDY,
                )
        return [names[name] for name in self.revoked_keys]


def _keys_of(policy: TrustPolicy | None) -> dict[str, Key]:
    return {key.public.keyid: key for role in policy.roles.values() for key in role.keys} if policy else {}


def _require_reachable(policy: TrustPolicy, now: int) -> None:
    """Refuse a version in which fewer holders could sign than must: nobody could build, approve or rotate any more."""
    asked = {name: policy.roles[name].threshold for name in (ROOT, BUILDER)}
    for environment in policy.environments.values():
        for requirement in (*environment.require, *environment.rollback_require):
            asked[requirement.role] = max(asked.get(requirement.role, 0), requirement.threshold)
    for name, threshold in sorted(asked.items()):
        able = {
            key.holder
            for key in policy.roles[name].keys
            if key.not_after > now and key.public.keyid not in policy.revoked_keys
        }
        if len(able) < threshold:
            raise Refusal(
                "policy_threshold_unreachable",
                expected=f"{threshold} holders of the role {name} with a key that is valid from now on",
                found=f"{len(able)}: {', '.join(sorted(able)) or 'nobody'}",
                remedy="Give the role a new key (trust_keys), or ask for fewer (trust_thresholds, trust_environments).",
            )


def _digests(fields: Fields, name: str) -> tuple[str, ...]:
    digests = fields.array(name, maximum=MAX_REVOKED)
    for digest in digests:
        if not isinstance(digest, str) or not SHA256.match(digest):
            raise fields.refusal(name, "64 lower-case hex digits each", digest)
    return tuple(digests)


def _floors(floors: Fields) -> dict[str, int]:
    """A floor is a release's sequence, or the time that it was made at, which is the same."""
    found: dict[str, int] = {}
    for name in floors.keys_like(NAME, maximum=MAX_REVOKED):
        value = floors.take(name)
        field = Fields({name: value}, floors.where, _REASON, _REMEDY)
        found[name] = _seconds(field, name) if isinstance(value, str) else field.integer(name, maximum=LAST_SECOND)
    return found


def _seconds(fields: Fields, name: str) -> int:
    """A time; one that stands in YAML without quotes arrives with another sign for UTC."""
    value = fields.take(name)
    if isinstance(value, str):
        value = value.removesuffix("+00:00") + "Z" if value.endswith("+00:00") else value
    return seconds_of(Fields({name: value}, fields.where, _REASON, _REMEDY).time(name))


def _environment(item: Fields) -> dict[str, Any]:
    environment = {
        "allowedRollback": {
            "depth": item.integer("rollback_depth", maximum=1000),
            "require": _requirements(item, "rollback_require") if "rollback_require" in item else [],
        },
        "distinctHolders": item.boolean("distinct_holders"),
        "maxApprovalAge": item.integer("max_approval_age_days", minimum=1, maximum=MAX_DAYS) * DAY_SECONDS,
        "maxManifestAge": item.integer("max_manifest_age_days", minimum=1, maximum=MAX_DAYS) * DAY_SECONDS,
        "require": _requirements(item, "require"),
    }
    item.end()
    return environment


def _requirements(item: Fields, name: str) -> list[dict[str, Any]]:
    requirements: list[dict[str, Any]] = []
    for requirement in item.objects(name, maximum=64):
        threshold = requirement.integer("threshold", minimum=1)
        requirements.append({"role": requirement.text("role", NAME), "threshold": threshold})
        requirement.end()
    return requirements
