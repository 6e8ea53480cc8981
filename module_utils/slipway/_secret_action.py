# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of secrets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._action import ControllerAction
from ._secrets import access_log, caller_of, keeper_of, main_process, settings_of
from .base.clock import SystemClock
from .base.process import Process
from .controller.memory import ControllerState
from .secrets.access_log import AccessLog
from .secrets.keeper import Keeper
from .secrets.secret_rotation import Rotations
from .secrets.secret_settings import SecretSettings
from .secrets.store_commands import StoreCommands


class SecretAction(ControllerAction):
    """An action that works with secrets, on the controller."""

    def keeper(self, task_vars: Mapping[str, Any]) -> Keeper:
        """The chain of the host's environment."""
        return keeper_of(task_vars, self._templar.template, self._loader)

    def state_directory(self, task_vars: Mapping[str, Any]) -> Path:
        """Where the controller keeps its memory."""
        return Path(self._templar.template(task_vars["slipway_state_directory"]))

    def log(self, task_vars: Mapping[str, Any]) -> AccessLog:
        return access_log(task_vars, self._templar.template)

    def store(self, task_vars: Mapping[str, Any], key_path: str | None) -> tuple[StoreCommands, SecretSettings]:
        """The encrypted store of that chain, with another key file where one is named."""
        template = self._templar.template
        settings = settings_of(task_vars, template)
        provider = settings.store()
        file = provider.file
        assert file is not None  # noqa: S101 - for the type checker; what has a store is a file
        commands = StoreCommands(
            provider.label, file.store or file.path, file.key_path, access_log(task_vars, template), caller_of(task_vars, template), SystemClock(),
            Path(key_path) if key_path else None, self._task.check_mode,
        )  # fmt: skip
        return commands, settings


def rotations_of(
    application: str, variables: Mapping[str, Any], template: Callable[[Any], Any], loader: Any
) -> Rotations:
    """The rotations of the host's environment for an application, by this run."""
    state = Path(template(variables["slipway_state_directory"]))
    return Rotations(
        keeper_of(variables, template, loader), state, application, Process.of(main_process()), ControllerState(state).newest_run
    )  # fmt: skip
