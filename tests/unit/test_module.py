# SPDX-License-Identifier: GPL-3.0-or-later
"""The door of the modules: parameters in, an answer or a refusal out."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway._module import run_module, run_on_controller_only
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.testing import patch_module_args

SPEC = {"name": {"type": "str", "required": True}, "count": {"type": "int", "default": 1}}


@pytest.fixture
def answer_of(capsys):
    """Run a module with these parameters; its exit code and its answer."""

    def ended(handler, parameters, **options):
        with patch_module_args(parameters), pytest.raises(SystemExit) as end:
            run_module(argument_spec=SPEC, handler=handler, **options)
        answer = json.loads(capsys.readouterr().out)
        answer.pop("invocation", None)
        return end.value.code, answer

    return ended


def test_an_answer_is_returned_as_it_is(answer_of):
    def handler(params, check):
        return {"changed": True, "seen": [params["name"], params["count"], check]}

    assert answer_of(handler, {"name": "shop"}) == (0, {"changed": True, "seen": ["shop", 1, False]})


def test_check_mode_reaches_the_handler(answer_of):
    def handler(_params, check):
        return {"changed": False, "check": check}

    assert answer_of(handler, {"name": "shop", "_ansible_check_mode": True})[1]["check"] is True


def test_a_refusal_fails_the_module_with_its_four_parts(answer_of):
    def handler(params, check):
        raise Refusal("locked", expected="a", found="b", remedy="Do c.")

    assert answer_of(handler, {"name": "shop"}) == (
        1,
        {
            "failed": True, "msg": "locked: expected a; found b. Do c.", "reason": "locked", "expected": "a", "found": "b",
            "remedy": "Do c.",
        },
    )  # fmt: skip


def test_an_answer_that_failed_fails_the_module_and_is_kept_whole(answer_of):
    def handler(params, check):
        return {"failed": True, "changed": True, "msg": "went back", "outcome": "reverted"}

    assert answer_of(handler, {"name": "shop"}) == (
        1, {"failed": True, "changed": True, "msg": "went back", "outcome": "reverted"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "missing required arguments: name"),
        ({"name": "shop", "count": "many"}, "'count'"),
        ({"name": "x", "more": 1}, "more"),
    ],
    ids=["missing", "wrong type", "unknown"],
)
def test_wrong_parameters_never_reach_the_handler(answer_of, parameters, message):
    def handler(params, check):
        raise AssertionError("called")

    code, answer = answer_of(handler, parameters)
    assert code == 1
    assert message in answer["msg"]


def test_a_module_that_only_documents_a_plugin_says_what_is_missing(capsys):
    with patch_module_args({}), pytest.raises(SystemExit) as end:
        run_on_controller_only()
    assert end.value.code == 1
    assert "is action_plugins/ beside the playbook?" in json.loads(capsys.readouterr().out)["msg"]
