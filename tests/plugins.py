# SPDX-License-Identifier: GPL-3.0-or-later
"""Run an action plugin of action_plugins/ as Ansible does on the controller: a real task, real options, no connection."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import doors
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible.template import Templar

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


def run_with_module(
    name: str, /, *, check: bool = False, task_vars: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """Return what a plugin answers that has the module of its name run on a host: in this process, with its real answer."""

    class Action(load(name).ActionModule):
        def _execute_module(self, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            return doors.run(name, check=self._task.check_mode, **module_args)

    return run_class(Action, name, check=check, task_vars=task_vars, **options)


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
