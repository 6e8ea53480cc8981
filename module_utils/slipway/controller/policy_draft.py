# SPDX-License-Identifier: GPL-3.0-or-later
"""The first version of a trust policy, made from a description that people can read. Controller only.

A draft is {keys: [{holder, role, public_key}], environments: {name: {require, distinct_holders, max_manifest_age_days,
max_approval_age_days, rollback_depth, rollback_require}}, thresholds: {role: n}, valid_days}. Only rollback_require may be left out:
nobody can then authorize a rollback that the depth does not allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..base import canonical
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.fields import NAME, SHA256, Fields
from ..base.files import write_durable
from ..trust.keys import PublicKey
from ..trust.policy import FORMAT, TrustPolicy, read_policy, sign_policy

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DAY_SECONDS: Final = 86400
MAX_DAYS: Final = 3650
_REASON: Final = "policy_draft_invalid"
_REMEDY: Final = "Correct the variables that describe the trust policy (group_vars/all/trust.yml)."


@dataclass(frozen=True)
class Draft:
    """A first trust policy but for its times, which are those of its signing."""

    holders: Mapping[str, str]
    publics: Mapping[str, PublicKey]
    roles: Mapping[str, Any]
    environments: Mapping[str, Any]
    valid_seconds: int

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> Draft:
        """Read a description, or raise Refusal("policy_draft_invalid")."""
        fields = Fields(dict(description), "trust policy", _REASON, _REMEDY)
        thresholds = fields.object("thresholds")
        holders: dict[str, str] = {}
        publics: dict[str, PublicKey] = {}
        roles: dict[str, Any] = {}
        for item in fields.objects("keys", maximum=128):
            public = PublicKey.from_hex(item.text("public_key", SHA256))
            if public.keyid in publics:
                raise item.refusal("public_key", "each key once", public.hex)
            publics[public.keyid] = public
            holders[public.keyid] = item.text("holder", NAME)
            role = roles.setdefault(item.text("role", NAME), {"keyids": [], "threshold": 1})
            role["keyids"].append(public.keyid)
            item.end()
        for name in thresholds.names():
            if name not in roles:
                raise thresholds.refusal("", f"roles that have keys: {', '.join(roles)}", name)
            roles[name]["threshold"] = thresholds.integer(name, minimum=1)
        environments = {
            name: _environment(item) for name, item in fields.table("environments", NAME, maximum=64).items()
        }
        valid_seconds = fields.integer("valid_days", minimum=1, maximum=MAX_DAYS) * DAY_SECONDS
        fields.end()
        for role in roles.values():
            role["keyids"].sort()
        return cls(holders, publics, roles, environments, valid_seconds)

    def policy(self, *, since: int, until: int) -> dict[str, Any]:
        """Return the payload of version 1, valid from `since` to `until` (Unix seconds)."""
        keys = {
            keyid: {
                "holder": self.holders[keyid],
                "notAfter": timestamp(until),
                "notBefore": timestamp(since),
                "public": public.hex,
            }
            for keyid, public in self.publics.items()
        }
        return {
            "environments": dict(self.environments),
            "expires": timestamp(until),
            "format": FORMAT,
            "keys": keys,
            "minSafeSequence": {},
            "revoked": {"keys": [], "payloads": []},
            "roles": dict(self.roles),
            "version": 1,
        }


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


@dataclass(frozen=True)
class Signed:
    """The policy at its path, and whether it was signed just now (or would be, in check mode)."""

    changed: bool
    policy: TrustPolicy


def establish(
    draft: Draft, path: Path, root_keys: Sequence[Ed25519PrivateKey], *, now: int, check: bool = False
) -> Signed:
    """Sign version 1 and keep it at `path`, or find it there already.

    A policy that says the same, its times apart, is left alone. One that says something else is refused: the hosts
    trust the old one, so it is not for the controller to swap it.
    """
    if path.exists():
        return Signed(False, _existing(draft, path))
    envelope = sign_policy(draft.policy(since=now, until=now + draft.valid_seconds), *root_keys)
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durable(path, envelope, mode=0o644)
    return Signed(True, TrustPolicy.parse(envelope))


def _existing(draft: Draft, path: Path) -> TrustPolicy:
    policy = read_policy(path)
    until = seconds_of(policy.expires)
    since = min(key.not_before for role in policy.roles.values() for key in role.keys)
    wanted = canonical.encode(draft.policy(since=since, until=until))
    if hashlib.sha256(wanted).hexdigest() != policy.digest:
        raise Refusal(
            "policy_exists",
            expected=f"the trust policy at {path} to say what the variables say",
            found=f"version {policy.version}, which says something else",
            remedy="A signed policy is not replaced here. For a lab, move it away, sign anew and bootstrap the hosts again.",
        )
    return policy
