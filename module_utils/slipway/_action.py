# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's action plugins share. Beside ``_module.py`` the only file of this package that imports Ansible."""

from __future__ import annotations

import ast
import gc
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.common.yaml import yaml_load
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import become_loader, connection_loader, filter_loader, shell_loader, test_loader
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible.vars.clean import remove_internal_keys

from ._state import state_place
from .base import frame
from .base.errors import Refusal
from .base.operator import deployer
from .base.process import Process
from .controller import resident
from .controller.deployment import Controller
from .controller.given import require_no_private_variables, require_plain
from .controller.job import require_run_group
from .controller.state_place import StatePlace
from .controller.witness import Memory, Witness, host_of
from .host.options import MODULES

LIBRARY = Path(__file__).resolve().parents[2] / "library"
RESIDENT = "/usr/lib/slipway/slipway.pyz"
INTERPRETER = "/usr/bin/python3"
NEVER_STARTED = (
    2,
    127,
)  # an interpreter without the file, or a package without this verb; a shell without the interpreter
UNANSWERED_SHOWN = 600
# By these keys, whatever the task, Ansible takes variables, hosts, groups and figures from an answer.
OF_THE_CONTROLLER = ("ansible_facts", "ansible_stats", "add_host", "add_group")
RETRIES = "reconnection_retries"
SPEC_KEYS = ("type", "elements", "required", "default", "choices")

display = Display()


def _prepare_workers() -> None:
    """Load what every worker needs, once: Ansible's first process loads action plugins, and forks a worker for each task and host.

    The filters, which are most of it, it has loaded even before its first worker where it needed one for a play's ``hosts``.
    """
    resident.own_digest()
    filter_loader.get("default")  # with the first, all of them
    test_loader.get("defined")
    for loader, name in ((connection_loader, "ssh"), (become_loader, "sudo"), (shell_loader, "sh")):
        loader.get(name, class_only=True)
    gc.freeze()  # as its documentation has it: what is collected in a worker would be copied for it first


_prepare_workers()


@cache
def documented_spec(name: str) -> dict[str, dict[str, Any]]:
    """The argument spec of ``library/<name>.py``, read from its DOCUMENTATION: what is documented is what is accepted."""
    tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "DOCUMENTATION":
            options = yaml_load(ast.literal_eval(node.value))["options"]
            return {option: {key: value[key] for key in SPEC_KEYS if key in value} for option, value in options.items()}
    raise LookupError(f"{name} has no DOCUMENTATION")


def require_linear(strategy: str) -> None:
    """Plans judge all hosts at once, and waves wait for each other: under ``free`` or ``host_pinned`` no host waits for another."""
    if strategy not in ("linear", "ansible.builtin.linear", "ansible.legacy.linear"):
        raise Refusal(
            "strategy_not_linear",
            expected="Ansible's strategy linear",
            found=strategy,
            remedy="Leave out ANSIBLE_STRATEGY, and `strategy` in ansible.cfg.",
        )


