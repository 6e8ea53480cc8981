# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller plans a run before a host is touched, packs what travels, and notes how it ended."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.application.preflight import Result
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import deployment, resident
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.deployment import Controller, Shipment, make_pack, missing_objects
from ansible.module_utils.slipway.controller.memory import ControllerState
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.host.pack import Pack
from ansible.module_utils.slipway.trust.manifest import ReleaseManifest
from ansible.module_utils.slipway.trust.promotion import Promotion, SchemaRevisions
from releases import V1, V2, V3, snapshot


@pytest.fixture
def policy_path(tmp_path):
    path = tmp_path / "trust-policy.dsse.json"
    path.write_bytes(signed.policy_envelope())
    return path


@pytest.fixture
def controller(site):
    return Controller(site.state, "shop", "prod", "alice", site.host.clock.now(), Process.of(os.getpid()))


@pytest.fixture
def plan(site, controller, policy_path):
    """Plan a deployment on prod-1, with the answer of the host as it is now."""

    def planned(
        answers=None,
        *,
        requested="",
        retry=False,
        waves=("1", "100%"),
        analysis=None,
        prometheus=None,
        of=None,
        **rollout,
    ):
        controller_now = replace(of or controller, now=site.host.clock.now())
        answers = {"prod-1": site.witnessed()} if answers is None else answers
        return deployment.plan_deployment(
            controller_now, site.catalogue, policy_path, answers, requested=requested, retry=retry,
            rollout={"waves": waves, **rollout}, description=site.description, forks=20,
            analysis=analysis or {}, prometheus=prometheus or {},
        )  # fmt: skip

    return planned


def refusal(call, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **options)
    return caught.value


# the application


@pytest.mark.parametrize(
    ("applications", "requested", "name"), [({"shop": {}}, "", "shop"), ({"shop": {}, "other": {}}, "other", "other")]
)
def test_the_application_is_the_requested_or_the_only_one(applications, requested, name):
    assert deployment.resolve_application(applications, requested) == name


@pytest.mark.parametrize(
    ("applications", "requested", "reason"),
    [
        ({}, "", "no_application"), (None, "", "no_application"), (["shop"], "shop", "no_application"),
        ({"shop": {}, "other": {}}, "", "application_needed"), ({"shop": {}}, "other", "application_unknown"),
        ({"shop": {"unti": "x"}}, "", "application_invalid"), ({"shop": None}, "", "application_invalid"),
    ],
)  # fmt: skip
def test_an_application_that_cannot_be_told_is_refused(applications, requested, reason):
    assert refusal(deployment.resolve_application, applications, requested).reason == reason


# the plan of a deployment


@pytest.mark.parametrize(
    ("analysis", "prometheus", "named"),
    [
        ({"measures": {"errors": {"query": "up"}}}, {"url": "http://127.0.0.1:9090"}, "$hosts"),
        ({"mesures": {}}, {"url": "http://127.0.0.1:9090"}, "no further member"),
        ({"interval_seconds": 5}, {"url": "127.0.0.1:9090"}, "release_prometheus.url"),
        (
            {"interval_seconds": 5},
            {"url": "https://watch.example", "certificate": "/c", "key": "/k"},
            "release_prometheus.authority",
        ),
        (
            {"interval_seconds": 5},
            {"url": "https://watch.example", "certificate": "/c", "key": "/k", "authority": "/a"},
            "/c",
        ),
    ],
)
def test_what_a_canary_is_compared_by_is_judged_before_a_host_is_touched(site, plan, analysis, prometheus, named):
    site.build("v1", V1)
    found = refusal(plan, analysis=analysis, prometheus=prometheus)
    assert found.reason == "analysis_invalid"
    assert named in found.expected


def test_a_plan_names_the_release_its_manifest_and_the_run(site, plan):
    site.build("v1", V1)
    made = site.build("v2", V2)
    planned = plan()
    assert (planned["release_id"], planned["manifest_digest"], planned["passed_over"]) == (
        "v2",
        made.manifest.digest,
        {},
    )
    assert planned["message"] == "deploying v2"
    memory = ControllerState(site.state)
    assert planned["run"]["controller_id"] == memory.controller_id()
    assert (planned["run"]["deployed_by"], planned["run"]["dead_runs"], planned["run"]["lease_seconds"]) == (
        "alice",
        [],
        900,
    )


