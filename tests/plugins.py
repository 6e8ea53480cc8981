# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an action plugin of action_plugins/ as Ansible does on the controller: a real task, real options, no connection."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from types import ModuleType
from typing import Any

import doors
from ansible.module_utils.slipway._action import HostAction
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.host.door import exchange
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible.template import Templar

RESIDENT, MODULE = "resident", "module"
PLUGINS = Path(__file__).resolve().parent.parent / "action_plugins"


def load(name: str) -> ModuleType:
    """Import the plugin's file."""
    specification = importlib.util.spec_from_file_location(f"plugin_{name}", PLUGINS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def run(
    name: str, /, *, check: bool = False, task_vars: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Return what the plugin answers to a task with these options."""
    return run_class(load(name).ActionModule, name, check=check, task_vars=task_vars, **options)


def run_on_host(
    name: str,
    /,
    *,
    check: bool = False,
    task_vars: dict[str, Any] | None = None,
    door: str = RESIDENT,
    **options: Any,
) -> dict[str, Any]:
    """Return what a plugin answers that asks a host, in this process: by its real resident package, or by the real module."""
    return run_class(at_door(load(name).ActionModule, door), name, check=check, task_vars=task_vars, **options)


def ask(
    name: str, /, *, door: str, check: bool = False, attachment: tuple[str, bytes] | None = None, **options: Any
) -> dict[str, Any]:
    """Return what a host answers to a module's options that came through the door, before anybody judges it."""

    class Asking(HostAction):
        def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
            if attachment:
                return self.ask_resident(self._task.args, task_vars, attachment)
            return self.ask(self._task.args, task_vars)

    Asking.name = name
    return run_class(at_door(Asking, door), name, check=check, **options)


def at_door(action: type, door: str) -> type:
    """The action with this process as its host."""

    class Action(action):
        has_resident = door == RESIDENT

        def _low_level_execute_command(self, cmd: str, **options: Any) -> Any:
            if not cmd.endswith(" exchange"):
                return super()._low_level_execute_command(cmd, **options)
            printed = io.StringIO()
            code = exchange(io.BytesIO(options["in_data"]), printed, resident.own_digest())
            return {"rc": code, "stdout": printed.getvalue(), "stderr": ""}

        def _execute_module(
            self, *, module_args: dict[str, Any], task_vars: dict[str, Any], module_name: str = ""
        ) -> dict[str, Any]:
            return doors.run(module_name or self.name, check=self._task.check_mode, **module_args)

    return Action


def run_class(
    action: type, name: str, /, *, check: bool = False, task_vars: dict[str, Any] | None = None, **options: Any
) -> Any:
    """The same for a class that no file has."""
    task = Task()
    task.action, task.args, task.check_mode, task.async_val = name, options, check, 0
    task.delegate_to = (task_vars or {}).get("delegate_to")
    context, loader = PlayContext(), DataLoader()
    connection = connection_loader.get("local", context)
    plugin = action(
        task=task,
        connection=connection,
        play_context=context,
        loader=loader,
        templar=Templar(loader=loader, variables=task_vars or {}),
        shared_loader_obj=None,
    )
    return plugin.run(task_vars=task_vars or {})
