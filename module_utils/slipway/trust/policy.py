# SPDX-License-Identifier: GPL-3.0-or-later
"""The trust policy: which keys may do what, and what each environment requires. Modelled on TUF's root metadata.

Payload (canonical JSON, type `application/vnd.slipway.trust-policy+json`, signed by its own `root` role):

    format           1
    version          1, 2, 3 … one more at each rotation
    expires          time
    keys             {keyid: {public: hex, holder, notBefore: time, notAfter: time}}
    roles            {name: {keyids: [keyid], threshold}}; `root` and `builder` are required
    environments     {name: {require: [{role, threshold}], distinctHolders, maxManifestAge: seconds,
                     maxApprovalAge: seconds, allowedRollback: {depth: releases, require: [{role, threshold}]}}}
    minSafeSequence  {application: sequence}; a release below it never runs again
    revoked          {keys: [keyid], payloads: [sha256]}

A holder is a person or a machine, named by an id. A key has one holder and at most one role, and a threshold counts
holders, so neither a second key id nor a second key makes one holder into two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal, shown
from ..base.fields import LAST_SECOND, NAME, SHA256, Fields
from ..base.files import read_regular
from . import dsse
from .keys import PublicKey, SigningKey

FORMAT: Final = 1
ROOT: Final = "root"
BUILDER: Final = "builder"
MAX_KEYS: Final = 128
MAX_NAMES: Final = 64
MAX_REVOKED: Final = 4096
MAX_AGE_SECONDS: Final = 10 * 366 * 86400
MAX_DEPTH: Final = 1000

_WHAT: Final = "trust policy"
_REASON: Final = "policy_malformed"


@dataclass(frozen=True)
class Key:
    """A key of the policy: whose it is, and from when to when it signs (Unix seconds, both inclusive)."""

    public: PublicKey
    holder: str
    not_before: int
    not_after: int

    def is_valid_at(self, time: int) -> bool:
        return self.not_before <= time <= self.not_after


@dataclass(frozen=True)
class Role:
    """Keys that act in one function, and how many of their holders must agree."""

    name: str
    keys: tuple[Key, ...]
    threshold: int


@dataclass(frozen=True)
class Requirement:
    """So many holders of this role must approve."""

    role: str
    threshold: int


@dataclass(frozen=True)
class Environment:
    """What one environment asks of a release; ages are seconds, `rollback_depth` counts releases.

    `rollback_require` says who must sign an authorization for a rollback that the depth does not allow; empty: none can.
    """

    name: str
    require: tuple[Requirement, ...]
    distinct_holders: bool
    max_manifest_age: int
    max_approval_age: int
    rollback_depth: int
    rollback_require: tuple[Requirement, ...] = ()


@dataclass(frozen=True)
class TrustPolicy:
    """A trust policy whose own root threshold signed it; `digest` is the sha256 of its payload."""

    version: int
    expires: str
    roles: Mapping[str, Role]
    environments: Mapping[str, Environment]
    min_safe_sequence: Mapping[str, int]
    revoked_keys: frozenset[str]
    revoked_payloads: frozenset[str]
    digest: str

    @classmethod
    def parse(cls, data: bytes) -> TrustPolicy:
        """Read the envelope `data` and require the policy's own root threshold, or raise Refusal."""
        envelope = dsse.Envelope.parse(data, payload_type=dsse.TRUST_POLICY_TYPE, what=_WHAT)
        policy = cls.from_payload(envelope.payload)
        policy.signed_by(ROOT, envelope, what=_WHAT)
        return policy

    @classmethod
    def from_payload(cls, payload: bytes) -> TrustPolicy:
        """Read a policy that nobody has verified yet; only who builds or rotates one needs this."""
        fields = Fields(canonical.parse_canonical(payload, what=_WHAT), _WHAT, _REASON)
        fields.integer("format", minimum=FORMAT, maximum=FORMAT)
        keys = _keys(fields)
        roles = _roles(fields, keys)
        revoked = fields.object("revoked")
        policy = cls(
            version=fields.integer("version", minimum=1),
            expires=fields.time("expires"),
            roles=roles,
            environments=_environments(fields, roles),
            min_safe_sequence=_floors(fields),
            revoked_keys=frozenset(_digests(revoked, "keys", maximum=MAX_REVOKED)),
            revoked_payloads=frozenset(_digests(revoked, "payloads", maximum=MAX_REVOKED)),
            digest=hashlib.sha256(payload).hexdigest(),
        )
        revoked.end()
        fields.end()
        return policy

    def environment(self, name: str) -> Environment:
        """Return the environment's rules; one that the policy does not know may run nothing."""
        if name not in self.environments:
            raise Refusal(
                "environment_unknown",
                expected=f"an environment of the trust policy: {', '.join(sorted(self.environments)) or 'none'}",
                found=shown(name),
                remedy="Correct the environment, or sign a new version of the trust policy that names it.",
            )
        return self.environments[name]

    def holder(self, role_name: str, public: PublicKey) -> str:
        """Return whose key this is in the role, or refuse a key that the role does not have."""
        for key in self.roles[role_name].keys:
            if key.public == public and public.keyid not in self.revoked_keys:
                return key.holder
        raise Refusal(
            "key_unknown",
            expected=f"a key of the role {role_name} that the trust policy does not revoke",
            found=f"the key {public.keyid}",
            remedy=f"Use a key of {_holders(self.roles[role_name].keys)}, or sign a new version of the trust policy.",
        )

    def signed_by(self, role_name: str, envelope: dsse.Envelope, *, what: str) -> tuple[Key, ...]:
        """Return the unrevoked keys of the role that signed the envelope, or refuse when their holders are too few.

        Whether the keys were valid at some time is asked by `require_valid`, once the payload says which time.
        """
        role = self.roles[role_name]
        signers = dsse.signers(envelope, [key.public for key in role.keys])
        signed = [key for key in role.keys if key.public in signers]
        named = {signature.keyid for signature in envelope.signatures}
        hinted = [key for key in role.keys if key.public.keyid in named]
        if not signed and hinted:
            raise Refusal(
                "signature_invalid",
                expected=f"{what} as {_holders(hinted)} signed it",
                found="a signature that names the right key and does not fit these bytes",
                remedy="Get the document again from where it was signed: it, its type or its signature is not what was signed.",
            )
        if not signed:
            raise Refusal(
                "signature_unknown",
                expected=f"{what} signed by the role {role_name} ({_holders(role.keys)})",
                found="no signature by any of its keys",
                remedy="Have it signed by a key of the trust policy.",
            )
        trusted = tuple(key for key in signed if key.public.keyid not in self.revoked_keys)
        if not trusted:
            raise Refusal(
                "key_revoked",
                expected=f"{what} signed by a key that is still trusted",
                found=f"a revoked key of {_holders(signed)}",
                remedy="Find out why the key was revoked; what it signed has to be built or approved again.",
            )
        _require_threshold(role, trusted, what)
        return trusted

    def require_valid(self, role_name: str, keys: Iterable[Key], *, at: int, what: str) -> tuple[Key, ...]:
        """Return those of `keys` that were valid at `at`, or refuse when the role's threshold is not met."""
        keys = tuple(keys)
        valid = tuple(key for key in keys if key.is_valid_at(at))
        if not valid:
            raise Refusal(
                "key_outside_validity",
                expected=f"{what} signed by a key valid at {timestamp(at)}",
                found=", ".join(f"{k.holder} {timestamp(k.not_before)} to {timestamp(k.not_after)}" for k in keys),
                remedy="Sign it with a current key, or rotate the trust policy.",
            )
        _require_threshold(self.roles[role_name], valid, what)
        return valid


