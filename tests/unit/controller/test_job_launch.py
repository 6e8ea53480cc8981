# SPDX-License-Identifier: GPL-3.0-or-later
"""A template is launched once, whatever becomes of answers, and followed to its end."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import job_launch
from ansible.module_utils.slipway.controller.job_api import REASONS, Api
from ansible.module_utils.slipway.controller.job_launch import KEY_VARIABLE, Job, Launcher, Request
from jobs_stand_in import TOKEN, Template, once, running

KEY = "github-1234-1"
SERVER_ERROR = (502, {"raw": "<html>bad gateway</html>"}, {})


class Clock:
    """Time passes by waiting only."""

    def __init__(self):
        self.passed, self.waits = 0.0, []

    def elapsed(self):
        return self.passed

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.passed += seconds


class Pipeline:
    """Somebody who launches, with what was said."""

    def __init__(self, stand_in, deadline=600, token=TOKEN):
        self.said, self.clock = [], Clock()
        self.launcher = Launcher(Api(stand_in.url, token, timeout_seconds=5), self.clock, self.said.append, deadline)

    def run(self, **changes):
        return self.launcher.follow(self.launcher.launch(Request(**{"template": "deploy", "key": KEY, **changes})))

    @property
    def text(self):
        return "\n".join(self.said)


def refusal(call, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **options)
    return caught.value


def launches(stand_in):
    return [each for each in stand_in.requests if each.startswith("POST") and each.endswith("launch/")]


def test_a_job_is_launched_with_what_was_given_and_followed_to_its_end():
    output = ("PLAY [x]", "\x1b[0;32mok: [prod-1]\x1b[0m", "::add-mask::a", "a ##[group]b", "done")
    with running(Template("deploy", output=output), Template("other")) as awx:
        pipeline = Pipeline(awx)
        assert pipeline.run(variables={"release_id": "v1"}, limit="prod") == job_launch.Exit.SUCCESSFUL
        (job,) = awx.jobs
        link = f"{awx.url}/#/jobs/playbook/100/output"
    assert json.loads(job["extra_vars"]) == {"release_id": "v1", KEY_VARIABLE: KEY}
    assert job["limit"] == "prod"
    assert pipeline.said == [
        f"launched deploy: {link}",
        "| PLAY [x]",
        "job 100: pending",
        "| ok: [prod-1]",
        "job 100: running",
        "| ::add-mask::a",
        "| a # #[group]b",
        "| done",
        "job 100: successful",
        f"successful: {link}",
    ]


@pytest.mark.parametrize(("ending", "code"), [("successful", 0), ("failed", 1), ("error", 1), ("canceled", 3)])
def test_the_exit_code_says_how_the_job_ended(ending, code):
    with running(Template("deploy", statuses=("running", ending), explanation="because")) as awx:
        pipeline = Pipeline(awx)
        assert pipeline.run() == code
    assert f"{ending}: because" in pipeline.text


def test_a_workflow_is_told_node_by_node_with_who_is_waited_for():
    nodes = (
        {"name": "staging", "type": "job", "status": ["running", "successful"]},
        {"name": "may prod have it?", "type": "workflow_approval", "status": ["pending", "pending", "successful"]},
    )
    statuses = ("running", "running", "successful")
    with running(Template("deploy", kind="workflow", statuses=statuses, nodes=nodes)) as awx:
        pipeline = Pipeline(awx)
        assert pipeline.run(kind="workflow") == 0
        link = f"{awx.url}/#/jobs/workflow/100/output"
    assert pipeline.said[1:] == [
        "  staging: running",
        f"  may prod have it?: waits for an approval: {link}",
        "workflow_job 100: running",
        "  staging: successful",
        "  may prod have it?: successful",
        "workflow_job 100: successful",
        f"successful: {link}",
    ]


DONE, FAILED, DENIED = ({"type": "job", "status": [status]} for status in ("successful", "failed", "canceled"))


@pytest.mark.parametrize(
    ("nodes", "code", "last"),
    [
        ([("deploy", DONE), ("verify", DONE)], 0, "successful: "),
        ([("deploy", FAILED), ("undo", DONE)], 1, "failed: deploy failed; what follows on that was successful: "),
        ([("deploy", DENIED), ("may it?", {**FAILED, "type": "workflow_approval"})], 1, "failed: deploy canceled, may it? failed; "),
        ([("inner", {**DONE, "type": "workflow_job", "id": 101})], 1, "failed: deploy failed; "),
    ],
)  # fmt: skip
def test_a_workflow_that_handled_a_failure_has_failed(nodes, code, last):
    inner = Template("inner", kind="workflow", nodes=({"name": "deploy", **FAILED},), statuses=("successful",))
    listed = tuple({"name": name, **each} for name, each in nodes)
    with running(Template("deploy", kind="workflow", statuses=("successful",), nodes=listed), inner) as awx:
        pipeline = Pipeline(awx)
        job = pipeline.launcher.launch(Request("deploy", KEY))
        pipeline.launcher.launch(Request("inner", KEY))
        awx.jobs[1]["looks"] = 1  # its end was seen
        assert pipeline.launcher.follow(job) == code
    assert pipeline.said[-1].startswith(last)


def test_more_nodes_than_a_page_are_judged_whole(monkeypatch):
    monkeypatch.setattr(job_launch, "PAGE", 2)
    nodes = tuple({"name": f"node-{number}", **(FAILED if number == 4 else DONE)} for number in range(5))
    with running(Template("deploy", kind="workflow", statuses=("successful",), nodes=nodes)) as awx:
        assert Pipeline(awx).run() == 1


@pytest.mark.parametrize(
    ("templates", "changes", "reason", "code"),
    [
        ([], {}, "template_unknown", 4),
        ([Template("Deploy")], {}, "template_unknown", 4),
        ([Template("deploy")], {"kind": "workflow"}, "template_unknown", 4),
        ([Template("deploy"), Template("deploy", kind="workflow")], {}, "template_ambiguous", 7),
        ([Template("deploy"), Template("deploy", organization="Other")], {}, "template_ambiguous", 7),
        ([Template("deploy", asks_variables=False)], {}, "prompts_not_allowed", 8),
        ([Template("deploy", asks_variables=False, survey=("release_id",))], {}, "prompts_not_allowed", 8),
        ([Template("deploy", asks_limit=False)], {"limit": "prod"}, "prompts_not_allowed", 8),
        ([Template("deploy", needed=("why",))], {}, "prompts_not_allowed", 8),
        ([Template("deploy", passwords=("ssh_password",))], {}, "prompts_not_allowed", 8),
    ],
)
def test_what_cannot_be_launched_as_asked_is_refused_without_a_launch(templates, changes, reason, code):
    with running(*templates) as awx:
        refused = refusal(Pipeline(awx).run, variables={"release_id": "v1"}, **changes)
        assert (refused.reason, job_launch.exit_code(refused)) == (reason, code)
        assert (awx.jobs, launches(awx)) == ([], [])


def test_one_of_two_templates_is_taken_by_its_kind_or_organization():
    with running(Template("deploy"), Template("deploy", kind="workflow", organization="Other")) as awx:
        assert Pipeline(awx).run(kind="workflow") == 0
        assert Pipeline(awx).run(organization="Slipway") == 0
        assert [job["type"] for job in awx.jobs] == ["workflow_job", "job"]


def test_a_survey_that_has_all_that_is_given_takes_it():
    template = Template("deploy", asks_variables=False, survey=("release_id", KEY_VARIABLE), needed=("release_id",))
    with running(template) as awx:
        assert Pipeline(awx).run(variables={"release_id": "v1"}) == 0


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"variables": {"release_id": "v2"}}, "release_id is"),
        ({"variables": {"release_id": "v1", "why": "x"}}, "why is"),
        ({"variables": {"release_id": "v1"}, "limit": "prod-2"}, "the limit is"),
    ],
)
def test_a_job_with_the_key_that_does_something_else_is_not_followed(changes, wrong):
    with running(Template("deploy")) as awx:
        assert Pipeline(awx).run(variables={"release_id": "v1"}, limit="prod-1") == 0
        refused = refusal(Pipeline(awx).run, **changes)
        assert (refused.reason, job_launch.exit_code(refused)) == ("launch_differs", job_launch.Exit.USAGE)
        assert f"job 100 with it, in which {wrong}" in refused.found
        assert len(awx.jobs) == 1


def test_an_answer_that_awx_does_not_show_is_taken_for_the_same():
    with running(Template("deploy")) as awx:
        assert Pipeline(awx).run(variables={"answer": "a"}) == 0
        awx.jobs[0]["extra_vars"] = json.dumps({KEY_VARIABLE: KEY, "answer": "$encrypted$"})
        assert Pipeline(awx).run(variables={"answer": "a"}) == 0
        assert len(awx.jobs) == 1


def test_a_launch_that_ignores_something_after_all_is_cancelled():
    with running(Template("deploy", ignores={"limit": "prod"})) as awx:
        refused = refusal(Pipeline(awx).run, limit="prod")
        assert (refused.reason, awx.canceled) == ("prompts_not_allowed", [100])
        assert "limit; it was launched without them and cancelled" in refused.found


def test_the_same_launch_again_follows_the_job_that_is_there():
    with running(Template("deploy", statuses=("running", "failed"))) as awx:
        assert Pipeline(awx).run() == 1
        again = Pipeline(awx)
        assert again.run() == 1
        assert again.said[0].startswith(f"launched before with the key {KEY}: ")
        assert Pipeline(awx).run(key="github-1234-2") == 1
        assert len(awx.jobs) == 2


@pytest.mark.parametrize(("disturbed", "posts"), [("done", 1), ("lost", 2), (SERVER_ERROR, 2)])
def test_a_launch_whose_answer_was_lost_is_looked_for_before_it_is_tried_again(disturbed, posts):
    with running(Template("deploy")) as awx:
        awx.disturb = once("POST", "launch/$", disturbed)
        pipeline = Pipeline(awx)
        assert pipeline.run() == 0
        assert (len(awx.jobs), len(launches(awx))) == (1, posts)
        assert f"looking for the key {KEY}" in pipeline.text


@pytest.mark.parametrize("disturbed", ["lost", SERVER_ERROR, (429, {}, {"Retry-After": "7"})])
@pytest.mark.parametrize("path", ["job_templates/$", "jobs/100/$", "job_events/$"])
def test_what_is_only_asked_is_asked_again_more_and_more_seldom(path, disturbed):
    with running(Template("deploy")) as awx:
        awx.disturb = once("GET", path, disturbed, times=3)
        pipeline = Pipeline(awx)
        assert pipeline.run() == 0
        assert len(awx.jobs) == 1
    assert [wait for wait in pipeline.clock.waits if wait != 5.0][:3] == (
        [7, 7, 8.0] if disturbed[0] == 429 else [2.0, 4.0, 8.0]
    )


@pytest.mark.parametrize(
    ("method", "path", "answer", "reason"),
    [
        ("GET", "job_templates/$", (403, {"detail": "no"}, {}), "awx_forbidden"),
        ("POST", "launch/$", (403, {"detail": "no"}, {}), "awx_forbidden"),
        ("POST", "launch/$", (400, {"limit": ["invalid"]}, {}), "awx_refused"),
        ("GET", "jobs/100/$", (404, {"detail": "Not found."}, {}), "awx_not_found"),
        ("GET", "job_templates/$", (200, {"raw": "<html>hello</html>"}, {}), "awx_answer_invalid"),
        ("GET", "job_templates/$", (200, {"raw": "[]"}, {}), "awx_answer_invalid"),
        ("POST", "launch/$", (201, {"id": None}, {}), "awx_answer_invalid"),
        ("GET", "job_templates/$", (302, {}, {"Location": "https://elsewhere.example/"}), "awx_refused"),
    ],
)
def test_what_the_awx_refuses_is_not_tried_again(method, path, answer, reason):
    with running(Template("deploy")) as awx:
        awx.disturb = once(method, path, answer, times=99)
        refused = refusal(Pipeline(awx).run)
    assert (refused.reason, job_launch.exit_code(refused)) == (reason, job_launch.Exit.REFUSED)


def not_followed(awx, what="job 100", kind="playbook", does="goes on"):
    return f"{what} is not followed any more, and {does}: {awx.url}/#/jobs/{kind}/100/output"


ODD = [{}, {"ok": True}, {"status": 7, "results": {}}, {"status": None, "results": [7]}]


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        *((path, (200, odd, {}), "awx_answer_invalid") for path in (r"jobs/100/$", "job_events/$") for odd in ODD),
        ("job_events/$", (200, {"results": [{"counter": "x"}]}, {}), "awx_answer_invalid"),
        *(("jobs/100/$", (status, {"detail": "no"}, {}), reason) for status, reason in REASONS.items()),
    ],
)
def test_an_answer_that_ends_the_following_says_that_the_job_goes_on(path, answer, reason):
    with running(Template("deploy", statuses=("running",), output=("PLAY",))) as awx:
        pipeline = Pipeline(awx)
        job = pipeline.launcher.launch(Request("deploy", KEY))
        awx.disturb = once("GET", path, answer, times=99)
        refused = refusal(pipeline.launcher.follow, job)
        assert (refused.reason, job_launch.exit_code(refused)) == (reason, job_launch.Exit.REFUSED)
        assert (pipeline.said[-1], awx.canceled) == (not_followed(awx), [])


@pytest.mark.parametrize(
    "node", [7, {}, {"id": 1, "summary_fields": []}, {"id": "x", "summary_fields": {"job": {"status": "running"}}},
             {"id": 1, "summary_fields": {"job": 7}}, {"id": 1, "summary_fields": {"job": {"name": "x"}}}],
)  # fmt: skip
@pytest.mark.parametrize(("ending", "does"), [("running", "goes on"), ("successful", "ended as successful")])
def test_an_odd_node_of_a_workflow_is_refused_and_says_what_the_workflow_does(node, ending, does):
    with running(Template("deploy", kind="workflow", statuses=(ending,))) as awx:
        awx.disturb = once("GET", "workflow_nodes/$", (200, {"results": [node]}, {}), times=99)
        pipeline = Pipeline(awx)
        refused = refusal(pipeline.run)
        assert (refused.reason, job_launch.exit_code(refused)) == ("awx_answer_invalid", job_launch.Exit.REFUSED)
        assert pipeline.said[-1] == not_followed(awx, "workflow_job 100", "workflow", does)


@pytest.mark.parametrize("answer", [(200, {"ok": True}, {}), (200, {"raw": "<html>hello</html>"}, {})])
def test_an_odd_answer_to_a_launch_says_that_it_may_have_happened(answer):
    with running(Template("deploy")) as awx:
        awx.disturb = once("POST", "launch/$", answer)
        pipeline = Pipeline(awx)
        assert refusal(pipeline.run).reason == "awx_answer_invalid"
    assert pipeline.said[-1] == f"a job with the key {KEY} may have been launched"


@pytest.mark.parametrize(
    ("path", "odd", "reason"),
    [
        *((path, odd, "awx_answer_invalid") for path in ("job_templates/$", "/7/jobs/$") for odd in ODD),
        *(("survey_spec/$", {"spec": spec}, "awx_answer_invalid") for spec in (7, [7])),
        ("survey_spec/$", {}, "prompts_not_allowed"),
        ("/7/launch/$", {"ok": True}, "prompts_not_allowed"),
    ],
)
def test_an_odd_answer_before_a_launch_is_refused(path, odd, reason):
    with running(Template("deploy", asks_variables=False, survey=(KEY_VARIABLE,))) as awx:
        awx.disturb = once("GET", path, (200, odd, {}), times=99)
        assert refusal(Pipeline(awx).run).reason == reason
        assert launches(awx) == []


def test_a_token_that_is_not_taken_is_refused_and_never_shown():
    with running(Template("deploy")) as awx:
        pipeline = Pipeline(awx, token="not-that-one")
        refused = refusal(pipeline.run)
        assert (refused.reason, len(awx.requests)) == ("awx_unauthenticated", 1)
    assert "not-that-one" not in f"{refused}{pipeline.text}{pipeline.launcher!r}"


def test_an_awx_that_does_not_answer_is_given_up_at_the_deadline():
    with running(Template("deploy")) as awx:
        pipeline = Pipeline(awx, deadline=60)
    refused = refusal(pipeline.run)
    assert (refused.reason, job_launch.exit_code(refused)) == ("awx_unreachable", job_launch.Exit.UNREACHABLE)
    assert 0 < pipeline.clock.passed <= 60


def test_a_job_that_does_not_end_is_left_at_the_deadline():
    with running(Template("deploy", statuses=("running",))) as awx:
        pipeline = Pipeline(awx, deadline=30)
        refused = refusal(pipeline.run)
        assert (refused.reason, job_launch.exit_code(refused)) == ("deadline_over", job_launch.Exit.TIMED_OUT)
        assert refused.found == "it is running"
        assert pipeline.said[-1] == not_followed(awx)
        assert awx.canceled == []


@pytest.mark.parametrize(("cancels", "canceled"), [(False, []), (True, [100])])
def test_a_signal_leaves_the_job_unless_it_is_to_be_cancelled(cancels, canceled):
    with running(Template("deploy")) as awx:
        pipeline = Pipeline(awx)
        request = Request("deploy", KEY)
        job = pipeline.launcher.launch(request)
        pipeline.launcher.stop(request, job, cancels=cancels)
        assert awx.canceled == canceled
    assert ("the job goes on" in pipeline.said[-1]) is not cancels
    pipeline.launcher.stop(request, job, cancels=True)  # nobody answers any more
    assert "could not be cancelled" in pipeline.text
    pipeline.launcher.stop(request, None, cancels=True)
    assert pipeline.said[-1] == f"stopped; a job with the key {KEY} may have been launched"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"key": ""}, "none"),
        ({"key": "short"}, "'short'"),
        ({"key": "{{ x }}-12345678"}, "'{{ x }}-12345678'"),
        ({"variables": {"release_id": "{{ lookup('env', 'HOME') }}"}}, "release_id"),
        ({"variables": {"release_id": "#jinja2: variable_start_string:'[['\\n[[ 1 ]]"}}, "release_id"),
        ({"variables": {"a": "{% if x %}"}}, "a"),
        ({"variables": {"a": "{# x #}"}}, "a"),
        ({"limit": "{{ lookup('env', 'HOME') }}"}, "--limit"),
        ({"variables": {KEY_VARIABLE: "x"}}, KEY_VARIABLE),
    ],
)
def test_a_launch_without_a_key_or_with_templates_is_wrong_usage(changes, found):
    refused = refusal(Request, **{"template": "deploy", "key": KEY, **changes})
    assert (refused.reason, refused.found, job_launch.exit_code(refused)) == ("usage", found, job_launch.Exit.USAGE)


def test_only_jobs_that_were_launched_like_this_are_taken_for_it():
    with running(Template("deploy")) as awx:
        awx.jobs += [
            {"id": 1, "type": "job", "url": "/api/v2/jobs/1/", "template": 7, "looks": 0, "extra_vars": text, "job_explanation": "", **more}
            for text, more in (
                ("", {}), ("not json", {}), ("[]", {}), (json.dumps({KEY_VARIABLE: "another"}), {}),
                (json.dumps({KEY_VARIABLE: KEY}), {"job_slice_count": 3}), (json.dumps({KEY_VARIABLE: KEY}), {"launch_type": "workflow"}),
            )
        ]  # fmt: skip
        assert Pipeline(awx).run() == 0
        assert len(awx.jobs) == 7


def test_more_output_than_a_page_is_told_whole():
    with running(Template("deploy", statuses=("successful",), output=tuple(f"line {n}" for n in range(450)))) as awx:
        pipeline = Pipeline(awx)
        pipeline.run()
    assert [line for line in pipeline.said if line.startswith("| ")] == [f"| line {n}" for n in range(450)]


def test_what_is_no_job_is_refused():
    assert refusal(Job.of, {"id": "x"}).reason == "awx_answer_invalid"


def test_what_would_be_refused_is_refused_before_anything_is_launched():
    with running(Template("deploy")) as awx:
        launcher = Pipeline(awx).launcher
        launcher.judge(Request(template="deploy", key=KEY))
        assert refusal(launcher.judge, Request(template="nonesuch", key=KEY)).reason == "template_unknown"
        assert launches(awx) == []
