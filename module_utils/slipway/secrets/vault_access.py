# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and AppRoles at a Vault as ``vault_roles`` say: what differs, and how it is made so.

What is at Vault under our names and in no data of ours is only named, and removed when that is asked for. Policies are written before the AppRoles that
have them and removed after those, so that no role ever stands there with less or more than one of the two states says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..base.errors import Refusal
from .provider import Unavailable, Unknown
from .vault import Vault, VaultSettings, no_mount
from .vault_roles import Role, Roles

Kind = Literal["auth method", "policy", "approle"]
Action = Literal["create", "update", "remove"]
UNSAID: Final[tuple[Any, ...]] = (None, [])  # an empty list of Vault's may come as nothing


@dataclass(frozen=True)
class Change:
    """One thing at Vault that is not as it should be; ``before`` and ``after`` are what it is and will be, None for nothing."""

    kind: Kind
    name: str
    action: Action
    before: str | Mapping[str, Any] | None
    after: str | Mapping[str, Any] | None


@dataclass(frozen=True)
class Plan:
    """What has to be done, and what is there that the data do not have."""

    changes: tuple[Change, ...]
    leftovers: tuple[Change, ...]


@dataclass(frozen=True)
class VaultAccess:
    """The policies and AppRoles of ``roles`` for what ``about`` says of a provider, seen by an administrator."""

    vault: Vault
    about: VaultSettings
    roles: Roles

    @property
    def auth_mount(self) -> str:
        return self.about.auth_mount or "approle"

    def plan(self) -> Plan:
        """What differs. Nothing is changed."""
        self._require_mount()
        changes: list[Change] = []
        has_auth = f"{self.auth_mount}/" in self._ask("sys/auth", lambda client: client.sys.list_auth_methods())["data"]
        if not has_auth:
            changes.append(Change("auth method", self.auth_mount, "create", None, "approle"))
        for role in self.roles.roles:
            changes += self._different("policy", role, self._policy(role), role.policy(self.about))
        for role in self.roles.roles:
            wanted = role.approle(self.roles.named(role))
            changes += self._different("approle", role, self._approle(role, wanted) if has_auth else None, wanted)
        return Plan(tuple(changes), tuple(self._leftovers(has_auth)))

    def apply(self, plan: Plan, *, remove: bool) -> None:
        """Make it so; with ``remove`` what is left over goes too."""
        for change in (*plan.changes, *(plan.leftovers if remove else ())):
            self._ask(f"{change.kind} {change.name}", self._write(change))

    def differs(self, role: Role) -> bool:
        """Whether Vault has another policy or AppRole for this role than the data, or none."""
        plan = self.plan()
        return any(each.name in (self.roles.named(role), self.auth_mount) for each in plan.changes)

    def _write(self, change: Change) -> Callable[[Any], Any]:
        place = {"mount_point": self.auth_mount}

        def write(client: Any) -> Any:
            if change.kind == "auth method":
                return client.sys.enable_auth_method("approle", path=change.name)
            if change.kind == "policy":
                if change.action == "remove":
                    return client.sys.delete_policy(change.name)
                return client.sys.create_or_update_policy(change.name, change.after)
            if change.action == "remove":
                return client.auth.approle.delete_role(change.name, **place)
            assert isinstance(change.after, Mapping)  # noqa: S101 - for the type checker
            return client.auth.approle.create_or_update_approle(change.name, **change.after, **place)

        return write

    def _different(self, kind: Kind, role: Role, found: Any, wanted: Any) -> list[Change]:
        if found == wanted:
            return []
        return [Change(kind, self.roles.named(role), "update" if found is not None else "create", found, wanted)]

    def _policy(self, role: Role) -> str | None:
        name = self.roles.named(role)
        try:
            return str(self._ask(f"policy {name}", lambda client: client.sys.read_policy(name))["data"]["rules"])
        except Unknown:
            return None

    def _approle(self, role: Role, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """What is there of what the data say."""
        name = self.roles.named(role)

        def question(client: Any) -> Any:
            return client.auth.approle.read_role(name, mount_point=self.auth_mount)

        try:
            there = self._ask(f"AppRole {name}", question)["data"]
        except Unknown:
            return None
        return {
            key: value if there.get(key) in UNSAID and value == [] else there.get(key) for key, value in wanted.items()
        }

    def _leftovers(self, has_auth: bool) -> list[Change]:
        ours = {self.roles.named(role) for role in self.roles.roles}
        found: list[Change] = []
        kinds: list[tuple[Kind, Callable[[Any], Any]]] = [
            ("policy", lambda client: client.sys.list_policies()["data"]["policies"])
        ]
        if has_auth:
            kinds.insert(
                0,
                ("approle", lambda client: client.auth.approle.list_roles(mount_point=self.auth_mount)["data"]["keys"]),
            )
        for kind, question in kinds:
            try:
                names = self._ask(f"list of {kind}", question)
            except Unknown:  # there are none
                continue
            found += [
                Change(kind, name, "remove", "", None)
                for name in sorted(names)
                if self.roles.is_ours(name) and name not in ours
            ]
        return found

    def _require_mount(self) -> None:
        mounts = self._ask("sys/mounts", lambda client: client.sys.list_mounted_secrets_engines())["data"]
        mount = mounts.get(f"{self.about.mount}/")
        if not mount or mount["type"] != "kv" or (mount.get("options") or {}).get("version") != "2":
            raise no_mount(self.about.mount, mount["type"] if mount else "none")

    def _ask(self, what: str, question: Callable[[Any], Any]) -> Any:
        return asked(self.vault, what, question)


def asked(vault: Vault, what: str, question: Callable[[Any], Any], **how: Any) -> Any:
    """What Vault answers to a question of administration; Unknown for 404. There is no other Vault to ask."""
    try:
        return vault.ask(what, question, **how)
    except Unavailable as error:
        raise Refusal(
            "vault_unavailable",
            expected=f"an answer of {vault.label}",
            found=error.why,
            remedy="Bring it back (unseal it, mend the network), then run the same command again; what was done is not done twice.",
        ) from None