def test_hosts_wait_as_long_as_hooks_and_new_migrations_may_take(site, plan):
    def longest():
        return plan()["rollout"]["by_host"]["prod-1"]["confirm_within_seconds"]

    migration = "{{name: {name}, argv: [bin/shop], timeout_seconds: {seconds}, reversible: false}}"
    site.build("v1", V1)
    plain = longest()
    first = migration.format(name="one", seconds=100)
    site.build("v2", V2, more=f"migrations: [{first}]")
    assert longest() == plain + 100
    site.deploy("v2", migrated=True)
    second = migration.format(name="two", seconds=7)
    hooks = "hooks: {after_switch: [{argv: [bin/shop], timeout_seconds: 30}], after_confirm: [{argv: [bin/shop], timeout_seconds: 60}]}"
    site.build("v3", V3, more=f"migrations: [{first}, {second}]\n{hooks}")
    assert longest() == plain + 7 + 30
    (site.catalogue.manifest_path("shop", "v2")).unlink()
    assert longest() == plain + 100 + 7 + 30, "what is not known to have run may have to"


def test_a_plan_can_be_carried_out(site, plan):
    site.build("v1", V1)
    planned = plan()
    run = planned["run"]
    site.stage(planned["release_id"], run=run)
    site.activate(planned["release_id"], run=run, expected_current=None)
    assert site.confirm(planned["release_id"], run=run)["record"]["run_id"] == run["run_id"]


def test_a_plan_skips_what_this_environment_may_not_run_and_says_why(site, plan, clock):
    site.build("v1", V1)
    site.build("v2", V2, valid_seconds=60)
    clock.time += 120
    planned = plan()
    assert (planned["release_id"], planned["message"]) == ("v1", "deploying v1; v2 is skipped: manifest_expired")
    assert refusal(plan, requested="v2").reason == "manifest_expired"


def test_a_plan_without_a_release_that_may_run_says_what_is_wrong_with_the_newest(site, plan, clock):
    site.build("v1", V1, valid_seconds=60)
    clock.time += 120
    assert refusal(plan).reason == "manifest_expired"


def test_a_plan_does_not_go_back_behind_an_active_release_that_has_expired(site, plan, clock):
    site.build("v1", V1)
    site.build("v2", V2, valid_seconds=60)
    site.deploy("v2")
    clock.time += 120
    assert refusal(plan).reason == "older_than_active"


def test_a_plan_skips_what_is_bad_and_says_where(site, plan):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", V2)
    site.sicken("v2")
    site.stage("v2", run=site.run("run-2"))
    site.activate("v2", run=site.run("run-2"))
    planned = plan()
    assert (planned["release_id"], planned["passed_over"]) == ("v1", {"v2": ["prod-1"]})
    assert plan(retry=True)["release_id"] == "v2"
    assert refusal(plan, requested="v2").reason == "release_bad"


# whether every host is ready


@pytest.fixture
def ready(site):
    """The answer of the host with its preflight, as that of an application that has a user of its own."""
    site.description["user"] = "nobody"

    def asked(*results, room=None, schema_revision=None):
        answer = site.witnessed(preflight=True)
        facts = answer["preflight"]
        facts["results"] = [*facts["results"], *(Result(*each).as_dict() for each in results)]
        facts["schema_revision"] = schema_revision
        for place in facts["room"] if room is not None else ():
            place.update(bytes_free=room, bytes_total=room, device=place["purpose"])
        return answer

    return asked


PUT_BACK = {"witness": {"outcome": "restored", "detail": "2 records"}}
FAILED = ("port", "8000", "FAIL", "held by other (pid 42)", "Stop it.")
WARNED = ("unit", "shop.service", "WARN", "disabled", "Enable it.")
SCHEMA = SchemaRevisions("alembic", "b2", ("a1", "b2"))


def test_a_plan_is_refused_before_a_run_begins_while_any_host_is_not_ready(site, plan, ready):
    site.build("v1", V1)
    caught = refusal(plan, {"prod-1": ready(WARNED), "prod-2": ready(FAILED)})
    assert caught.reason == "preflight_failed"
    assert re.search(r"^prod-1 +unit +shop.service +WARN", caught.found, re.MULTILINE)
    assert re.search(r"^prod-2 +port +8000 +FAIL +held by other \(pid 42\) +Stop it\.$", caught.found, re.MULTILINE)
    assert ControllerState(site.state).runs() == []