def read_policy(path: Path) -> TrustPolicy:
    """Read the controller's copy of the trust policy, a regular file."""
    if not path.exists():
        raise Refusal(
            "trust_policy_missing",
            expected=f"a signed trust policy at {path}",
            found="none",
            remedy="Sign one first: ansible-playbook playbooks/keys.yml.",
        )
    return TrustPolicy.parse(read_regular(path, limit=dsse.MAX_ENVELOPE_BYTES, what=_WHAT))


def sign_policy(policy: Mapping[str, Any], *private_keys: SigningKey) -> bytes:
    """Return the signed envelope of a policy in the shape above, after reading it as a host would."""
    envelope = dsse.sign(dsse.TRUST_POLICY_TYPE, canonical.encode(dict(policy)), *private_keys).encode()
    TrustPolicy.parse(envelope)
    return envelope


def _require_threshold(role: Role, keys: Iterable[Key], what: str) -> None:
    holders = {key.holder for key in keys}
    if len(holders) < role.threshold:
        raise Refusal(
            "signature_threshold",
            expected=f"{what} signed by {role.threshold} holders of the role {role.name}",
            found=f"{len(holders)}: {', '.join(sorted(holders))}",
            remedy=f"Have it signed by more of {_holders(role.keys)}.",
        )


def _holders(keys: Iterable[Key]) -> str:
    return ", ".join(sorted({key.holder for key in keys}))


