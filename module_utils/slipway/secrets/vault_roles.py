# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what at Vault, as group_vars say it: from ``vault_roles`` to the policy and the AppRole of each.

A role says which secrets it may read, list, write, retire and remove, by names and not by paths of Vault: what it may do anywhere else is nothing. Only what another
engine keeps (a database's static role) is named by its path, never one of Vault's own but the end of leases. Vault's policy ``default`` is not given, since it lets every token
do more than ours need.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal
from ..base.fields import ONE_LINE, Fields
from .secret import NAME
from .vault import VaultSettings

REASON: Final = "vault_roles_invalid"
REMEDY: Final = "Correct it in group_vars/all/vault.yml; docs/howto/vault-access.md has every key."
OWNER: Final = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
ROLE: Final = re.compile(r"[a-z][a-z0-9_]{0,30}\Z")
EACH: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
EMERGENCY: Final = "emergency"  # the role that two holders open together (break_glass.py), and nobody has alone
PLACE: Final = "{each}"
ACTIONS: Final = ("read", "list", "write", "retire", "remove")
MAX_ROLES: Final = 256
_CAPABILITY: Final = re.compile(r"(create|delete|list|read|update)\Z")
_PATH: Final = re.compile(r"(?!(sys(?!/leases/revoke\Z)|auth|identity|cubbyhole)/)[a-z0-9][\w-]*(/[\w-][\w.-]*)+\Z")
_CIDR: Final = re.compile(r"[0-9a-fA-F.:]{2,45}/\d{1,3}\Z")
# What every token needs of Vault itself: to learn that it is over, and to end.
OWN_TOKEN: Final = {"auth/token/lookup-self": ("read",), "auth/token/revoke-self": ("update",)}


@dataclass(frozen=True)
class Role:
    """One AppRole and its policy. ``may`` maps an action to patterns of names; times in minutes, 0 of uses is any number."""

    name: str
    description: str
    may: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, tuple[str, ...]]
    token_minutes: int
    token_uses: int
    secret_id_minutes: int
    secret_id_uses: int
    cidrs: tuple[str, ...]

    def policy(self, settings: VaultSettings) -> str:
        """The policy as JSON, which Vault takes as it takes HCL: the same text for the same role, whatever the order in group_vars was."""
        found: dict[str, set[str]] = {
            path: set(capabilities) for path, capabilities in {**OWN_TOKEN, **self.paths}.items()
        }
        for action, patterns in self.may.items():
            for pattern in patterns:
                for path, capabilities in _paths(action, pattern, settings):
                    found.setdefault(path, set()).update(capabilities)
        return json.dumps({"path": {path: {"capabilities": sorted(found[path])} for path in sorted(found)}}, indent=2)

    def approle(self, policy: str) -> dict[str, Any]:
        """The parameters of the AppRole, every one that matters, so that what somebody changed by hand shows."""
        cidrs = list(self.cidrs)
        return {
            "bind_secret_id": True, "secret_id_num_uses": self.secret_id_uses, "secret_id_ttl": self.secret_id_minutes * 60,
            "secret_id_bound_cidrs": cidrs, "token_bound_cidrs": cidrs, "token_policies": [policy], "token_no_default_policy": True,
            "token_ttl": self.token_minutes * 60, "token_max_ttl": self.token_minutes * 60, "token_explicit_max_ttl": self.token_minutes * 60,
            "token_num_uses": self.token_uses, "token_period": 0, "token_type": "service",
        }  # fmt: skip