def test_a_plan_goes_on_with_warnings_and_says_them(site, plan, ready):
    site.build("v1", V1)
    planned = plan({"prod-1": ready(WARNED)})
    assert "WARN unit shop.service on prod-1: disabled. Enable it." in planned["preflight_warnings"]
    assert planned["release_id"] == "v1"


def test_a_release_that_does_not_fit_on_one_host_is_refused(site, plan, ready):
    site.build("v1", {**V1, "large": os.urandom(3 << 20)})
    caught = refusal(plan, {"prod-1": ready(), "prod-2": ready(room=2 << 20)})
    assert caught.reason == "preflight_failed"
    assert re.search(r"^prod-2 +disk +/srv/shop +FAIL +2 MiB free, 4 MiB needed", caught.found, re.MULTILINE)
    assert not re.search(r"^prod-1 .*FAIL", caught.found, re.MULTILINE)


def test_what_a_host_has_already_it_need_not_have_room_for(site, plan, ready):
    site.build("v1", {**V1, "large": os.urandom(3 << 20)})
    site.stage("v1")
    assert plan({"prod-1": ready(room=2 << 20)})["release_id"] == "v1"
    site.build("v2", {**V1, "large": (site.release("v1") / "large").read_bytes(), "more": b"x"})
    assert plan({"prod-1": ready(room=2 << 20)})["release_id"] == "v2"


def test_what_is_served_already_needs_no_room_at_all(site, plan, ready):
    site.build("v1", V1)
    site.deploy("v1")
    assert plan({"prod-1": ready(room=0)})["release_id"] == "v1"
    site.build("v2", V2)
    assert refusal(plan, {"prod-1": ready(room=0)}).reason == "preflight_failed"


@pytest.mark.parametrize(
    ("applied", "found"),
    [(["a1"], "pending: a1 is applied"), (["c3"], "ahead of the release"), ([], "no revision is applied")],
)
def test_a_release_whose_schema_is_not_applied_is_refused(site, plan, ready, monkeypatch, applied, found):
    site.build("v1", V1)
    of_promotion(monkeypatch)
    caught = refusal(plan, {"prod-1": ready(schema_revision=applied)})
    assert (caught.reason, found in caught.found) == ("preflight_failed", True)


def test_a_release_whose_schema_is_applied_goes_on(site, plan, ready, monkeypatch):
    site.build("v1", V1)
    of_promotion(monkeypatch)
    assert plan({"prod-1": ready(schema_revision=["b2"])})["release_id"] == "v1"


def of_promotion(monkeypatch):
    """Let every manifest say that its release needs SCHEMA."""
    parse = ReleaseManifest.parse.__func__
    monkeypatch.setattr(
        ReleaseManifest,
        "parse",
        classmethod(lambda cls, payload: replace(parse(cls, payload), promotion=Promotion(database=SCHEMA))),
    )


@pytest.fixture
def judged(site, policy_path):
    """Judge without a run."""

    def asked(answers, *, requested=""):
        return deployment.judge_readiness(
            "shop", site.catalogue, policy_path, answers, requested=requested, now=site.host.clock.now()
        )

    return asked


def rows_of(judgement):
    return [(host, each.check, each.subject, each.status) for host, each in judgement.rows]


def test_a_lock_is_a_reason_not_to_be_ready(site, judged, ready):
    site.build("v1", V1)
    site.ask("lock", state="taken", holder="anna", message="frozen until Monday")
    rows = [(host, each) for host, each in judged({"prod-1": ready()}).rows if each.check == "lock"]
    ((host, row),) = rows
    assert (host, row.status, "frozen until Monday" in row.found) == ("prod-1", "FAIL", True)


def test_readiness_is_judged_with_the_release_that_would_be_deployed(site, judged, ready):
    site.build("v1", V1)
    site.build("v2", {**V1, "large": os.urandom(3 << 20)})
    judgement = judged({"prod-1": ready(room=2 << 20)})
    assert rows_of(judgement)[:3] == [
        ("all of prod", "release", "v2", "PASS"), ("all of prod", "approvals", "v2", "PASS"), ("prod-1", "disk", "/srv/shop", "FAIL"),
    ]  # fmt: skip
    assert judged({"prod-1": ready(room=2 << 20)}, requested="v1").is_ready
    assert ControllerState(site.state).runs() == []


