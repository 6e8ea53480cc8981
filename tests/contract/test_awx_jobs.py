# SPDX-License-Identifier: GPL-3.0-or-later
"""What jobs of awx/ are launched with: by people, by nodes of a workflow and by schedules, as AWX 24 makes extra variables, slices and artifacts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ansible_runner
import pytest
import repository
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import awx_data
from ansible.module_utils.slipway.controller.awx_surveys import REVISION_VARIABLE
from ansible.module_utils.slipway.controller.rollout import Settings

RAW = awx_data.read(repository.ROOT / "awx")


def judged(**settings):
    return awx_data.judged(RAW, root=repository.ROOT, settings=settings, notifications=[], secrets={})


DATA = judged()
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


# slices

SLICED = sorted(name for name, options in TEMPLATES.items() if options["job_slice_count"] > 1)


def slices_of(awx, whole):
    return [awx.tables["jobs"][number] for _kind, number in awx.tables["workflow_jobs"][whole]["nodes"].values()]


def test_something_is_sliced():
    assert SLICED == ["Stage on prod"]


@pytest.mark.parametrize("name", SLICED)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_slices_have_every_host_once_and_none_is_without(loaded, name, count):
    hosts = [f"prod-{number:03}" for number in range(count)]
    loaded.hosts = {"prod": hosts}
    answer = launch(loaded, name)
    if count == 1:
        assert loaded.dealt(loaded.tables["jobs"][answer["job"]]) == hosts
        return
    slices = slices_of(loaded, answer["workflow_job"])
    assert len(slices) == min(count, TEMPLATES[name]["job_slice_count"])
    assert sorted(host for each in slices for host in loaded.dealt(each)) == hosts
    assert all(loaded.dealt(each) and not each["limit"] for each in slices)
    assert {loaded.variables(each)["awx_workflow_job_id"] for each in slices} == {answer["workflow_job"]}


@pytest.mark.parametrize("name", SLICED)
def test_a_sliced_template_takes_no_limit(loaded, name):
    """AWX deals the hosts out first: a slice that has none of the limit's would fail."""
    answer = launch(loaded, name, limit="prod-1")
    assert answer["ignored_fields"] == {"limit": "prod-1"}
    assert {each["limit"] for each in slices_of(loaded, answer["workflow_job"])} == {""}


@pytest.mark.parametrize("changes", [{"ask_limit_on_launch": True}, {"limit": "eu"}])
@pytest.mark.parametrize(
    "sliced", [{"job_slice_count": 3}, {"job_slice_count": 1, "ask_job_slice_count_on_launch": True}]
)
def test_nor_can_one_be_laid_over_it(changes, sliced):
    for name in SLICED:
        with pytest.raises(Refusal) as caught:
            judged(job_templates={name: {**sliced, **changes}})
        assert caught.value.found.startswith(f"job_templates: {name}: expected no limit where jobs are sliced")


def test_but_without_slices_it_may_have_one():
    for name in SLICED:
        made = judged(job_templates={name: {"job_slice_count": 1, "ask_limit_on_launch": True}})
        assert [each.options["ask_limit_on_launch"] for each in made.of("job_templates") if each.name == name] == [True]


def test_a_workflow_stages_by_slices_and_waits_for_all_of_them(loaded):
    loaded.outcomes = {**loaded.outcomes, "Stage on prod": "failed"}
    number = launch(loaded, "Bring to prod")["workflow_job"]
    whole = end(loaded, number)
    (staged,) = [run for kind, run in whole["nodes"].values() if kind == "workflow_jobs"]
    assert sorted(host for each in slices_of(loaded, staged) for host in loaded.dealt(each)) == HOSTS["prod"]
    assert (loaded.tables["workflow_jobs"][staged]["status"], whole["status"]) == ("failed", "failed")
    assert "Deploy to prod" not in {row["name"] for row in loaded.tables["jobs"].values()}


def test_ansible_fails_a_slice_without_hosts_of_the_limit(loaded, tmp_path):
    """Why there is none: the play has its share, and of another's hosts it knows nothing."""
    _first, second, _third = slices_of(loaded, launch(loaded, "Stage on prod")["workflow_job"])
    share = loaded.dealt(second)
    (tmp_path / "hosts").write_text("[prod]\n" + "\n".join(share) + "\n")
    command = [
        Path(sys.executable).parent / "ansible-playbook",
        "-i",
        tmp_path / "hosts",
        "--list-hosts",
        "playbooks/stage.yml",
    ]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg")}

    def listed(*words):
        return subprocess.run(
            [*command, *words], cwd=repository.ROOT, env=environment, capture_output=True, text=True, check=False
        )

    whole, limited = listed(), listed("-l", "prod-1")
    assert (whole.returncode, [host for host in HOSTS["prod"] if f" {host}\n" in whole.stdout]) == (0, share), (
        whole.stderr
    )
    assert "prod-1" not in share
    assert (limited.returncode, "Could not match supplied host pattern" in limited.stderr) == (1, True)


# the commit that jobs are from

TESTED, MOVED = "a" * 40, "b" * 40
HANDED_ON = "slipway_workflow_revision"


