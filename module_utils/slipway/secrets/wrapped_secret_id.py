# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret id on its way from whoever administers Vault to whoever logs in with it: nobody in between has it unseen.

What travels is a wrapping token: it opens once and for minutes. Whoever receives it asks Vault first what is in it, since a token can be swapped for
one that somebody else has made; one that was opened already means that somebody else has the secret id, which is refused aloud.

Both are lines of the access log, written before and after. The emergency access is not handed over so: nobody has the whole of it (break_glass.py).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable
from .provider import Unknown
from .vault_access import VaultAccess, asked
from .vault_roles import EMERGENCY, ROLE, Role

FORMAT: Final = 1
LIMIT: Final = 1 << 16
Note = Callable[[str, str], object]  # of the role and what came of it: begun, issued or received


@dataclass(frozen=True)
class Parcel:
    """What is in the file that travels."""

    role: str
    role_id: str
    wrapping_token: str


def issue(access: VaultAccess, role: Role, wrap_seconds: int, output: Path, note: Note) -> None:
    """Have a secret id made and wrapped for so long, and write the file for its receiver, of mode 0600."""
    _require_for_one(role.name)
    require_place(output)
    note(role.name, "begun")
    name, auth_mount = access.roles.named(role), access.auth_mount

    def question(client: Any) -> Any:
        about = client.auth.approle
        role_id = about.read_role_id(name, mount_point=auth_mount)["data"]["role_id"]
        return role_id, about.generate_secret_id(name, mount_point=auth_mount, wrap_ttl=f"{wrap_seconds}s")["wrap_info"]

    try:
        role_id, wrapped = asked(access.vault, f"secret id of {name}", question)
    except Unknown:
        raise unapplied(name, access.vault.label) from None
    document = {"format": FORMAT, "role": role.name, "role_id": role_id, "wrapping_token": wrapped["token"]}
    write_durable(output, json.dumps(document).encode() + b"\n", mode=0o600)
    note(role.name, "issued")


def require_place(path: Path) -> None:
    """Refuse a file whose directory is not there, before what is to be in it is made."""
    if not path.parent.is_dir():
        raise Refusal(
            "secret_output_directory_missing",
            expected=f"a directory {path.parent}",
            found="none",
            remedy="Make it (mode 0700), or name another one.",
        )


def unapplied(name: str, label: str) -> Refusal:
    """For a role of group_vars that Vault does not know, or knows otherwise."""
    return Refusal(
        "vault_role_unapplied",
        expected=f"the AppRole {name} at {label} as vault_roles say",
        found="none, or another one",
        remedy="Bring it there first: make vault-apply.",
    )


def receive(access: VaultAccess, source: Path, role_id_path: Path, secret_id_path: Path, note: Note) -> str:
    """Open the file, put role id and secret id where the provider looks for them, and remove it; returns the role."""
    parcel = _parcel(source)
    _require_for_one(parcel.role)
    for path in (role_id_path, secret_id_path):
        _require_writable(path)
    note(parcel.role, "begun")
    creation_path = f"auth/{access.auth_mount}/role/{access.roles.owner}-{parcel.role}/secret-id"
    vault, token = access.vault, parcel.wrapping_token
    spent = Refusal(
        "vault_wrapping_spent",
        expected=f"a wrapped secret id in {source} that nobody has opened",
        found="one that was opened already, or is over",
        remedy="If you did not open it, somebody else did: find out who (Vault's audit device), have that secret id destroyed, and ask for another.",
    )
    found = asked(
        vault, "sys/wrapping/lookup", lambda client: client.adapter.post("/v1/sys/wrapping/lookup", json={"token": token}), token="", rejected=spent,
    )  # fmt: skip
    made_by = found["data"]["creation_path"]
    if made_by != creation_path:
        raise Refusal(
            "vault_wrapping_swapped",
            expected=f"something that was wrapped at {creation_path}",
            found=made_by,
            remedy="Do not use it: somebody has put another one in its place. Tell whoever sent it.",
        )
    secret_id = asked(vault, "sys/wrapping/unwrap", lambda client: client.sys.unwrap(), token=token, rejected=spent)[
        "data"
    ]["secret_id"]
    write_durable(role_id_path, parcel.role_id.encode() + b"\n", mode=0o600)
    write_durable(secret_id_path, secret_id.encode() + b"\n", mode=0o600)
    source.unlink()
    note(parcel.role, "received")
    return parcel.role


def _require_writable(path: Path) -> None:
    """Refuse a place that cannot be written, before what is to be there is opened for the one time."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            found = "a directory" if path.is_dir() else ""
    except OSError as error:
        found = error.strerror or "an error"
    if found:
        raise Refusal(
            "vault_secret_id_place_unfit",
            expected=f"{path} to be a file that can be written",
            found=found,
            remedy="Make room there, or name another one (role_id_path and secret_id_path of the provider); the parcel was not opened.",
        )


def _require_for_one(role: str) -> None:
    if role == EMERGENCY:
        raise Refusal(
            "break_glass_role_issued",
            expected="a role whose secret id one person may have",
            found=f"{EMERGENCY}, which two holders open together",
            remedy="Seal it instead: make break-glass-seal; docs/runbooks/break-glass.md.",
        )


def _parcel(source: Path) -> Parcel:
    data = read_if_there(source, limit=LIMIT, what="file with a wrapped secret id")
    try:
        document = canonical.parse(data or b"", what="file with a wrapped secret id", limit=LIMIT)
        if document["format"] != FORMAT or not ROLE.match(document["role"]):
            raise KeyError
        return Parcel(*(str(document[key]) for key in ("role", "role_id", "wrapping_token")))
    except (Refusal, KeyError, TypeError):
        raise Refusal(
            "vault_parcel_invalid",
            expected=f"a wrapped secret id in {source}, as make vault-issue writes it",
            found="no such file" if data is None else "something else",
            remedy="Correct FILE=, or have it made again.",
        ) from None