def test_readiness_without_any_release_is_judged_by_what_needs_none(judged, ready):
    judgement = judged({"prod-1": ready(room=2 << 20)})
    assert rows_of(judgement)[0] == ("all of prod", "release", "-", "WARN")
    assert judgement.is_ready


@pytest.mark.parametrize(("requested", "reason"), [("v9", "release_unknown"), ("", "manifest_expired")])
def test_a_reason_for_which_nothing_could_be_deployed_is_not_ready(site, judged, ready, clock, requested, reason):
    site.build("v1", V1, valid_seconds=60)
    clock.time += 120
    judgement = judged({"prod-1": ready()}, requested=requested)
    assert rows_of(judgement)[0] == ("all of prod", "release", requested or "-", "FAIL")
    assert judgement.rows[0][1].found.startswith(f"{reason}: ")


def test_a_host_without_an_answer_is_not_ready_and_the_others_are_judged(site, judged, ready):
    site.build("v1", V1)
    judgement = judged({"prod-1": ready(), "prod-2": {}, "prod-3": {"failed": True, "reason": "x", "msg": "x: wrong"}})
    assert rows_of(judgement)[:2] == [("prod-2", "host", "-", "FAIL"), ("prod-3", "host", "-", "FAIL")]
    assert [each.found for _host, each in judgement.rows[:2]] == ["no answer: unreachable", "no answer: x: wrong"]
    assert ("prod-1", "unit", "shop.service", "WARN") in rows_of(judgement)


def test_a_history_that_is_not_trusted_is_not_ready(site, judged, ready):
    site.build("v1", V1)
    judgement = judged({"prod-1": ready(), "prod-2": {**ready(), **PUT_BACK}})
    assert ("prod-2", "history", "shop", "FAIL") in rows_of(judgement)
    assert [host for host, each in judgement.rows if each.check == "history"] == ["prod-2"]


def test_each_environment_is_judged_for_itself(site, judged, ready):
    site.build("v1", V1)
    other = ready()
    other["host"]["environment"] = "moon"
    judgement = judged({"prod-1": ready(), "moon-1": other})
    assert [row[:4:3] for row in rows_of(judgement)[:2]] == [("all of moon", "FAIL"), ("all of prod", "PASS")]


# histories that are not what was witnessed


@pytest.mark.parametrize(
    "outcome",
    [
        "truncated", "restored", "forked", "rewritten", "key_changed", "foreign_checkpoint", "unknown_witness", "unjudged", "anything",
    ],
)  # fmt: skip
def test_nothing_is_deployed_where_a_history_is_not_the_one_that_was_witnessed(site, plan, outcome):
    site.build("v1", V1)
    answers = {
        "prod-1": site.witnessed(),
        "prod-2": {**site.witnessed(), "witness": {"outcome": outcome, "detail": "x"}},
    }
    caught = refusal(plan, answers)
    assert caught.reason == "history_untrusted"
    assert f"prod-2: {outcome}: x" in caught.found
    assert "playbooks/verify.yml -l prod-2" in caught.remedy
    assert "-l prod-1." in caught.remedy
    assert ControllerState(site.state).runs() == []


@pytest.mark.parametrize("outcome", ["intact", "torn", "first_seen"])
def test_a_history_that_goes_on_is_deployed_to(site, plan, outcome):
    site.build("v1", V1)
    assert plan({"prod-1": {**site.inspect(), "witness": {"outcome": outcome, "detail": ""}}})["release_id"] == "v1"


def test_nothing_is_deployed_where_nobody_judged_the_history(site, plan):
    site.build("v1", V1)
    assert refusal(plan, {"prod-1": site.inspect()}).reason == "history_untrusted"


def test_a_host_that_refuses_since_its_history_is_broken_is_untrusted_and_not_silent(site, plan):
    site.build("v1", V1)
    broken = {"failed": True, "reason": "history_altered", "witness": {"outcome": "rewritten", "detail": "line 2"}}
    caught = refusal(plan, {"prod-1": site.witnessed(), "prod-2": broken})
    assert (caught.reason, "prod-2: rewritten: line 2" in caught.found) == ("history_untrusted", True)