@pytest.mark.parametrize("name", sorted(name for name in ASKED if REVISION_VARIABLE in ASKED[name]))
def test_a_launch_gives_the_commit_that_was_tested(loaded, name):
    answer = launch(loaded, name, extra_vars={REVISION_VARIABLE: TESTED})
    assert (answer["ignored_fields"], json.loads(answer["extra_vars"])[REVISION_VARIABLE]) == ({}, TESTED)
    if name in WORKFLOWS:
        end(loaded, answer["workflow_job"])
    assert {variables[REVISION_VARIABLE] for _template, _row, variables in jobs(loaded)} == (
        {TESTED} if loaded.tables["jobs"] else set()
    )


def test_both_workflows_ask_for_it():
    assert [name for name in sorted(WORKFLOWS) if REVISION_VARIABLE not in ASKED[name]] == []


def test_nothing_but_a_job_says_what_earlier_jobs_were_from():
    """AWX lets a workflow's own variables win over what its jobs set, an empty answer too: so the two have different names."""
    assert [name for name, asked in ASKED.items() if HANDED_ON in asked] == []
    assert [name for name, text in repository.texts(".yml") if name.startswith("awx/") and HANDED_ON in text] == []


def test_the_stand_in_hands_artifacts_on_as_awx_does(loaded):
    """To all that follow, over what the template says and its survey, and below the variables of the workflow."""
    sets = {
        HANDED_ON: TESTED,
        "release_environment": "of the artifact",
        "release_retry": "true",
        REVISION_VARIABLE: MOVED,
        "application": "other",
    }
    loaded.runs = {"Deploy to staging": lambda variables: ("successful", sets)}
    end(loaded, launch(loaded, "Bring to prod")["workflow_job"])
    got = {row["name"]: variables for _template, row, variables in jobs(loaded)}
    assert HANDED_ON not in got["Deploy to staging"]
    for name in ("Stage on prod", "Deploy to prod", "Verify the fleet"):
        assert {key: got[name][key] for key in (HANDED_ON, "release_environment", "release_retry")} == {
            HANDED_ON: TESTED, "release_environment": "of the artifact", "release_retry": "true"
        }  # fmt: skip
        assert {got[name][REVISION_VARIABLE], got[name]["application"]} == {""}, "an answer that is empty is one"


class Played:
    """What the job of a deployment does before it asks a host, with the real playbook as ansible-runner runs it: nobody is at these addresses (RFC 5737)."""

    def __init__(self, directory: Path, limit: str) -> None:
        self.directory, self.limit = directory, limit
        self.output = ""
        policy = directory / "state/trust/trust-policy.dsse.json"
        policy.parent.mkdir(parents=True)
        policy.write_text("{}")
        (directory / "private").mkdir()
        (directory / "hosts").write_text(
            "[staging]\nstaging-1 ansible_host=192.0.2.1\n[prod]\nprod-1 ansible_host=192.0.2.2\n"
        )

    def __call__(self, variables):
        # AWX's project is no part of this checkout, which is at one commit alone.
        places = {"slipway_root": str(self.directory), "slipway_state_directory": str(self.directory / "state")}
        key = {"ansible_ssh_private_key_file": "/nowhere", "ansible_ssh_common_args": "-o ConnectTimeout=1"}
        events = []
        done = ansible_runner.run(
            private_data_dir=str(self.directory / "private"),
            project_dir=str(repository.ROOT),
            playbook="deploy.yml",
            inventory=str(self.directory / "hosts"),
            limit=self.limit,
            extravars={**variables, **places, **key},
            envvars={"ANSIBLE_CONFIG": str(repository.ROOT / "ansible.cfg"), "HOME": str(self.directory)},
            event_handler=events.append,
            quiet=True,
        )
        self.output = done.stdout.read()
        (artifacts,) = [each["event_data"]["artifact_data"] for each in events if each["event"] == "playbook_on_stats"]
        return ("failed" if "project_revision_" in self.output else "successful"), artifacts


def test_prod_is_not_deployed_from_another_commit_than_staging(loaded, tmp_path):
    staging, prod = Played(tmp_path / "staging", "staging"), Played(tmp_path / "prod", "prod")
    loaded.runs = {"Deploy to staging": staging, "Deploy to prod": prod}

    def brought(at_the_end):
        """{name: job} of a workflow; while its approval waits, the project moves there."""
        before = set(loaded.tables["jobs"])
        loaded.outcomes, loaded.revision = {}, TESTED
        number = launch(loaded, "Bring to prod")["workflow_job"]
        while not (
            open_ := [each for each in loaded.tables["workflow_approvals"].values() if each["status"] == "pending"]
        ):
            ask(loaded, "GET", f"workflow_jobs/{number}")
        loaded.revision = at_the_end
        ask(loaded, "POST", f"workflow_approvals/{open_[0]['id']}/approve")
        end(loaded, number)
        return {row["name"]: row for _template, row, _variables in jobs(loaded) if row["id"] not in before}

    got = brought(TESTED)
    assert got["Deploy to staging"]["artifacts"] == got["Deploy to prod"]["artifacts"] == {HANDED_ON: TESTED}
    assert ("Ask every host" in prod.output, "Verify the fleet" in got) == (True, True)
    loaded.runs["Deploy to staging"] = lambda _variables: ("successful", got["Deploy to staging"]["artifacts"])
    got = brought(MOVED)
    assert loaded.variables(got["Deploy to prod"])[HANDED_ON] == TESTED
    assert got["Deploy to prod"]["status"] == "failed"
    assert f"project_revision_stale: expected to run from the commit {TESTED}" in " ".join(prod.output.split())
    assert ("Ask every host" in prod.output, "Undo on prod" in got, "Verify the fleet" in got) == (False, True, False)
