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
from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars

from .base.errors import Refusal
from .controller.deployment import Controller
from .controller.memory import Process
from .controller.witness import Memory, Verdict, Witness, host_of

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


def require_no_private_variables(given: Mapping[str, Any]) -> None:
    """Extra variables win over what tasks register: one of a private name would put words into a host's mouth."""
    private = sorted(str(name) for name in given if str(name).startswith("__"))
    if private:
        raise Refusal(
            "variable_private",
            expected="extra variables that roles and playbooks offer; names that begin with __ are their own",
            found=", ".join(private),
            remedy="Leave it out; docs/reference/variables.md has all that can be given.",
        )


def require_linear(strategy: str) -> None:
    """Plans judge all hosts at once, and waves wait for each other: under ``free`` or ``host_pinned`` no host waits for another."""
    if not strategy.rpartition(".")[2].endswith("linear"):
        raise Refusal(
            "strategy_not_linear",
            expected="Ansible's strategy linear, or one that is made of it (mitogen_linear)",
            found=strategy,
            remedy="Leave out ANSIBLE_STRATEGY, and `strategy` in ansible.cfg.",
        )


class ControllerAction(ActionBase):  # type: ignore[misc]
    """An action that works on the controller with what hosts have answered; it opens no connection."""

    name = ""

    def answer(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Do the work: plain data in, plain data out; a Refusal fails the task. Without ``changed`` nothing was."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            require_linear(constants.DEFAULT_STRATEGY)
            require_no_private_variables(load_extra_vars(self._loader))
        except Refusal as refusal:
            return {**result, "failed": True, "changed": False, "msg": str(refusal), **refusal.as_dict()}
        _validation, arguments = self.validate_argument_spec(argument_spec=documented_spec(self.name))
        try:
            result.update(self.answer(arguments, task_vars or {}))
        except Refusal as refusal:
            result.update(failed=True, msg=str(refusal), **refusal.as_dict())
        result.setdefault("changed", False)
        return result


class HostAction(ActionBase):  # type: ignore[misc]
    """An action that has the module of its name run on the host, and judges the history that comes with its answer.

    The verdict is the answer's ``witness`` {outcome, detail}: null where the host did not say anything of its history.
    """

    def exchange(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Run the module, told what was witnessed last. A host that turns out to be another one is asked again, if it was only asked."""
        witness = Witness(self.state_directory(task_vars))
        # With delegate_to it is another host that answers, and its history that is judged.
        name = str(self._task.delegate_to or task_vars["inventory_hostname"])
        application = str(arguments["application"])
        try:
            memory = witness.recall(name, application)
        except (Refusal, OSError) as error:  # a plan refuses what is not judged; a way back is not held up by it
            answer = self._execute_module(module_args=dict(arguments), task_vars=task_vars)
            return {**answer, "witness": Verdict("unjudged", str(error)).as_dict()}
        answer = self._asked(arguments, memory, task_vars)
        host_id = host_of(answer, memory)
        if host_id and (memory.pinned is None or memory.pinned.id != host_id):
            memory = witness.recall(name, application, host_id)
            if memory.newest and "state" not in arguments:
                answer = self._asked(arguments, memory, task_vars)
        verdict = witness.judge_answer(memory, answer, name, now=int(time.time()))
        return {**answer, "witness": verdict.as_dict() if verdict else None}

    def state_directory(self, task_vars: Mapping[str, Any]) -> Path:
        """Where the controller keeps its memory."""
        return Path(self._templar.template(task_vars["slipway_state_directory"]))

    def _asked(self, arguments: Mapping[str, Any], memory: Memory, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        told = {"witnessed": memory.witnessed()} if memory.newest else {}
        answer: dict[str, Any] = self._execute_module(module_args={**arguments, **told}, task_vars=task_vars)
        return answer


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