# hosts that do not answer


def test_the_way_out_of_a_silent_host_names_no_host_that_was_not_asked_for(deployed, plan):
    caught = refusal(plan, {"web-1": deployed.witnessed(), "web-2": {"unreachable": True}})
    assert caught.remedy == "Mend it, or leave it out on purpose with -l web-1."


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({"prod-2": {}, "prod-1": {"unreachable": True}}, "no answer from prod-1, prod-2; nothing was changed anywhere"),
        ({"prod-1": {"failed": True, "reason": "environment_mismatch"}}, "no answer from prod-1 (environment_mismatch); nothing was changed anywhere"),
    ],
)  # fmt: skip
def test_a_silent_host_stops_the_plan(site, plan, answers, found):
    site.build("v1", V1)
    caught = refusal(plan, answers)
    assert (caught.reason, caught.found) == ("host_unreachable", found)
    assert caught.remedy == "Mend it."
    assert ControllerState(site.state).runs() == []


def test_a_host_with_an_older_trust_policy_stops_the_plan(site, plan):
    site.build("v1", V1)
    answer = site.witnessed()
    answer["policy"] = {**answer["policy"], "version": answer["policy"]["version"] - 1}
    caught = refusal(plan, {"prod-1": answer})
    assert (caught.reason, caught.found) == ("policy_behind", "prod-1: version 0; nothing was changed anywhere")
    assert "playbooks/trust.yml -l prod-1" in caught.remedy
    assert ControllerState(site.state).runs() == []


def test_impossible_waves_stop_the_plan(site, plan):
    assert refusal(plan, waves=["all"]).reason == "waves_invalid"


def test_an_unknown_release_stops_the_plan(site, plan):
    site.build("v1", V1)
    assert refusal(plan, requested="v9").reason == "release_unknown"
    assert ControllerState(site.state).runs() == []


def damaged(site, release_id, damage):
    path = site.catalogue.manifest_path("shop", release_id)
    path.write_bytes(damage(path.read_bytes()))
    return path


def test_a_damaged_manifest_stops_the_choice_of_the_newest_but_not_of_another(site, plan):
    site.build("v1", V1)
    site.build("v2", V2)
    path = damaged(site, "v2", lambda data: data[:-1])
    caught = refusal(plan)
    assert str(path) in caught.found
    assert refusal(plan, requested="v2").reason == caught.reason
    assert plan(requested="v1")["release_id"] == "v1"


def test_a_manifest_that_the_builder_did_not_sign_stops_the_plan(site, plan):
    made = site.build("v1", V1)
    site.catalogue.manifest_path("shop", "v1").write_bytes(signed.sign(payload_of(site, "v1"), signed.OTHER_KEY))
    assert refusal(plan).reason == "signature_unknown"
    assert made.manifest.release_id == "v1"


def payload_of(site, release_id):
    from ansible.module_utils.slipway.trust import dsse

    data = site.catalogue.manifest_bytes("shop", release_id)
    return dsse.Envelope.parse(data, payload_type=dsse.IN_TOTO_TYPE, what="manifest").payload


def test_an_expired_release_stops_the_plan(site, plan, clock):
    site.build("v1", V1)
    clock.time += 91 * signed.DAY
    assert refusal(plan).reason == "manifest_too_old"


def test_a_member_that_was_altered_in_the_catalogue_stops_the_plan(site, plan):
    site.build(
        "v1", {**V1, "config.yaml": b"a: 1\n"}, members="[{path: config.yaml}, {path: gone.json, required: false}]"
    )
    assert plan()["release_id"] == "v1"
    entry = next(entry for entry in site.made("v1").files if entry.path == "config.yaml")
    path = site.catalogue.object_path("shop", entry.sha256)
    path.chmod(0o644)
    path.write_bytes(b"a: [1\n")
    assert refusal(plan).reason == "members_invalid"


# the plan of a rollback


@pytest.fixture
def deployed(site):
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")
    return site


def plan_rollback(controller, answers, *, requested="", limited=False):
    catalogue = Catalogue(controller.state.parent / "catalogue")
    return deployment.plan_rollback(controller, catalogue, answers, requested=requested, limited=limited)


