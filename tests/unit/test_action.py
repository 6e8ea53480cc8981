# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's plugins share: documented options, a refusal as a failed task, who deploys."""

from __future__ import annotations

import os
import sys
import textwrap
import time

import doors
import plugins
import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.slipway import _action
from ansible.module_utils.slipway._action import ControllerAction, HostAction, controller_of, documented_spec
from ansible.module_utils.slipway.base import frame
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.host import options
from ansible.plugins.connection import ConnectionBase

NAME = "slipway_application"


class Echo(ControllerAction):
    """Answers with its options, which are those of slipway_application."""

    name = NAME

    def answer(self, arguments, task_vars):
        if arguments["name"] == "refused":
            raise Refusal("application_unknown", expected="a", found="b", remedy="Do c.")
        return {"seen": arguments, **({"changed": True} if arguments["name"] == "writes" else {})}


def test_options_and_their_defaults_are_what_is_documented():
    result = plugins.run_class(Echo, NAME, applications={"shop": {}})
    assert result["seen"] == {
        "applications": {"shop": {}}, "name": "", "environments": [], "environment": "", "is_alone": True,
        "release_id": "", "project_revision": "", "workflow_revision": None, "root": "", "trust_policy": "", "state_directory": "",
    }  # fmt: skip


def test_a_plugin_on_the_controller_has_changed_nothing_unless_it_says_so():
    assert plugins.run_class(Echo, NAME, applications={})["changed"] is False
    assert plugins.run_class(Echo, NAME, applications={}, name="writes")["changed"] is True


def test_a_refusal_fails_the_task_with_its_four_parts():
    result = plugins.run_class(Echo, NAME, applications={}, name="refused")
    assert result == {
        "failed": True, "changed": False, "msg": "application_unknown: expected a; found b. Do c.", "reason": "application_unknown",
        "expected": "a", "found": "b", "remedy": "Do c.",
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"applications": "shop"}, {"applications": {}, "more": 1}], ids=["missing", "wrong type", "unknown"]
)
def test_wrong_options_never_reach_the_plugin(options):
    with pytest.raises(AnsibleError):
        plugins.run_class(Echo, NAME, **options)


@pytest.mark.parametrize(
    "strategy", ["free", "ansible.builtin.free", "host_pinned", "ansible.builtin.debug", "mitogen_linear"]
)
def test_hosts_that_do_not_wait_for_each_other_are_refused(monkeypatch, strategy):
    monkeypatch.setattr(_action.constants, "DEFAULT_STRATEGY", strategy)
    result = plugins.run_class(Echo, NAME, applications={})
    assert (result["failed"], result["reason"], result["found"]) == (True, "strategy_not_linear", strategy)


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.linear", "ansible.legacy.linear"])
def test_hosts_that_wait_for_each_other_are_not(monkeypatch, strategy):
    monkeypatch.setattr(_action.constants, "DEFAULT_STRATEGY", strategy)
    assert "failed" not in plugins.run_class(Echo, NAME, applications={})


def test_extra_variables_cannot_put_words_into_the_mouths_of_tasks(monkeypatch):
    monkeypatch.setattr(
        _action,
        "load_extra_vars",
        lambda _loader: {"release_id": "v1", "__release_activation": {"outcome": "confirmed"}},
    )
    result = plugins.run_class(Echo, NAME, applications={})
    assert (result["failed"], result["changed"], result["reason"], result["found"]) == (
        True,
        False,
        "variable_private",
        "__release_activation",
    )


def test_a_plugin_without_an_answer_is_none():
    with pytest.raises(NotImplementedError):
        ControllerAction.answer(None, {}, {})


def test_a_spec_has_what_an_argument_spec_knows_and_no_words():
    spec = documented_spec("slipway_deploy_plan")
    assert spec["lease_seconds"] == {"type": "int", "default": 900}
    assert spec["waves"] == {"type": "list", "elements": "str", "required": True}


def test_a_file_without_documentation_is_named(monkeypatch, tmp_path):
    (tmp_path / "slipway_nothing.py").write_text("OTHER = 1\n")
    monkeypatch.setattr("ansible.module_utils.slipway._action.LIBRARY", tmp_path)
    with pytest.raises(LookupError, match="slipway_nothing has no DOCUMENTATION"):
        documented_spec("slipway_nothing")