@dataclass(frozen=True)
class Roles:
    """All of it, checked. What bears ``owner`` in its name at Vault is ours: ``<owner>-<role>``, or ``<owner>-<role>-<each>``."""

    owner: str
    roles: tuple[Role, ...]

    @classmethod
    def parse(cls, owner: Any, roles: Any) -> Roles:
        """Read ``vault_owner`` and ``vault_roles``; Refusal ``vault_roles_invalid``."""
        fields = Fields({"vault_owner": owner, "vault_roles": roles}, "the variables", REASON, REMEDY)
        name = fields.text("vault_owner", OWNER)
        found = [
            role
            for label, about in fields.table("vault_roles", ROLE, maximum=MAX_ROLES).items()
            for role in _roles(label, about)
        ]
        return cls(name, tuple(found))

    def named(self, role: Role) -> str:
        """What a role is called at Vault, its policy as well as its AppRole."""
        return f"{self.owner}-{role.name}"

    def role(self, name: str) -> Role:
        """The role of a name as in group_vars (``host-prod-1`` for one of many); Refusal ``vault_role_unknown``."""
        for role in self.roles:
            if role.name == name:
                return role
        raise Refusal(
            "vault_role_unknown",
            expected=f"one of {', '.join(role.name for role in self.roles) or 'no role'}",
            found=name,
            remedy="Correct the name, or add it to vault_roles and apply that (make vault-apply).",
        )

    def is_ours(self, name: str) -> bool:
        return re.match(rf"{self.owner}-[a-z0-9]", name) is not None


def _roles(label: str, about: Fields) -> list[Role]:
    each = _texts(about, "each", EACH, MAX_ROLES) if "each" in about else None
    description = about.text("description", ONE_LINE)
    may = _may(about.object("may"))
    table = about.object("paths") if "paths" in about else None
    paths = {path: _texts(table, path, _CAPABILITY, 8) for path in table.keys_like(_PATH, maximum=64)} if table else {}
    numbers = {
        "token_minutes": _whole(about, "token_minutes", 20, minimum=1, maximum=1440),
        "token_uses": _whole(about, "token_uses", 0, maximum=100_000),
        "secret_id_minutes": _whole(about, "secret_id_minutes", 60, maximum=366 * 1440),
        "secret_id_uses": _whole(about, "secret_id_uses", 1, maximum=100_000),
    }
    cidrs = _texts(about, "cidrs", _CIDR, 32) if "cidrs" in about else ()
    about.end()
    if each is None:
        _require_patterns(about, may)
        return [Role(label, description, may, paths, cidrs=cidrs, **numbers)]
    roles = []
    for item in each:
        own = {action: tuple(pattern.replace(PLACE, item) for pattern in patterns) for action, patterns in may.items()}
        _require_patterns(about, own)
        roles.append(Role(f"{label}-{item}", description, own, paths, cidrs=cidrs, **numbers))
    return roles


def _may(fields: Fields) -> dict[str, tuple[str, ...]]:
    may = {action: _texts(fields, action, ONE_LINE, 1024) for action in ACTIONS if action in fields}
    fields.end()
    return may


def _require_patterns(about: Fields, may: Mapping[str, Iterable[str]]) -> None:
    """A pattern is a name, or names below one (``app/*``), or ``*`` for all; never a word of Vault's policies."""
    for action, patterns in may.items():
        for pattern in patterns:
            stem = pattern.removesuffix("/*")
            if pattern != "*" and not NAME.match(stem):
                raise about.refusal(f"may.{action}", "names of secrets, names that end with /*, or *", pattern)


def _texts(fields: Fields, name: str, pattern: re.Pattern[str], maximum: int) -> tuple[str, ...]:
    found = fields.array(name, maximum=maximum)
    for each in found:
        if not isinstance(each, str) or not pattern.match(each):
            raise fields.refusal(name, f"texts like {pattern.pattern}", each)
    return tuple(dict.fromkeys(str(each) for each in found))


def _whole(fields: Fields, name: str, default: int, *, minimum: int = 0, maximum: int) -> int:
    return fields.integer(name, minimum=minimum, maximum=maximum) if name in fields else default


def _paths(action: str, pattern: str, settings: VaultSettings) -> list[tuple[str, tuple[str, ...]]]:
    """The paths of key/value version 2 that an action on names needs, each with what it needs there."""
    name = "/".join(part for part in (settings.prefix, pattern) if part)

    def at(kind: str) -> str:
        return f"{settings.mount}/{kind}/{name}"

    if action == "read":
        return [(at("data"), ("read",))]
    if action == "list":
        return [(at("metadata"), ("list", "read"))]
    if action == "write":
        return [(at("data"), ("create", "read", "update")), (at("metadata"), ("create", "read", "update"))]
    if action == "remove":
        return [(at("metadata"), ("delete",))]
    return [(at("delete"), ("update",)), (at("destroy"), ("update",)), (at("metadata"), ("read",))]