def test_a_rollback_is_planned_from_what_the_hosts_say_and_carried_out(deployed, controller):
    planned = plan_rollback(controller, {"prod-1": deployed.witnessed()})
    assert (planned["targets"], planned["takes_back"], planned["recover"]) == (
        {"prod-1": "v1"},
        {"prod-1": "run-2"},
        [],
    )
    assert planned["message"] == "taking back run run-2 on prod-1: v2 -> v1"
    answer = deployed.rollback("v1", run=planned["run"], takes_back="run-2", expected_current="v2")
    assert answer["outcome"] == "confirmed"
    again = plan_rollback(controller, {"prod-1": deployed.witnessed()})
    assert (again["run"], again["targets"]) == (None, {})
    assert "run run-2 (v2, " in again["message"]
    assert "already taken back on prod-1" in again["message"]


def test_a_workflow_takes_back_only_what_one_of_its_own_runs_has_brought(site, plan, controller):
    """The slices and nodes of a workflow are runs of their own; its number joins them."""
    site.build("v1", V1)
    site.deploy("v1", "run-1")
    site.build("v2", V2)
    own = replace(controller, run_group="77", now=site.host.clock.now())
    run = plan(of=own)["run"]
    site.deploy("v2", run["run_id"])
    assert own.memory.run(run["run_id"]).run_group == "77"

    def undo(asking):
        catalogue = Catalogue(asking.state.parent / "catalogue")
        answers = {"prod-1": site.witnessed()}
        return deployment.plan_rollback(asking, catalogue, answers, requested="v2", limited=False, undone=True)

    relaunched = undo(replace(own, run_group="78"))
    assert (relaunched["run"], relaunched["targets"]) == (None, {})
    assert "which is no run of group 78: nothing to do" in relaunched["message"]
    assert undo(own)["targets"] == {"prod-1": "v1"}
    blind = StatePlace(controller.state, url="postgresql://127.0.0.1:1/x", is_required=False)
    unknown = refusal(undo, replace(own, place=blind))
    assert (unknown.reason, "group 77" in unknown.expected) == ("run_group_unknown", True)
    assert undo(replace(own, place=blind, run_group=""))["targets"] == {"prod-1": "v1"}


def taken(site, holder="anna"):
    site.ask("lock", state="taken", holder=holder, message="frozen until Monday")
    return site.witnessed()


def test_hosts_that_somebody_has_locked_get_no_deployment_and_all_are_named(site, plan):
    site.build("v1", V1)
    free, locked = site.witnessed(), taken(site)
    found = refusal(plan, {"prod-1": locked, "prod-2": free, "prod-3": locked})
    since = locked["lock"]["since"]
    assert found.reason == "locked_by_hand"
    assert found.found == "; ".join(
        [
            f"{host}: locked by anna since {since} until it is released: frozen until Monday"
            for host in ("prod-1", "prod-3")
        ]
        + ["nothing was changed anywhere"]
    )
    assert "-l prod-1,prod-3 -e lock_state=released, or leave it out on purpose with -l prod-2." in found.remedy
    assert ControllerState(site.state).run_ids("shop") == set(), "no run was begun"
    assert refusal(plan, {"prod-1": locked}).remedy.count("-l ") == 1


def test_a_lock_holds_up_no_rollback_and_is_told(deployed, controller):
    planned = plan_rollback(controller, {"prod-1": taken(deployed)})
    assert planned["targets"] == {"prod-1": "v1"}
    assert "prod-1 is locked by anna since" in planned["message"]
    assert "frozen until Monday. It goes back all the same." in planned["message"]


def test_an_interrupted_run_is_planned_to_be_recovered(deployed, controller):
    deployed.build("v3", V3)
    deployed.stage("v3", run=deployed.run("run-3"))
    deployed.activate("v3", run=deployed.run("run-3"))
    planned = plan_rollback(controller, {"prod-1": deployed.witnessed()})
    assert (planned["targets"], planned["recover"], planned["run"] is None) == ({}, ["prod-1"], False)