def test_a_controller_has_its_own_clock_and_the_process_that_all_workers_have_as_parent(tmp_path):
    before = int(time.time())
    made = controller_of(
        {"application": "shop", "environment": "prod", "lease_seconds": 60},
        {"awx_user_name": "anna"},
        StatePlace(tmp_path),
    )
    assert before <= made.now <= int(time.time())
    assert (made.state, made.application, made.environment) == (tmp_path, "shop", "prod")
    assert (made.deployed_by, made.lease_seconds) == ("anna", 60)
    assert made.process.pid == os.getppid()


# the resident door: what a host's package says, and when the module runs instead

HISTORY = {"application": "shop", "limit": 3}
BY_MODULE = {"changed": False, "by": "module"}
START = """
import json, os, sys
head, _, rest = sys.stdin.buffer.read().partition(b"\\n")
_word, request_id, length, _attached = head.decode().split()
asked = json.loads(rest[: int(length)])
def answer(result, request_id=request_id):
    text = json.dumps(result)
    return f"\\nslipway-answer {request_id} {len(text)}\\n{text}\\n"
"""


class Asking(HostAction):
    """Asks with its own options; a module that ran instead says so."""

    name = "slipway_history_info"
    modules = 0

    def run(self, tmp=None, task_vars=None):
        return self.ask(self._task.args, task_vars)

    def _execute_module(self, **_options):
        type(self).modules += 1
        return dict(BY_MODULE)


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Ask a resident package that is this program; without one there is none."""
    package = tmp_path / "slipway.pyz"
    monkeypatch.setattr(_action, "RESIDENT", str(package))
    monkeypatch.setattr(constants.config, "get_config_value", interpreter_is(sys.executable))
    monkeypatch.setattr(Asking, "modules", 0)

    def asked(program=None, check=False, action=Asking, **task_options):
        if program is not None:
            package.write_text(START + textwrap.dedent(program))
        return plugins.run_class(action, action.name, check=check, **{**HISTORY, **task_options})

    return asked


def interpreter_is(path):
    """Ansible's configuration with this interpreter."""
    found = constants.config.get_config_value

    def value(name, *arguments, **more):
        return path if name == "INTERPRETER_PYTHON" else found(name, *arguments, **more)

    return value


SAYS = "print(answer({'result': {'changed': True, 'asked': asked}}))"


@pytest.mark.parametrize("check", [False, True])
def test_the_host_is_asked_with_the_options_as_its_module_would_have_them(ask, check):
    answer = ask(SAYS, check=check)
    assert answer == {
        "changed": True,
        "asked": {
            "package": resident.own_digest(), "module": "slipway_history_info", "check": check, "attached": None,
            "options": {**HISTORY, "witnessed": None},
        },
    }  # fmt: skip
    assert Asking.modules == 0


@pytest.mark.parametrize(
    "program",
    [None, "print(answer({'package': '0' * 64}))", "sys.exit(2)", "sys.exit(127)"],
    ids=["no package", "another version", "a package without the verb", "a shell without the interpreter"],
)
def test_the_module_runs_where_nothing_was_begun(ask, program):
    assert ask(program) == BY_MODULE
    assert Asking.modules == 1


def test_the_module_runs_where_there_is_no_such_interpreter(ask, monkeypatch):
    monkeypatch.setattr(constants.config, "get_config_value", interpreter_is("/nowhere/python3"))
    assert ask(SAYS) == BY_MODULE


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("", 0),
        ("sys.exit(1)", 1),
        ("raise KeyError('x')", 1),
        ("os.kill(os.getpid(), 9)", -9),
        ("print(answer({'result': {}})[:-20])", 0),
        ("print(answer({'result': {}}, 'f' * 32))", 0),
        ("print(json.dumps({'result': {}}))", 0),
        ("print(answer({'result': {}})[:-20]); sys.exit(3)", 3),
    ],
    ids=["silent", "failed", "crashed", "killed", "cut off", "another's", "without a frame", "cut off and failed"],
)
def test_without_a_whole_answer_the_module_never_runs(ask, program, code):
    """The host may have acted: to act once more could undo what it did, or do it twice."""
    answer = ask(program)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, "exchange_unanswered")
    assert f"exit code {code if code >= 0 else 128 - code} and" in answer["found"] or code < 0
    assert "The host may have acted" in answer["msg"]
    assert Asking.modules == 0
    assert ask(program, check=True)["changed"] is False


def test_what_went_wrong_is_told(ask):
    assert "No space left" in ask("sys.exit('No space left')")["found"]