def _keys(fields: Fields) -> dict[str, Key]:
    keys: dict[str, Key] = {}
    for keyid, entry in fields.table("keys", SHA256, maximum=MAX_KEYS).items():
        public = PublicKey.from_hex(entry.take("public"))
        if public.keyid != keyid:
            raise Refusal(
                "policy_keyid",
                expected=f"{entry.where}.public: the key with the id {keyid}",
                found=f"the key with the id {public.keyid}",
                remedy="Write each key once, under the id that it has.",
            )
        not_before, not_after = seconds_of(entry.time("notBefore")), seconds_of(entry.time("notAfter"))
        if not_before > not_after:
            raise entry.refusal("notAfter", "a time after notBefore", timestamp(not_after))
        keys[keyid] = Key(public, entry.text("holder", NAME), not_before, not_after)
        entry.end()
    return keys


def _roles(fields: Fields, keys: Mapping[str, Key]) -> dict[str, Role]:
    roles: dict[str, Role] = {}
    role_of: dict[str, str] = {}
    for name, entry in fields.table("roles", NAME, maximum=MAX_NAMES).items():
        keyids = _digests(entry, "keyids", maximum=MAX_KEYS)
        for keyid in keyids:
            if keyid not in keys:
                raise entry.refusal("keyids", "key ids that stand in keys", keyid)
            if keyid in role_of:
                raise Refusal(
                    "policy_key_shared",
                    expected=f"{entry.where}.keyids: keys that have no other role",
                    found=f"{keyid} of {role_of[keyid]}",
                    remedy="Give each role keys of its own.",
                )
            role_of[keyid] = name
        members = tuple(keys[keyid] for keyid in keyids)
        holders = len({key.holder for key in members})
        if not holders:
            raise entry.refusal("keyids", "at least one key", keyids)
        roles[name] = Role(name, members, _threshold(entry, holders))
        entry.end()
    for name in (ROOT, BUILDER):
        if name not in roles:
            raise fields.refusal("roles", f"the role {name}", sorted(roles))
    return roles


def _threshold(fields: Fields, holders: int) -> int:
    """How many of so many holders must agree: at least one, and never more than there are."""
    threshold = fields.take("threshold")
    if type(threshold) is not int or not 1 <= threshold <= holders:
        raise Refusal(
            "policy_threshold",
            expected=f"{fields.where}.threshold: an integer from 1 to {holders}, the holders that there are",
            found=shown(threshold),
            remedy="Correct the threshold, or name more holders.",
        )
    return threshold


def _environments(fields: Fields, roles: Mapping[str, Role]) -> dict[str, Environment]:
    return {
        name: _environment(name, entry, roles)
        for name, entry in fields.table("environments", NAME, maximum=MAX_NAMES).items()
    }


def _environment(name: str, entry: Fields, roles: Mapping[str, Role]) -> Environment:
    rollback = entry.object("allowedRollback")
    environment = Environment(
        name=name,
        require=_requirements(entry, roles),
        distinct_holders=entry.boolean("distinctHolders"),
        max_manifest_age=entry.integer("maxManifestAge", minimum=1, maximum=MAX_AGE_SECONDS),
        max_approval_age=entry.integer("maxApprovalAge", minimum=1, maximum=MAX_AGE_SECONDS),
        rollback_depth=rollback.integer("depth", maximum=MAX_DEPTH),
        # Policies that were signed before there were authorizations do not say who gives them: nobody.
        rollback_require=_requirements(rollback, roles) if "require" in rollback else (),
    )
    rollback.end()
    entry.end()
    return environment


def _requirements(entry: Fields, roles: Mapping[str, Role]) -> tuple[Requirement, ...]:
    requirements: list[Requirement] = []
    for item in entry.objects("require", maximum=MAX_NAMES):
        role = item.text("role", NAME)
        if role not in roles or role in (ROOT, BUILDER):
            approving = ", ".join(sorted(set(roles) - {ROOT, BUILDER})) or "none has keys"
            raise item.refusal("role", f"a role of this policy that approves ({approving}), not root or builder", role)
        if any(role == other.role for other in requirements):
            raise item.refusal("role", "each role once", role)
        holders = len({key.holder for key in roles[role].keys})
        requirements.append(Requirement(role, _threshold(item, holders)))
        item.end()
    return tuple(requirements)


def _floors(fields: Fields) -> dict[str, int]:
    floors = fields.object("minSafeSequence")
    return {name: floors.integer(name, maximum=LAST_SECOND) for name in floors.keys_like(NAME, maximum=MAX_REVOKED)}


def _digests(fields: Fields, name: str, *, maximum: int) -> list[str]:
    digests = fields.array(name, maximum=maximum)
    for digest in digests:
        if not isinstance(digest, str) or not SHA256.match(digest):
            raise fields.refusal(name, "64 lower-case hex digits each", digest)
    if len(set(digests)) != len(digests):
        raise fields.refusal(name, "each once", digests)
    return digests
