# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's plugins share: documented options, a refusal as a failed task, who deploys."""

from __future__ import annotations

import getpass
import os
import time

import plugins
import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.slipway import _action
from ansible.module_utils.slipway._action import ControllerAction, controller_of, deployer, documented_spec
from ansible.module_utils.slipway.base.errors import Refusal

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
    assert result["seen"] == {"applications": {"shop": {}}, "name": ""}


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


@pytest.mark.parametrize("strategy", ["free", "ansible.builtin.free", "host_pinned", "ansible.builtin.debug"])
def test_hosts_that_do_not_wait_for_each_other_are_refused(monkeypatch, strategy):
    monkeypatch.setattr(_action.constants, "DEFAULT_STRATEGY", strategy)
    result = plugins.run_class(Echo, NAME, applications={})
    assert (result["failed"], result["reason"], result["found"]) == (True, "strategy_not_linear", strategy)


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.linear", "mitogen_linear"])
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


@pytest.mark.parametrize(
    ("task_vars", "sudo_user", "expected"),
    [
        ({"awx_user_name": "anna", "tower_user_name": "bert"}, "carl", "anna"),
        ({"tower_user_name": "bert"}, "carl", "bert"),
        ({"awx_user_name": ""}, "carl", "carl"),
        ({}, None, getpass.getuser()),
    ],
    ids=["AWX", "Tower", "sudo", "neither"],
)
def test_who_deploys_is_who_asked_for_it(monkeypatch, task_vars, sudo_user, expected):
    monkeypatch.delenv("SUDO_USER", raising=False)
    if sudo_user:
        monkeypatch.setenv("SUDO_USER", sudo_user)
    assert deployer(task_vars) == expected


def test_a_controller_has_its_own_clock_and_the_process_that_all_workers_have_as_parent(tmp_path):
    before = int(time.time())
    made = controller_of(
        {"state_directory": str(tmp_path), "application": "shop", "environment": "prod", "lease_seconds": 60},
        {"awx_user_name": "anna"},
    )
    assert before <= made.now <= int(time.time())
    assert (made.state, made.application, made.environment) == (tmp_path, "shop", "prod")
    assert (made.deployed_by, made.lease_seconds) == ("anna", 60)
    assert made.process.pid == os.getppid()
