# SPDX-License-Identifier: GPL-3.0-or-later
"""A survey asks for what its playbook takes, as the argument specs have it. What is wrong with a question by itself is in test_awx_data.py."""

from __future__ import annotations

import pytest
import repository
from ansible.module_utils.slipway.controller.awx_surveys import Surveys, variables_of

RELEASE = {"variable": "release_id", "question_name": "Release", "type": "text", "max": 128}


@pytest.fixture
def mistakes():
    return []


@pytest.mark.parametrize(
    ("playbook", "variable", "type_"),
    [
        ("deploy.yml", "release_id", "str"),  # of a role
        ("playbooks/observe.yml", "application", "str"),  # of all
        ("playbooks/promote.yml", "run_id", "str"),  # what a module is given
        ("playbooks/lock.yml", "lock_hours", "str"),  # what a role is given by another name
        ("playbooks/release.yml", "release_type", "str"),
        ("playbooks/verify.yml", "history_accept", "bool"),
        ("rollback.yml", "release_undone", "bool"),
    ],
)
def test_variables_of_a_playbook_have_the_type_of_what_takes_them(playbook, variable, type_):
    assert variables_of(repository.ROOT, playbook)[variable].get("type", "str") == type_


def test_what_a_playbook_does_not_take_is_not_among_them():
    assert not {"secret_name", "lock_state", "default", "realpath"} & set(variables_of(repository.ROOT, "deploy.yml"))


@pytest.mark.parametrize(
    ("playbook", "variable", "question", "said"),
    [
        ("deploy.yml", "release_analysis", {"type": "text", "max": 9}, "no survey can ask for a dict"),
        ("deploy.yml", "secret_name", {"type": "text", "max": 9}, "no role or module of the playbook takes it, nor does every playbook (PRODUCT in controller/awx_surveys.py)"),
        ("playbooks/status.yml", "release_status_format", {"type": "text", "max": 9}, "expected the choices table, full, json, found none"),
        ("playbooks/promote.yml", "run_id", {"type": "integer", "min": 0, "max": 9}, "expected the type multiplechoice or text or textarea for a str, found integer"),
        ("playbooks/lock.yml", "lock_state", {"type": "multiplechoice", "choices": ["taken"]}, "expected the choices shown, taken, released, found taken"),
    ],
)  # fmt: skip
def test_a_question_is_asked_as_the_argument_specs_do(mistakes, playbook, variable, question, said):
    surveys = Surveys.parse([{"variable": variable, "question_name": "Q", **question}], repository.ROOT, mistakes)
    surveys.spec("here", [variable], [playbook])
    assert mistakes == [f"here: survey: {variable}: {said}"]


def test_a_template_may_ask_more_strictly_than_the_question_says(mistakes):
    surveys = Surveys.parse([RELEASE], repository.ROOT, mistakes)
    (question,) = surveys.spec("here", [{"variable": "release_id", "required": True}], ["deploy.yml"])["spec"]
    assert (question["required"], question["question_name"], mistakes) == (True, "Release", [])


def test_nothing_that_is_asked_is_no_survey(mistakes):
    assert Surveys.parse([RELEASE], repository.ROOT, mistakes).spec("here", [], ["deploy.yml"]) == {}


def test_a_workflow_asks_for_what_any_of_its_playbooks_takes(mistakes):
    surveys = Surveys.parse([RELEASE, {**RELEASE, "variable": "run_id"}], repository.ROOT, mistakes)
    surveys.spec("here", ["release_id", "run_id"], ["deploy.yml", "playbooks/promote.yml"])
    assert mistakes == []


def test_a_question_that_is_wrong_cannot_be_asked(mistakes):
    surveys = Surveys.parse([{**RELEASE, "max": 0}], repository.ROOT, mistakes)
    surveys.spec("here", ["release_id"], ["deploy.yml"])
    assert mistakes[0].startswith("survey_questions: release_id: expected bounds")
    assert mistakes[1].startswith("here: survey: expected questions of survey_questions")


def test_a_playbook_that_is_none_takes_what_all_take(tmp_path):
    (tmp_path / "a.yml").write_text("hello\n")
    (tmp_path / "b.yml").write_text("- hosts: all\n  roles: [none]\n  tasks: [7, {slipway_none: {a: 1}}]\n")
    assert (
        set(variables_of(tmp_path, "a.yml"))
        == set(variables_of(tmp_path, "b.yml"))
        == {"application", "slipway_launch_key"}
    )


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"type": "multiselect", "choices": ["a"], "default": "a"}, "default: expected none, since AWX drops it where nobody answers; say it in extra_vars of the template, found 'a'"),
        ({"type": "text", "min": 3, "max": 9, "default": "ab"}, "default: expected a text that is no template, of 3 to 9 characters, found 'ab'"),
    ],
)  # fmt: skip
def test_a_default_that_awx_would_drop_is_refused(mistakes, question, said):
    Surveys.parse([{"variable": "release_tickets", "question_name": "Q", **question}], repository.ROOT, mistakes)
    assert mistakes == [f"survey_questions: release_tickets: {said}"]


def test_a_default_that_is_nothing_is_an_empty_one(mistakes):
    surveys = Surveys.parse([{**RELEASE, "default": None}], repository.ROOT, mistakes)
    (question,) = surveys.spec("here", ["release_id"], ["deploy.yml"])["spec"]
    assert (question["default"], mistakes) == ("", [])