class ControllerAction(ActionBase):  # type: ignore[misc]
    """An action that works on the controller with what hosts have answered; it opens no connection."""

    name = ""

    def answer(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Do the work: plain data in, plain data out; a Refusal fails the task. Without ``changed`` nothing was."""
        raise NotImplementedError

    def place(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> StatePlace:
        """Where the controller's state is, with the directory that the task names."""
        return state_place(task_vars, self._templar.template, self._loader, arguments.get("state_directory"))

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        try:
            require_linear(constants.DEFAULT_STRATEGY)
            require_plain(extra := load_extra_vars(self._loader))
            require_no_private_variables(extra)
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
    """An action that has the host do what the module of its ``name`` says.

    It asks the resident package that is on the host, which costs a tenth of a module run. Where that is not this controller's, or there is
    none, the module runs; never when work may have begun (docs/adr/0022-resident-door.md).
    """

    name = ""
    has_resident = True  # False once the host has told that it has another one, or none

    def ask(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of the host, whichever door it came through."""
        answer = self.ask_resident(options, task_vars)
        if answer is None:
            with _sent_once(self._connection):
                answer = self._execute_module(module_name=self.name, module_args=dict(options), task_vars=task_vars)
        return _of_a_host(answer)

    def ask_resident(
        self, options: Mapping[str, Any], task_vars: Mapping[str, Any], attachment: tuple[str, bytes] | None = None
    ) -> dict[str, Any] | None:
        """The answer of the resident package; None where nothing was begun and the module can run instead.

        ``attachment`` is an option and the bytes that its file is to have on the host.
        """
        if not self.has_resident or not self._can_be_asked():
            return None
        validation, given = self._validated(options)
        option, data = attachment or (None, b"")
        content = {
            "package": resident.own_digest(), "module": self.name, "options": given, "check": self._task.check_mode, "attached": option,
        }  # fmt: skip
        request = frame.Request(secrets.token_hex(16), content, data)
        try:
            framed = frame.encoded_request(request)
        except ValueError:  # what is too long for this door
            return None
        with _sent_once(self._connection):
            done = self._low_level_execute_command(self._command(task_vars), in_data=framed)
        said = frame.decoded_answer(request.id, done["stdout"])
        if (said is None and done["rc"] in NEVER_STARTED) or (said is not None and "result" not in said):
            display.vvv(
                f"the resident package is not this controller's ({said or done['stderr'].strip()}); the module runs"
            )
            self.has_resident = False
            return None
        answer = self._unanswered(done) if said is None else dict(said["result"])
        if display.verbosity >= 3:  # what a module would say of itself; registered variables do without
            answer["invocation"] = {"module_args": given}
        remove_internal_keys(answer)
        return _of_a_host(remove_values(answer, validation._no_log_values))

    def state_directory(self, task_vars: Mapping[str, Any]) -> Path:
        """Where the controller keeps its files."""
        return Path(self._templar.template(task_vars["slipway_state_directory"]))

    def witness(self, task_vars: Mapping[str, Any]) -> Witness:
        """The controller's witness, with what it remembers."""
        return Witness(state_place(task_vars, self._templar.template, self._loader))

    def _can_be_asked(self) -> bool:
        """Whether this connection and its become take a command's input; a user who wants to see module files gets modules."""
        become = self._connection.become
        takes_input = self._connection.has_pipelining and (not become or become.pipelining)
        return takes_input and not self._task.async_val and not constants.DEFAULT_KEEP_REMOTE_FILES

    def _validated(self, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The options as the module's argument spec fills them in; what is wrong with them fails the task, as it would there.

        Paths are the host's: what is short for something in them, the host writes out.
        """
        module = MODULES[self.name]
        spec = {
            option: {**about, "type": "str"} if about["type"] == "path" else about
            for option, about in module.argument_spec.items()
        }
        validator = ArgumentSpecValidator(spec, required_if=module.required_if)
        validation = validator.validate(dict(options))
        if validation.error_messages:
            unsupported = isinstance(validation.errors[0], UnsupportedError)
            start = f"Unsupported parameters for ({self.name}) module: " if unsupported else ""
            raise AnsibleActionFail(f"{start}{validation.errors.msg}")
        return validation, validation.validated_parameters

    def _command(self, task_vars: Mapping[str, Any]) -> str:
        """The resident package, run by the interpreter that would run the module, isolated but for its distribution's packages."""
        delegate = self._task.delegate_to
        variables = task_vars["ansible_delegated_vars"][delegate] if delegate else task_vars
        configured = constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)
        interpreter = str(self._templar.template(configured) or "auto")
        if interpreter.startswith("auto"):
            interpreter = INTERPRETER
        return f"{self._compute_environment_string()} {interpreter} -I {RESIDENT} exchange".strip()

    def _unanswered(self, done: Mapping[str, Any]) -> dict[str, Any]:
        printed = " ".join(f"{done['stderr']} {done['stdout']}".split()) or "nothing"
        failure = Refusal(
            "exchange_unanswered",
            expected="a whole answer of the resident package on the host",
            found=f"exit code {done['rc']} and {printed[-UNANSWERED_SHOWN:]}",
            remedy="The host may have acted. Mend what is said there, then run the same command again: it settles what is open first.",
        )
        return {"failed": True, "changed": not self._task.check_mode, "msg": str(failure), **failure.as_dict()}


@contextmanager
def _sent_once(connection: Any) -> Iterator[None]:
    """Ansible's ssh sends command and input again where it is told to and the connection broke: by then the host may have acted."""
    if not connection.has_option(RETRIES):
        yield
        return
    configured = connection.get_option(RETRIES)
    connection.set_option(RETRIES, 0)
    try:
        yield
    finally:
        connection.set_option(RETRIES, configured)


def _of_a_host(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without what would change the run for other hosts: a host speaks for itself only."""
    return {key: value for key, value in answer.items() if key not in OF_THE_CONTROLLER}


class WitnessedAction(HostAction):
    """A HostAction that judges the history that comes with the host's answer.

    The verdict is the answer's ``witness`` {outcome, detail}: null where the host did not say anything of its history.
    """

    def exchange(self, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the host, told what was witnessed last. One that turns out to be another one is asked again, if it was only asked."""
        witness = self.witness(task_vars)
        # With delegate_to it is another host that answers, and its history that is judged.
        name = str(self._task.delegate_to or task_vars["inventory_hostname"])
        application = str(arguments["application"])
        try:
            memory = witness.recall(name, application)
        except (Refusal, OSError) as error:  # a plan refuses what is not judged; a way back is not held up by it
            answer = self.ask(arguments, task_vars)
            return {**answer, "witness": witness.unjudged(error).as_dict()}
        answer = self._asked(arguments, memory, task_vars)
        host_id = host_of(answer, memory)
        if host_id and (memory.pinned is None or memory.pinned.id != host_id):
            memory = witness.recall(name, application, host_id)
            if memory.newest and "state" not in arguments:
                answer = self._asked(arguments, memory, task_vars)
        verdict = witness.judge_answer(memory, answer, name, now=int(time.time()))
        return {**answer, "witness": verdict.as_dict() if verdict else None}

    def _asked(self, arguments: Mapping[str, Any], memory: Memory, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        told = {"witnessed": memory.witnessed()} if memory.newest else {}
        return self.ask({**arguments, **told}, task_vars)


def controller_of(
    arguments: Mapping[str, Any], task_vars: Mapping[str, Any], place: StatePlace, *, check: bool = False
) -> Controller:
    """The controller for a plan: its own clock, and the process that all of this run's workers have as parent."""
    return Controller(
        state=place.directory,
        place=place,
        is_check=check,
        application=arguments["application"],
        environment=arguments["environment"],
        deployed_by=deployer(task_vars),
        now=int(time.time()),
        process=Process.of(os.getppid()),
        lease_seconds=arguments["lease_seconds"],
        run_group=require_run_group(arguments.get("run_group", "")),
    )
