# SPDX-License-Identifier: GPL-3.0-or-later
"""What jobs of awx/ are launched with: by people, by nodes of a workflow and by schedules, as AWX 24 makes extra variables, slices and artifacts."""

from __future__ import annotations

import json

import pytest
import repository
from ansible.module_utils.slipway.controller import awx_data
from ansible.module_utils.slipway.controller.rollout import Settings

DATA = awx_data.judged(
    awx_data.read(repository.ROOT / "awx"), root=repository.ROOT, settings={}, notifications=[], secrets={}
)
TEMPLATES = {each.name: each.options for each in DATA.of("job_templates")}
WORKFLOWS = {each.name for each in DATA.of("workflow_job_templates")}
SCHEDULES = {each.name for each in DATA.of("schedules")}
ASKED = {
    each.name: {question["variable"]: question for question in each.options["survey_spec"].get("spec", [])}
    for kind in ("job_templates", "workflow_job_templates")
    for each in DATA.of(kind)
}
HOSTS = {"prod": [f"prod-{number}" for number in range(1, 8)], "staging": ["staging-1"]}
# Templates that switch prod and hold nowhere: {name: why}.
NEVER_HELD = {
    "Rotate secrets": "the release is the one that is active, and a version that no host is well with is taken back"
}


@pytest.fixture
def loaded(awx):
    """An AWX that has what awx/ has, and hosts."""
    awx.load(DATA)
    awx.hosts, awx.outcomes = HOSTS, {"Deploy to prod?": "successful"}
    return awx


def ask(awx, method, path, data=None):
    code, content = awx.answer(method, f"/api/v2/{path}/", f"Bearer {awx.token}", json.dumps(data or {}).encode())
    assert code < 300, content
    return content


def launch(awx, name, **more):
    """What AWX answers to a launch in which nothing is answered but what has to be."""
    kind = "workflow_job_templates" if name in WORKFLOWS else "job_templates"
    needed = {variable: "v1" for variable, question in ASKED[name].items() if question["required"]}
    given = {"extra_vars": {**needed, **more.pop("extra_vars", {})}, **more}
    return ask(awx, "POST", f"{kind}/{awx.row(kind, name)['id']}/launch", given)


def end(awx, number):
    """Follow a workflow job to its end."""
    for _look in range(80):
        if ask(awx, "GET", f"workflow_jobs/{number}")["finished"]:
            return awx.tables["workflow_jobs"][number]
    raise AssertionError(awx.tables["workflow_jobs"][number])


def jobs(awx):
    """Every job that there is, each with the template that it is of and its extra variables."""
    return [(TEMPLATES[row["name"]], row, awx.variables(row)) for row in awx.tables["jobs"].values()]


def switches(playbook):
    """Whether a playbook is the deployment, or has it in it."""
    plays = repository.load(playbook)
    return playbook == "deploy.yml" or any(
        "deploy.yml" in play.get("ansible.builtin.import_playbook", "") for play in plays
    )


def begin(awx, way, name):
    if way == "schedule":
        awx.schedule(name)
    elif name in WORKFLOWS:
        end(awx, launch(awx, name)["workflow_job"])
    else:
        launch(awx, name)


WAYS = [
    *(("launch", name) for name in sorted({*TEMPLATES, *WORKFLOWS})),
    *(("schedule", name) for name in sorted(SCHEDULES)),
]


def test_whatever_switches_prod_holds_after_its_canary_though_nobody_answers_its_survey(loaded):
    found = {}
    for way, name in WAYS:
        before = set(loaded.tables["jobs"])
        begin(loaded, way, name)
        for template, row, variables in jobs(loaded):
            if row["id"] not in before and switches(template["playbook"]) and "prod" in template["inventory"]:
                found[way, name, row["name"]] = variables.get("release_pause_after", [])
    held = {each: value for each, value in found.items() if each[2] not in NEVER_HELD}
    assert set(held) == {("launch", name, "Deploy to prod") for name in (*WORKFLOWS, "Deploy to prod")}
    for value in held.values():
        assert Settings.parse({"waves": ["1", "100%"], "pause_after": value}).pause_after == {1}
    assert {each[2] for each in set(found) - set(held)} == set(NEVER_HELD)
    assert ("schedule", "Rotate the secrets of prod monthly", "Rotate secrets") in found


