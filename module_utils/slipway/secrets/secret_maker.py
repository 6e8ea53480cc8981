# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes the next value of a secret, and how what was made is made invalid again.

What is made comes with its ``origin``, words that name where it came from and are no secret: {} for what was generated or brought, {role} for a static
role of a database, {role, lease} for a dynamic one. By its origin it is revoked later, by whoever does that.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal
from .provider import Unknown
from .rotation_policy import ALPHABETS, BY_HAND, DYNAMIC, STATIC, Recipe, RotationPolicy
from .secret import FIELD, Secret
from .secret_kind import KINDS
from .vault import Vault

Origin = Mapping[str, str]
CREDENTIALS: Final = ("username", "password")
GENERATED_HERE: Final = "it was not revoked anywhere: who checks it must have been told by means of its own"
UNKNOWN_LEASE: Final = "its lease is not known here: it is valid until that ends by itself"


@dataclass(frozen=True)
class Made:
    """The fields of a new version, and where they came from."""

    fields: Mapping[str, str]
    origin: Origin

    def __repr__(self) -> str:
        return f"Made(fields={sorted(self.fields)}, origin={dict(self.origin)})"


@dataclass(frozen=True)
class Maker:
    """Makes versions of one secret as its policy says. ``vault`` is the first provider where that is one."""

    policy: RotationPolicy
    vault: Vault | None

    def __post_init__(self) -> None:
        if self.policy.made_by in (DYNAMIC, STATIC) and self.vault is None:
            raise Refusal(
                "rotation_maker_elsewhere",
                expected=f"a Vault as the first of secrets_chain, since {self.policy.name} is made by its database engine",
                found="another type of provider",
                remedy="Put that Vault first, or say another made_by in secrets_rotation.",
            )

    def make(self, before: Secret, brought: Mapping[str, str] | None = None) -> Made:
        """The next version of a secret, valid beside the one before; fields that nobody makes anew stay."""
        policy = self.policy
        if policy.made_by == DYNAMIC:
            return self._issued(before)
        if policy.made_by == STATIC:
            return self._other_role(before)
        if policy.made_by == BY_HAND:
            return Made({**before.fields, **self._brought(brought)}, {})
        return Made({**before.fields, **{name: generated(recipe) for name, recipe in policy.recipes.items()}}, {})

    def changes(self, before: Secret, kind: str | None, brought: Mapping[str, str] | None = None) -> set[str]:
        """The fields that would have another value in the next version; nothing is made.

        Refusal ``rotation_fields_unknown`` for one that the secret does not have, nor its kind: the leaked one would stay as it is beside it.
        """
        policy = self.policy
        if policy.made_by == BY_HAND:
            given = self._brought(brought)
            fields, changed = set(given), {name for name, value in given.items() if before.fields.get(name) != value}
        else:
            fields = set(CREDENTIALS if policy.made_by in (DYNAMIC, STATIC) else policy.recipes)
            changed = fields
        unknown = sorted(fields - set(before.fields) - set(KINDS.get(kind or "", {})))
        if unknown:
            raise Refusal(
                "rotation_fields_unknown",
                expected=f"fields that {policy.name} has: {', '.join(sorted(before.fields))}",
                found=", ".join(name if FIELD.match(name) else "another name" for name in unknown),
                remedy="Name in secrets_rotation (fields), or in the file that you bring, those that are to change; or set the secret anew with these.",
            )
        return changed

    def require_file_used(self, brought: Mapping[str, str] | None) -> None:
        """Refuse values that nobody would use: whoever brought them would believe that they are in use."""
        if brought is not None and self.policy.made_by != BY_HAND:
            raise file_unused(self.policy.name, f"made_by: {self.policy.made_by}")

    def _brought(self, brought: Mapping[str, str] | None) -> Mapping[str, str]:
        if brought is None:
            raise Refusal(
                "rotation_fields_missing",
                expected=f"the new fields of {self.policy.name} in a file, since it is made by hand",
                found="no file",
                remedy=f"make secrets-rotate NAME={self.policy.name} FILE=<a JSON file with the fields that change>",
            )
        return brought

    def revoke(self, origin: Origin) -> str:
        """Make what came from there invalid; returns what cannot be said of it, or an empty text. Again and again is fine."""
        if self.policy.made_by == DYNAMIC:
            if "lease" not in origin:
                return UNKNOWN_LEASE
            lease = {"lease_id": origin["lease"], "sync": True}  # else Vault answers before the database was told
            self._ask(lambda client: client.adapter.put("/v1/sys/leases/revoke", json=lease))
            return ""
        if self.policy.made_by == STATIC:
            if "role" not in origin:
                return GENERATED_HERE
            self._rotate(origin["role"])
            return ""
        return GENERATED_HERE

    def origin_of(self, before: Secret, known: Origin) -> Origin:
        """Where the version that is in use came from: as it was noted; of a static role its user name tells."""
        if self.policy.made_by != STATIC:
            return known
        role = next((role for role in self.policy.roles if self._user(role)[0] == before.fields.get("username")), None)
        return {"role": role} if role else {}

    def _issued(self, before: Secret) -> Made:
        """New credentials with a lease. One that would end before the next rotation is given back.

        A lease ends with the token that it was asked with, whatever it says of itself.
        """
        role, mount = self.policy.roles[0], self.policy.mount
        lives = self._ask(lambda client: client.auth.token.lookup_self())["data"]["ttl"]  # 0 is for ever
        if 0 < lives < self.policy.max_age_seconds:
            raise Refusal(
                "rotation_token_too_short",
                expected=f"a token that lives for max_age_days, {self.policy.max_age_seconds} s: credentials end with the token that asked for them",
                found=f"{lives} s",
                remedy=f"Say made_by: {STATIC} with two static roles, or give this identity tokens that live so long.",
            )
        answer = self._ask(lambda client: client.secrets.database.generate_credentials(role, mount_point=mount))
        origin = {"role": role, "lease": str(answer["lease_id"])}
        if answer["lease_duration"] < self.policy.max_age_seconds:
            self.revoke(origin)
            raise Refusal(
                "rotation_lease_too_short",
                expected=f"credentials of {mount}/creds/{role} that live for max_age_days, {self.policy.max_age_seconds} s",
                found=f"{answer['lease_duration']} s",
                remedy="Raise default_ttl and max_ttl of the role and its mount, or lower max_age_days.",
            )
        return Made({**before.fields, **_credentials(answer)}, origin)

    def _other_role(self, before: Secret) -> Made:
        """The role that is not in use gets a new password, so that the one in use stays as it is."""
        in_use = self.origin_of(before, {}).get("role")
        role = next(role for role in self.policy.roles if role != in_use)
        self._rotate(role)
        username, password = self._user(role)
        return Made({**before.fields, "username": username, "password": password}, {"role": role})

    def _rotate(self, role: str) -> None:
        self._ask(
            lambda client: client.secrets.database.rotate_static_role_credentials(role, mount_point=self.policy.mount)
        )

    def _user(self, role: str) -> tuple[str, str]:
        mount = self.policy.mount
        answer = self._ask(lambda client: client.secrets.database.get_static_credentials(role, mount_point=mount))
        credentials = _credentials(answer)
        return credentials["username"], credentials["password"]

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        assert self.vault is not None  # noqa: S101 - for the type checker; a maker without its Vault is not made
        try:
            return self.vault.ask(f"{self.policy.mount}/{', '.join(self.policy.roles)}", question)
        except Unknown:
            raise Refusal(
                "rotation_role_unknown",
                expected=f"the roles {', '.join(self.policy.roles)} at {self.policy.mount} of {self.vault.label}",
                found="no such role, or no database engine there",
                remedy="Make them (vault write database/roles/… or database/static-roles/…), or correct mount and roles in secrets_rotation.",
            ) from None


def generated(recipe: Recipe) -> str:
    """A value of the system's best chance."""
    if recipe.size:
        return base64.b64encode(secrets.token_bytes(recipe.size)).decode()
    return "".join(secrets.choice(ALPHABETS[recipe.alphabet]) for _ in range(recipe.length))


def file_unused(name: str, found: str) -> Refusal:
    """For values that were brought where they are not what is handed out."""
    return Refusal(
        "rotation_file_unused",
        expected=f"a file of new fields only where a rotation of {name} by hand begins",
        found=found,
        remedy="Leave the file out; or take back first what is open (BACK=yes); or say made_by: hand in secrets_rotation.",
    )


def _credentials(answer: Any) -> dict[str, str]:
    return {name: str(answer["data"][name]) for name in CREDENTIALS}