def test_an_interrupted_rollback_is_planned_again_and_converges(deployed, controller):
    deployed.rollback("v1", keep=False, run=deployed.run("run-3"))
    planned = plan_rollback(controller, {"prod-1": deployed.witnessed()})
    assert planned["targets"] == {"prod-1": "v1"}
    run = {**planned["run"], "dead_runs": ["run-3"], "controller_id": "controller-1"}
    assert deployed.rollback("v1", run=run, expected_current="v2")["outcome"] == "confirmed"
    assert (deployed.current, [status for _release, status in deployed.statuses][-2:]) == (
        "v1",
        ["interrupted", "success"],
    )


def test_a_rollback_over_the_whole_inventory_needs_every_host(deployed, controller):
    answers = {"prod-1": deployed.witnessed(), "prod-2": {"unreachable": True}}
    caught = refusal(plan_rollback, controller, answers)
    assert (caught.reason, "-l" in caught.remedy) == ("host_unreachable", True)


def test_within_a_limit_a_silent_host_does_not_hold_up_the_others(deployed, controller):
    answers = {"prod-1": deployed.witnessed(), "prod-2": {"unreachable": True}}
    planned = plan_rollback(controller, answers, limited=True)
    assert (planned["targets"], planned["silent"]) == ({"prod-1": "v1"}, ["prod-2"])


def test_a_rollback_goes_on_where_a_history_is_not_trusted_and_tells_it(deployed, controller):
    answers = {"prod-1": {**deployed.witnessed(), **PUT_BACK}}
    planned = plan_rollback(controller, answers)
    assert planned["targets"] == {"prod-1": "v1"}
    assert planned["message"].splitlines()[1:] == [
        "prod-1: its history is restored: 2 records. It goes back all the same; then ansible-playbook playbooks/verify.yml -l prod-1"
    ]


def test_within_a_limit_somebody_must_answer(controller):
    assert refusal(plan_rollback, controller, {"prod-2": {}}, limited=True).reason == "host_unreachable"


def test_a_silent_host_is_not_called_done(deployed, controller):
    """The others have nothing to do, but nobody knows about the silent one."""
    answers = {"prod-1": deployed.witnessed(), "prod-2": {}}
    caught = refusal(plan_rollback, controller, answers, requested="v2", limited=True)
    assert "v2 is already active on prod-1: nothing to do." in caught.remedy


# what travels


def test_what_the_host_has_by_its_releases_does_not_travel(deployed):
    deployed.build("v3", V3)
    new = next(entry.sha256 for entry in deployed.made("v3").files if entry.path == "bin/shop")
    missing = missing_objects(deployed.catalogue, "shop", deployed.made("v3").digest, deployed.inspect()["releases"])
    assert missing == {new}


def test_a_release_that_this_catalogue_does_not_know_counts_for_nothing(deployed):
    missing = missing_objects(deployed.catalogue, "shop", deployed.made("v2").digest, [{"tree": "0" * 64}])
    assert missing == deployed.objects("v2")


class OfAnsible(int):
    """Ansible tags values with where they come from: their types are subclasses."""


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ([], 0),
        ([{"host": "b", "backend": "shop", "drain_seconds": OfAnsible(60)}], 60 + 60),
        ([{"host": "b", "backend": "shop"}], 30 + 60),
        (
            [{"host": "b", "backend": "shop", "socket": "/s", "drain_seconds": 0}, {"host": "c", "backend": "d"}],
            60 + 90,
        ),
    ],
)
def test_balancers_need_what_each_of_them_may_take(given, seconds):
    assert deployment.balancers_seconds(given) == seconds


@pytest.mark.parametrize(
    "given",
    [None, {}, "balancer-1", ["balancer-1"], [None], [{"host": "b"}], [{"host": "", "backend": "shop"}], [{"host": "b", "backend": None}],
     [{"host": "b", "backend": "shop", "drain_seconds": "60"}], [{"host": "b", "backend": "shop", "drain_seconds": True}],
     [{"host": "b", "backend": "shop", "drain_seconds": -1}], [{"host": "b", "backend": "shop", "port": 80}]],
)  # fmt: skip
def test_balancers_that_could_not_be_told_are_refused(given):
    with pytest.raises(Refusal) as refused:
        deployment.balancers_seconds(given)
    assert refused.value.reason == "balancers_invalid"