def test_nobody_can_answer_the_hold_away(loaded):
    answer = launch(loaded, "Deploy to prod", extra_vars={"release_pause_after": []})
    assert answer["ignored_fields"] == {"extra_vars": {"release_pause_after": []}}
    assert json.loads(answer["extra_vars"])["release_pause_after"] == ["canary"]


def test_what_group_vars_say_of_a_rollout_counts_where_nobody_answers(loaded):
    end(loaded, launch(loaded, "Bring to prod")["workflow_job"])
    (variables,) = [variables for _template, row, variables in jobs(loaded) if row["name"] == "Deploy to prod"]
    assert {"release_soak_seconds", "release_pause_seconds"} <= set(ASKED["Deploy to prod"])
    assert {"release_soak_seconds", "release_pause_seconds"} & set(variables) == set()


@pytest.mark.parametrize("name", sorted(name for name in ASKED if ASKED[name]))
def test_every_default_that_a_survey_shows_is_one_that_a_job_gets_without_an_answer(loaded, name):
    given = json.loads(launch(loaded, name)["extra_vars"])
    shown = {variable: each["default"] for variable, each in ASKED[name].items() if each["default"] != ""}
    assert {variable: given.get(variable) for variable in shown} == shown


def question(kind, default, **more):
    about = {
        "question_name": "Q",
        "variable": f"{kind}_{len(str(default))}",
        "required": False,
        "min": 0,
        "max": 9,
        "choices": "",
    }
    return {**about, "type": kind, "default": default, **more}


KEPT_BY_AWX = [
    question("text", ""), question("text", "abc"), question("textarea", "a\nb"), question("integer", 5), question("float", 1.5), question("float", 2),
    question("multiplechoice", "a", choices="a\nb"),
]  # fmt: skip
DROPPED_BY_AWX = [
    question("text", "ab", min=3), question("text", "a" * 10), question("integer", ""), question("integer", 10), question("float", ""),
    question("float", 9.5), question("multiplechoice", "", choices="a\nb"), question("multiselect", "a", choices="a\nb"), question("multiselect", "", choices="a"),
]  # fmt: skip


def asked_by(awx, *questions):
    """A template whose survey has these questions."""
    row = awx.row("job_templates", "Show the status")
    spec = [{**each, "variable": f"{each['variable']}_{number}"} for number, each in enumerate(questions)]
    ask(awx, "POST", f"job_templates/{row['id']}/survey_spec", {"name": "", "description": "", "spec": spec})
    return spec


def test_the_stand_in_drops_a_default_that_is_no_valid_answer_as_awx_does(loaded):
    spec = asked_by(loaded, *KEPT_BY_AWX, *DROPPED_BY_AWX)
    given = json.loads(ask_status(loaded)["extra_vars"])
    assert [given[each["variable"]] for each in spec[: len(KEPT_BY_AWX)]] == [each["default"] for each in KEPT_BY_AWX]
    assert [each["variable"] for each in spec[len(KEPT_BY_AWX) :] if each["variable"] in given] == []


def ask_status(awx, **extra_vars):
    row = awx.row("job_templates", "Show the status")
    return ask(awx, "POST", f"job_templates/{row['id']}/launch", {"extra_vars": extra_vars})


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (question("text", ""), 5),
        (question("text", ""), "a" * 10),
        (question("integer", ""), "5"),
        (question("integer", ""), True),
        (question("integer", ""), 10),
        (question("multiplechoice", "", choices="a\nb"), "c"),
        (question("multiselect", "", choices="a\nb"), "a"),
        (question("multiselect", "", choices="a\nb"), ["a", "c"]),
    ],
)
def test_the_stand_in_refuses_an_answer_that_is_none_as_awx_does(loaded, asked, given):
    (spec,) = asked_by(loaded, asked)
    with pytest.raises(AssertionError, match="variables_needed_to_start"):
        ask_status(loaded, **{spec["variable"]: given})


def test_the_stand_in_keeps_no_default_of_another_type_as_awx_does(loaded):
    with pytest.raises(AssertionError, match="expected of its type"):
        asked_by(loaded, question("multiselect", ["a"], choices="a"))
