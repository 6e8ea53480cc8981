# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's action plugins share. Beside ``_module.py`` the only file of this package that imports Ansible."""

from __future__ import annotations

import ast
import getpass
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.plugins.action import ActionBase

from .base.errors import Refusal
from .controller.deployment import Controller
from .controller.memory import Process

LIBRARY = Path(__file__).resolve().parents[2] / "library"
SPEC_KEYS = ("type", "elements", "required", "default", "choices")


@cache
def documented_spec(name: str) -> dict[str, dict[str, Any]]:
    """The argument spec of ``library/<name>.py``, read from its DOCUMENTATION: what is documented is what is accepted."""
    tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "DOCUMENTATION":
            options = yaml.safe_load(ast.literal_eval(node.value))["options"]
            return {option: {key: value[key] for key in SPEC_KEYS if key in value} for option, value in options.items()}
    raise LookupError(f"{name} has no DOCUMENTATION")


class ControllerAction(ActionBase):  # type: ignore[misc]
    """An action that works on the controller with what hosts have answered; it opens no connection."""

    name = ""

    def answer(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Do the work: plain data in, plain data out; a Refusal fails the task. Without ``changed`` nothing was."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(argument_spec=documented_spec(self.name))
        try:
            result.update(self.answer(arguments, task_vars or {}))
        except Refusal as refusal:
            result.update(failed=True, msg=str(refusal), **refusal.as_dict())
        result.setdefault("changed", False)
        return result


def controller_of(arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> Controller:
    """The controller for a plan: its own clock, and the process that all of this run's workers have as parent."""
    return Controller(
        state=Path(arguments["state_directory"]),
        application=arguments["application"],
        environment=arguments["environment"],
        deployed_by=deployer(task_vars),
        now=int(time.time()),
        process=Process.of(os.getppid()),
        lease_seconds=arguments["lease_seconds"],
    )


def deployer(task_vars: Mapping[str, Any]) -> str:
    """Who runs this: AWX's user where AWX runs it, else the user who called sudo, else the user of the process."""
    for name in ("awx_user_name", "tower_user_name"):
        if task_vars.get(name):
            return str(task_vars[name])
    return os.environ.get("SUDO_USER") or getpass.getuser()