def test_once_nothing_is_missing_no_older_release_is_read(deployed, monkeypatch):
    deployment._object_names.cache_clear()
    tree, older = deployed.made("v2").digest, deployed.made("v1").digest
    read, file_list_bytes = [], type(deployed.catalogue).file_list_bytes

    def noted(catalogue, application, digest):
        read.append(digest)
        return file_list_bytes(catalogue, application, digest)

    monkeypatch.setattr(type(deployed.catalogue), "file_list_bytes", noted)
    assert missing_objects(deployed.catalogue, "shop", tree, [{"tree": older}, {"tree": tree}]) == set()
    assert read == [tree]


def read(path):
    with open(path, "rb") as stream:
        pack = Pack(stream)
        return (
            pack.manifest,
            pack.file_list,
            pack.resident,
            {each.sha256: each.stream.read() for each in pack.objects()},
        )


def test_a_pack_holds_what_it_is_asked_for(site):
    site.build("v1", V1)
    entry = next(entry for entry in site.made("v1").files if entry.path == "bin/shop")
    path = make_pack(site.state, site.catalogue, "shop", Shipment("v1", "run-1", frozenset({entry.sha256})), b"package")
    manifest, file_list, package, objects = read(path)
    assert (manifest, file_list) == (site.catalogue.manifest_bytes("shop", "v1"), site.made("v1").encode())
    assert (package, objects) == (b"package", {entry.sha256: V1["bin/shop!"]})


def test_hosts_in_the_same_state_share_one_pack(site):
    site.build("v1", V1)

    def make(objects, package=None, with_objects=True):
        return make_pack(
            site.state, site.catalogue, "shop", Shipment("v1", "run-1", frozenset(objects), with_objects), package
        )

    everything = site.objects("v1")
    whole = make(everything)
    before = snapshot(whole.parent)
    assert make(everything) == whole
    assert {path: state for path, state in snapshot(whole.parent).items() if path.endswith(".pack")} == {
        path: state for path, state in before.items() if path.endswith(".pack")
    }  # fmt: skip
    others = {make([]), make(everything, b"package"), make([], b"package"), make(sorted(everything)[:1])}
    assert len(others | {whole}) == 5
    assert make(everything, with_objects=False) == make([])


def test_a_damaged_catalogue_makes_no_pack(site):
    site.build("v1", V1)
    path = site.catalogue.object_path("shop", min(site.objects("v1")))
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert refusal(site.pack, "v1", site.objects("v1")).reason == "catalogue_damaged"
    assert list(site.state.rglob("*.pack")) == []


def test_what_a_run_has_packed_goes_with_its_end(site, controller):
    site.build("v1", V1)
    run, _unrecorded = controller.begin("deploy")
    site.pack("v1", [], run_id=run["run_id"])
    other = site.pack("v1", [], run_id="run-2")
    deployment.end_run(site.state, run, "as asked")
    assert [path.name for path in (site.state / "packs").iterdir()] == ["run-2"]
    assert os.path.exists(other)


def test_a_new_run_removes_what_dead_runs_have_packed_and_may_take_over_from_them(site, controller):
    site.build("v1", V1)
    process = subprocess.Popen(["sleep", "600"])
    dead, _unrecorded = replace(controller, process=Process.of(process.pid)).begin("deploy")
    site.pack("v1", [], run_id=dead["run_id"])
    process.kill()
    process.wait()
    run, unrecorded = controller.begin("rollback")
    assert unrecorded == ""
    assert run["dead_runs"] == [dead["run_id"]]
    assert list((site.state / "packs").iterdir()) == []


def test_the_resident_package_travels_when_the_host_has_another_one():
    package = resident.build()
    assert deployment.outdated_resident(resident.digest(package)) is None
    assert deployment.outdated_resident(None) == package
    assert deployment.outdated_resident("0" * 64) == package


def test_what_hosts_fetch_needs_no_room_for_a_pack(site):
    site.build("v1", {"model": bytes(deployment.SMALL_PACK_BYTES + 1)})
    manifest, answers = site.catalogue.manifest("shop", "v1"), {"prod-1": site.witnessed()}
    needs = [
        deployment.needs_of(site.catalogue, manifest, site.made("v1"), answers, fetched=fetched)["prod-1"]
        for fetched in (False, True)
    ]
    assert [each.pack_bytes for each in needs] == [needs[0].bytes, 0]
    assert needs[1].bytes == needs[0].bytes > deployment.SMALL_PACK_BYTES
