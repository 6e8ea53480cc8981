# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of a host whose chain is one encrypted store below a directory, for actions that work with secrets."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import plugins
import pytest
from safes import CANARY
from vaults import RealVault

DECLARED = {
    "database/main": {"type": "database", "description": "The shop's database"},
    "pager": {"type": "api_key", "description": "Who is woken up"},
}


class Safehouse:
    """``ask`` runs an action of that name for the host; ``variables`` are what group_vars say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.own: dict[str, Any] = {}
        self.administrator: dict[str, Any] = {}
        self.key, self.store = directory / "keys/secrets.key", directory / "secrets.enc"
        self.variables: dict[str, Any] = {
            "inventory_hostname": "prod-1", "slipway_environment": "development", "slipway_state_directory": str(directory / "state"),
            "secrets_chain": ["local"], "secrets_declared": DECLARED, "secrets_swap_accepted": True,
            "secrets_providers": {"local": {"type": "local", "path": str(self.store), "key_path": str(self.key)}},
        }  # fmt: skip

    def ask(self, name: str, /, *, check: bool = False, **options: Any) -> dict[str, Any]:
        given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
        return plugins.run(name, check=check, task_vars=self.variables, **given)


@pytest.fixture
def safehouse(tmp_path: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> Safehouse:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))
    for name in ("SECRETS_KEY_PATH", "SECRETS_KEY", "SECRETS_MODE"):
        monkeypatch.delenv(name, raising=False)
    return Safehouse(tmp_path)


VAULT_ROLES = {
    "deployer": {"description": "d", "may": {"read": ["database/main"]}},
    "emergency": {"description": "e", "may": {"read": ["*"]}, "token_minutes": 15},
}
VAULT_OWN = {"owner": "t4", "roles": VAULT_ROLES}


@pytest.fixture
def vault_house(safehouse: Safehouse, real_vault: RealVault, tmp_path: Path) -> Safehouse:
    """A chain of one real Vault, whose role id and secret id are still to come; ``own`` are options of whoever works with it, ``administrator`` of whoever administers it."""
    real_vault.put("database/main", password=CANARY)
    real_vault.secret("admin-token", real_vault.token)
    provider = {
        "type": "vault", "url": real_vault.url, "ca_path": str(real_vault.ca), "prefix": "shop", "auth": "approle",
        "role_id_path": str(tmp_path / "id/role-id"), "secret_id_path": str(tmp_path / "id/secret-id"),
    }  # fmt: skip
    safehouse.variables |= {
        "secrets_chain": ["vault"],
        "secrets_providers": {"vault": provider},
        "secrets_declared": {},
    }
    safehouse.own = {**VAULT_OWN, "owner": f"t{uuid.uuid4().hex[:8]}"}  # the server is one for all tests
    safehouse.administrator = {**safehouse.own, "token_path": real_vault.directory / "admin-token"}
    return safehouse