def test_a_shell_that_greets_does_no_harm(ask):
    program = f"print('Welcome!', end='')\n{SAYS}\nprint('Bye')"
    assert ask(program)["changed"] is True


def test_a_request_that_is_too_long_goes_by_the_module(ask, monkeypatch):
    monkeypatch.setattr(frame, "REQUEST_LIMIT", 100)
    assert ask(SAYS) == BY_MODULE


def unpipelined(action):
    action._connection.has_pipelining = False


def by_su(action):
    action._connection.become = type("Su", (), {"pipelining": False})()


def in_background(action):
    action._task.async_val = 30


@pytest.mark.parametrize("so", [unpipelined, by_su, in_background])
def test_a_connection_without_input_is_not_asked(ask, so):
    class Unasked(Asking):
        def run(self, tmp=None, task_vars=None):
            so(self)
            return super().run(tmp, task_vars)

    assert ask(SAYS, action=Unasked) == BY_MODULE


def test_who_wants_to_see_module_files_gets_modules(ask, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_KEEP_REMOTE_FILES", True)
    assert ask(SAYS) == BY_MODULE


def test_the_environment_of_a_task_reaches_the_host(ask):
    class Elsewhere(Asking):
        def run(self, tmp=None, task_vars=None):
            self._task.environment = [{"PLACE": "a b"}]
            return super().run(tmp, task_vars)

    assert ask("print(answer({'result': {'place': os.environ['PLACE']}}))", action=Elsewhere) == {"place": "a b"}


def test_values_that_are_not_to_be_logged_are_not_returned(ask, monkeypatch):
    module = options.MODULES["slipway_history_info"]
    spec = {**module.argument_spec, "application": {"type": "str", "no_log": True}}
    monkeypatch.setitem(options.MODULES, "slipway_history_info", options.Module(spec, module.request))
    answer = ask("print(answer({'result': {'msg': 'of ' + asked['options']['application']}}))", application="sesame-9")
    assert answer == {"msg": "of ********"}


OWN = "{'changed': False, '_ansible_no_log': False, 'ansible_facts': {'a': 1}, 'ansible_stats': {}, 'add_host': {}, 'add_group': 'b'}"


def test_a_host_cannot_answer_in_ansibles_own_name(ask):
    assert ask(f"print(answer({{'result': {OWN}}}))") == {"changed": False}


def test_a_module_cannot_answer_in_ansibles_own_name(monkeypatch):
    """Through the other door: what Ansible would take from it as variables, hosts and groups of the run."""
    monkeypatch.setattr(
        doors, "run", lambda *_arguments, **_options: {"changed": False, "ansible_facts": {"a": 1}, "add_host": {}}
    )
    asked = plugins.run_on_host(
        "slipway_lock", door=plugins.MODULE, application="shop", environment="prod", state="shown"
    )
    assert asked["changed"] is False
    assert not asked.keys() & set(_action.OF_THE_CONTROLLER)


@pytest.mark.parametrize("door", [plugins.RESIDENT, plugins.MODULE])
def test_a_request_is_sent_once_whatever_ansible_is_told_of_broken_connections(ask, monkeypatch, door):
    """ssh would send command and input again: what was done, twice."""
    options, seen = {"reconnection_retries": 3}, []
    monkeypatch.setattr(ConnectionBase, "has_option", lambda _self, name: name in options)
    monkeypatch.setattr(ConnectionBase, "get_option", lambda _self, name, **_more: options.get(name))
    monkeypatch.setattr(ConnectionBase, "set_option", lambda _self, name, value: options.update({name: value}))

    class Noting(Asking):
        def _low_level_execute_command(self, *arguments, **more):
            seen.append(options["reconnection_retries"])
            return super()._low_level_execute_command(*arguments, **more)

        def _execute_module(self, **more):
            seen.append(options["reconnection_retries"])
            return super()._execute_module(**more)

    ask(SAYS if door == plugins.RESIDENT else None, action=Noting)
    assert set(seen) == {0}
    assert options == {"reconnection_retries": 3}


@pytest.mark.parametrize(("verbosity", "is_told"), [(0, False), (3, True)])
def test_who_looks_closely_sees_what_was_asked(ask, monkeypatch, verbosity, is_told):
    monkeypatch.setattr(_action.display, "verbosity", verbosity)
    assert ("invocation" in ask(SAYS)) is is_told


def test_wrong_options_never_reach_the_host(ask):
    with pytest.raises(AnsibleActionFail, match=r"module: realease\. Supported parameters include"):
        ask(SAYS, realease="v1")
