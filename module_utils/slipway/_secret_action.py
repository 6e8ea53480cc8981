# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of secrets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._action import ControllerAction
from ._secrets import access_log, caller_of, display, keeper_of, main_process, plain, settings_of
from ._state import state_place
from .base.clock import SystemClock
from .base.errors import Refusal
from .base.process import Process
from .controller.memory import needed_memory
from .secrets.access_log import AccessLog
from .secrets.keeper import Keeper
from .secrets.login import Logins
from .secrets.secret_file import exposed
from .secrets.secret_rotation import Rotations
from .secrets.secret_settings import SecretSettings
from .secrets.store_commands import StoreCommands
from .secrets.vault import Vault, VaultSettings
from .secrets.vault_access import VaultAccess
from .secrets.vault_roles import Roles


class SecretAction(ControllerAction):
    """An action that works with secrets, on the controller."""

    def keeper(self, task_vars: Mapping[str, Any]) -> Keeper:
        """The chain of the host's environment."""
        return keeper_of(task_vars, self._templar.template, self._loader)

    def source(self, given: str) -> Path:
        """A file that somebody has written values to for us; that others may read it is said aloud."""
        path = Path(given)
        if said := exposed(path):
            display.warning(said)
        return path

    def state_directory(self, task_vars: Mapping[str, Any]) -> Path:
        """Where the controller keeps its memory."""
        return Path(self._templar.template(task_vars["slipway_state_directory"]))

    def log(self, task_vars: Mapping[str, Any]) -> AccessLog:
        return access_log(task_vars, self._templar.template, self._loader)

    def store(self, task_vars: Mapping[str, Any], key_path: str | None) -> tuple[StoreCommands, SecretSettings]:
        """The encrypted store of that chain, with another key file where one is named."""
        template = self._templar.template
        settings = settings_of(task_vars, template)
        provider = settings.store()
        file = provider.file
        assert file is not None  # noqa: S101 - for the type checker; what has a store is a file
        commands = StoreCommands(
            provider.label, file.store or file.path, file.key_path, access_log(task_vars, template, self._loader), caller_of(task_vars, template), SystemClock(),
            Path(key_path) if key_path else None, self._task.check_mode,
        )  # fmt: skip
        return commands, settings

    def provider(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Vault:
        """The Vault that the option ``provider`` names, or the only one of the chain; as itself it is not asked here."""
        settings = settings_of(task_vars, self._templar.template)
        found = {each.label: each.vault for each in settings.chain if each.vault}
        label = arguments["provider"] or (next(iter(found)) if len(found) == 1 else "")
        about = found.get(label)
        if about is None:
            raise Refusal(
                "vault_provider_missing",
                expected=f"{label or 'one provider'} of type vault in secrets_chain",
                found=", ".join(f"{each.label} ({each.type})" for each in settings.chain),
                remedy="Name one in vault_provider, and add it to secrets_providers and secrets_chain.",
            )
        return Vault(label, about, Logins(None, SystemClock()))

    def administration(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> VaultAccess:
        """Policies and AppRoles there, as the administrator whose token is in ``token_path``."""
        provider = self.provider(arguments, task_vars)
        about = provider.settings
        as_administrator = VaultSettings(
            about.url, "token", about.ca_path, about.namespace, about.mount, about.prefix, timeout_seconds=about.timeout_seconds,
            token_path=Path(arguments["token_path"]).expanduser(),
        )  # fmt: skip
        roles = Roles.parse(plain(arguments["owner"]), plain(arguments["roles"]))
        return VaultAccess(Vault(provider.label, as_administrator, provider.logins), about, roles)


def rotations_of(
    application: str, variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any
) -> Rotations:
    """The rotations of the host's environment for an application, by this run."""
    state = Path(template(variables["slipway_state_directory"]))
    memory = needed_memory(state_place(variables, template, loader), "which run was the last one")
    return Rotations(
        keeper_of(variables, template, loader), state, application, Process.of(main_process()), memory.newest_run
    )  # fmt: skip
