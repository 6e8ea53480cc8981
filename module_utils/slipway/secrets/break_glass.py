# SPDX-License-Identifier: GPL-3.0-or-later
"""The way in for an emergency: two holders open it together, for minutes, everybody is told, and afterwards it is shut and proven to be.

*Sealing* (by an administrator of Vault) makes one secret id of the AppRole ``emergency``, that can be used once, destroys every older one, and writes its two halves.
*Opening* joins them, logs in, and leaves a token, and a file of variables that lets every command of ours ask with it. *Shutting* revokes the token and
proves that neither it nor the secret id opens anything any more. Who does nothing afterwards has it shut by Vault: the token ends after ``token_minutes``.

Each of the three is a line in the access log, written before the thing is done (an opening that cannot be noted does not happen), and another one for what came of it.
Vault's own audit device has the login with the seal's id in it, and every read; without one nothing is sealed.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.clock import Clock, timestamp
from ..base.errors import Refusal
from ..base.fields import ONE_LINE
from ..base.files import read_if_there, write_durable
from . import halves
from .access_log import AccessLog, Caller
from .login import Logins
from .vault import Vault, VaultSettings
from .vault_access import VaultAccess, asked
from .vault_roles import EMERGENCY
from .volatile import MEMORY_FILE_SYSTEMS, file_system_of
from .wrapped_secret_id import require_place, unapplied

NAME: Final = "break-glass"
TOKEN: Final = "token"  # noqa: S105 - the name of a file
VARIABLES: Final = "variables.json"
OPENING: Final = "opening.json"
LEAST_REASON: Final = 15
LIMIT: Final = 1 << 16


@dataclass(frozen=True)
class Opened:
    """What an opening left behind; ``accessor`` lets an administrator end it, and gives nobody access."""

    seal: str
    accessor: str
    variables: Path
    minutes: int


@dataclass(frozen=True)
class BreakGlass:
    """The emergency access of one provider, for one caller. ``announce`` says a sentence in the run's output."""

    vault: Vault
    log: AccessLog
    caller: Caller
    clock: Clock
    announce: Callable[[str], None]

    def seal(self, access: VaultAccess, first: Path, second: Path, reason: str) -> str:
        """Make the two halves anew, and all older ones and what is still open worthless; returns the id of the seal."""
        _require_reason(reason)
        _require_apart(first, second)
        role = access.roles.role(EMERGENCY)
        name = access.roles.named(role)
        vault, place = access.vault, {"mount_point": access.auth_mount}
        _require_one_use(role.secret_id_uses, role.token_minutes)
        if access.differs(role):
            raise unapplied(name, self.vault.label)
        if not asked(vault, "sys/audit", lambda client: client.sys.list_enabled_audit_devices())["data"]:
            raise Refusal(
                "vault_unaudited",
                expected=f"an audit device at {self.vault.label}, so that an opening is seen by others than who opens",
                found="none",
                remedy="Enable one (vault audit enable file file_path=…), then seal again.",
            )
        seal = f"{timestamp(self.clock.now())}-{secrets.token_hex(4)}"
        self._note("seal", "begun", seal, reason)
        from hvac.exceptions import InvalidPath, InvalidRequest

        def renew(client: Any) -> tuple[str, str]:
            about = client.auth.approle
            for accessor in self._unshut():
                with suppress(InvalidPath, InvalidRequest):  # over by itself
                    client.auth.token.revoke_accessor(accessor)
            try:
                old = about.list_secret_id_accessors(name, **place)["data"]["keys"]
            except InvalidPath:  # there are none
                old = []
            for accessor in old:
                with suppress(InvalidPath):  # over a moment ago
                    about.destroy_secret_id_accessor(name, accessor, **place)
            role_id = about.read_role_id(name, **place)["data"]["role_id"]
            made = about.generate_secret_id(name, metadata={"seal": seal}, **place)
            return role_id, made["data"]["secret_id"]

        role_id, secret_id = asked(vault, name, renew)
        words = {
            "seal": seal,
            "provider": self.vault.label,
            "role": role.name,
            "role_id": role_id,
            "auth_mount": access.auth_mount,
        }
        for half, path in zip(halves.split(secret_id, words), (first, second), strict=True):
            write_durable(path, half.encoded(), mode=0o600)
        self._note("seal", "sealed", seal, reason)
        return seal

    def open(self, first: Path, second: Path, directory: Path, reason: str) -> Opened:
        """Log in with both halves, and leave what is needed to use that in a new directory in memory."""
        _require_reason(reason)
        one, other = halves.read(first), halves.read(second)
        secret_id = halves.joined(one, other)
        words = one.about
        _require_new_in_memory(directory)
        self._note("open", "begun", words["seal"], reason)
        self.announce(
            f"BREAK GLASS: {self.caller.by} opens the emergency access of {self.vault.label} (seal {words['seal']}): {reason}"
        )

        def login(client: Any) -> Any:
            return client.auth.approle.login(
                words["role_id"], secret_id, mount_point=words["auth_mount"], use_token=False
            )

        refused = Refusal(
            "break_glass_refused",
            expected=f"{self.vault.label} to take the secret id of seal {words['seal']}",
            found="a refusal: it was used already, replaced by another seal, or is over",
            remedy="If neither holder opened it, somebody else did. make secrets-access NAME=break-glass and Vault's audit device say when; then seal anew.",
        )
        directory.mkdir(mode=0o700)
        try:
            given = asked(self.vault, "auth/approle/login", login, token="", rejected=refused)["auth"]
        except Refusal as refusal:
            directory.rmdir()
            self._note("open", "refused", words["seal"], refusal.reason)
            raise
        opened = Opened(words["seal"], given["accessor"], directory / VARIABLES, int(given["lease_duration"]) // 60)
        about = {**words, "accessor": opened.accessor, "secret_id": secret_id, "vault": self._provider(directory)}
        write_durable(directory / TOKEN, given["client_token"].encode(), mode=0o600)
        write_durable(directory / OPENING, json.dumps(about).encode() + b"\n", mode=0o600)
        variables = {
            "secrets_chain": [EMERGENCY],
            "secrets_providers": {EMERGENCY: about["vault"]},
            "secrets_cache_seconds": 0,
        }
        write_durable(opened.variables, json.dumps(variables, indent=2).encode() + b"\n", mode=0o600)
        self._note("open", "opened", words["seal"], reason, accessor=opened.accessor)
        self.announce(
            f"BREAK GLASS is open for {opened.minutes} minutes. Shut it as soon as you have what you need: make break-glass-shut"
        )
        return opened

    def shut(self, directory: Path) -> str:
        """Revoke what an opening gave, prove that nothing opens any more, and remove its directory; returns the seal."""
        token, about = _left_in(directory)
        vault = self.vault
        words = {"seal": about["seal"], "accessor": about["accessor"]}
        self._note("shut", "begun", reason=None, **words)

        def login(client: Any) -> None:
            client.auth.approle.login(about["role_id"], about["secret_id"], mount_point=about["auth_mount"])
            client.auth.token.revoke_self()  # it should not have come so far

        _is_refused(vault, token, lambda client: client.auth.token.revoke_self())
        proofs = {
            "the token": _is_refused(vault, token, lambda client: client.auth.token.lookup_self()),
            "the secret id": _is_refused(vault, "", login),
        }
        if still := [what for what, holds in proofs.items() if not holds]:
            refusal = Refusal(
                "break_glass_open",
                expected="neither the token nor the secret id of this opening to open anything",
                found=f"{' and '.join(still)} that still did",
                remedy="Have an administrator end it at Vault (make break-glass-seal, vault token revoke -accessor), then look into why.",
            )
            self._note("shut", "refused", reason=refusal.reason, **words)
            raise refusal
        for name in (TOKEN, VARIABLES, OPENING):
            (directory / name).unlink(missing_ok=True)
        with suppress(OSError):  # what somebody else put there is theirs
            directory.rmdir()
        self._note("shut", "shut", reason=None, **words)
        self.announce(f"BREAK GLASS is shut and proven to be (seal {about['seal']}). Seal anew: make break-glass-seal")
        return str(about["seal"])

    def _unshut(self) -> list[str]:
        """The tokens of openings that this log knows, and that nobody has shut."""
        lines = self.log.found(name=NAME)
        over = {each["accessor"] for each in lines if each["outcome"] == "shut"}
        return [each["accessor"] for each in lines if each["outcome"] == "opened" and each["accessor"] not in over]

    def _provider(self, directory: Path) -> dict[str, str]:
        """The provider as in secrets_providers, asked with the token of an opening."""
        provider = {
            "type": "vault",
            "url": self.vault.settings.url,
            "auth": "token",
            "token_path": str(directory / TOKEN),
            "mount": self.vault.settings.mount,
        }
        if self.vault.settings.ca_path:
            provider["ca_path"] = str(self.vault.settings.ca_path)
        return provider | {
            key: value for key in ("namespace", "prefix") if (value := getattr(self.vault.settings, key))
        }

    def _note(self, operation: str, outcome: str, seal: str, reason: str | None, accessor: str | None = None) -> None:
        more = {"accessor": accessor} if accessor else {}
        self.log.note(
            self.caller, self.clock, operation=operation, name=NAME, outcome=outcome, provider=self.vault.label, version=seal, reason=reason, **more,
        )  # fmt: skip


def _require_reason(reason: str) -> None:
    if len(reason.strip()) < LEAST_REASON or not ONE_LINE.match(reason):
        raise Refusal(
            "break_glass_reason_missing",
            expected=f"a reason of at least {LEAST_REASON} characters in one line, for whoever reads the access log",
            found=f"{len(reason.strip())} characters",
            remedy="Say why: MESSAGE=.",
        )


def _require_one_use(uses: int, minutes: int) -> None:
    if uses != 1 or minutes > 60:
        raise Refusal(
            "break_glass_unbounded",
            expected=f"the role {EMERGENCY} to have secret_id_uses: 1 and at most 60 token_minutes",
            found=f"{uses} uses and {minutes} minutes",
            remedy="Correct it in vault_roles and apply that (make vault-apply).",
        )


def _require_apart(first: Path, second: Path) -> None:
    """Two halves on one disk are a whole, also after they were removed there."""
    for path in (first, second):
        require_place(path)
    together = os.stat(first.parent).st_dev == os.stat(second.parent).st_dev
    if first == second or (together and not _is_in_memory(first.parent)):
        raise Refusal(
            "break_glass_halves_together",
            expected="each half on a medium of its own, or both in memory until their holders have them",
            found=f"{first} and {second}",
            remedy="Name a directory below $XDG_RUNTIME_DIR or /dev/shm, hand the files over, and remove them.",
        )


def _require_new_in_memory(directory: Path) -> None:
    require_place(directory)
    if os.path.lexists(directory):
        raise Refusal(
            "break_glass_open_already",
            expected=f"no {directory}",
            found="one, of an opening that was not shut",
            remedy="Shut that first: make break-glass-shut.",
        )
    if not _is_in_memory(directory.parent):
        raise Refusal(
            "break_glass_on_disk",
            expected=f"a directory in memory (below $XDG_RUNTIME_DIR or /dev/shm) for {directory.name}",
            found=str(directory.parent),
            remedy="Name one there; the token must be on no disk.",
        )


def _is_in_memory(directory: Path) -> bool:
    kind, _options = file_system_of(directory, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    return kind in MEMORY_FILE_SYSTEMS


def _left_in(directory: Path) -> tuple[str, dict[str, Any]]:
    token = read_if_there(directory / TOKEN, limit=LIMIT, what="emergency token")
    opening = read_if_there(directory / OPENING, limit=LIMIT, what="emergency opening")
    if token is None or opening is None:
        raise Refusal(
            "break_glass_not_open",
            expected=f"what an opening left in {directory}",
            found="nothing",
            remedy="Correct the directory. Nothing may be open: make secrets-access NAME=break-glass has every opening and its end.",
        )
    return token.decode(), canonical.parse(opening, what="emergency opening", limit=LIMIT)


def opened_from(directory: Path, clock: Clock) -> Vault:
    """The Vault whose emergency access was opened in a directory, as it was found then: group_vars may say otherwise by now."""
    _token, about = _left_in(directory)
    given = about["vault"]
    ca_path = Path(given["ca_path"]) if "ca_path" in given else None
    settings = VaultSettings(
        given["url"], "token", ca_path, given.get("namespace", ""), given["mount"], given.get("prefix", ""), token_path=Path(given["token_path"]),
    )  # fmt: skip
    return Vault(about["provider"], settings, Logins(None, clock))


def _is_refused(vault: Vault, token: str, question: Callable[[Any], Any]) -> bool:
    """Whether Vault says no, which is what is wanted here; no answer at all proves nothing, and is a Refusal."""
    try:
        asked(vault, "the end of the emergency access", question, token=token, rejected=_No())
    except _No:
        return True
    return False


class _No(Exception):
    """What Vault is to say."""
