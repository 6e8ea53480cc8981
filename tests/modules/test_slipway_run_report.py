# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that has the last word of a run."""

from __future__ import annotations

import os

import doors
import plugins
import pytest
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller.memory import ControllerState

PLUGIN = "slipway_run_report"
KEPT = {"outcome": "confirmed", "active_release_id": "v2"}
BACK = {"outcome": "reverted", "active_release_id": "v1", "failed": True, "msg": "health_failed: no answer"}

RECORD = {"operation": "deploy", "release_id": "v2"}


@pytest.fixture
def report(tmp_path):
    """Report how a run ended, in a state directory that knows it."""
    state = ControllerState(tmp_path)
    begun = {"operation": "deploy", "application": "shop", "environment": "prod", "deployed_by": "alice", "now": 1}
    run = {"run_id": state.begin_run(**begun, process=Process.of(os.getpid()))}

    def reported(**options):
        return plugins.run(
            PLUGIN,
            **{
                "state_directory": str(tmp_path),
                "catalogue": str(tmp_path / "catalogue"),
                "view_directory": str(tmp_path / "pages"),
                "application": "shop",
                "run": run,
                "title": "deploy of shop v2",
                **options,
            },
        )

    reported.run_id = run["run_id"]
    reported.packs = tmp_path / "packs" / run["run_id"]
    return reported


def test_a_run_that_ended_as_asked_is_told_and_its_packs_are_removed(report):
    report.packs.mkdir(parents=True)
    answer = report(results={"confirmation": {"prod-1": KEPT}})
    assert (answer["as_asked"], answer.get("failed"), answer["changed"]) == (True, None, False)
    assert answer["hosts"] == {"prod-1": {"outcome": "confirmed", "serves": "v2"}}
    assert answer["msg"].startswith("deploy of shop v2: done\n")
    assert not report.packs.exists()
    assert doors.undocumented(PLUGIN, answer) == set()


@pytest.mark.parametrize(
    ("results", "unreachable", "outcomes"),
    [
        ({"activation": {"prod-1": BACK, "prod-2": KEPT}}, [], ["reverted", "confirmed"]),
        ({"confirmation": {"prod-1": KEPT}}, ["prod-2"], ["confirmed", "unreachable"]),
    ],
    ids=["one went back", "one never answered"],
)
def test_a_run_with_a_host_that_is_not_as_asked_fails(report, results, unreachable, outcomes):
    answer = report(results=results, unreachable=unreachable)
    assert (answer["as_asked"], answer["failed"], answer["reason"]) == (False, True, "not_as_asked")
    assert [answer["hosts"][name]["outcome"] for name in ("prod-1", "prod-2")] == outcomes
    assert doors.undocumented(PLUGIN, answer) == set()


def test_check_mode_says_that_nothing_was_changed(report):
    answer = report(check=True, results={"confirmation": {"prod-1": KEPT}})
    assert "check mode: nothing was changed" in answer["msg"]


def test_the_hosts_that_a_run_reached_are_remembered_with_what_they_recorded(report, tmp_path):
    inspection = {name: {"active": "v1", "host": {"id": f"id-{name}"}} for name in ("prod-1", "prod-2", "prod-3")}
    results = {
        "inspection": {**inspection, "prod-4": {}},
        "confirmation": {
            "prod-1": {**KEPT, "record": {**RECORD, "run_id": report.run_id}},
            "prod-2": KEPT,
            "prod-4": KEPT,
        },
        "return": {"prod-3": {**BACK, "record": {**RECORD, "run_id": "run-of-another"}}},
    }
    report(check=True, results=results)
    assert ControllerState(tmp_path).recorded_runs("id-prod-1", "shop", since=0) == []
    report(results=results)
    memory = ControllerState(tmp_path)
    assert memory.recorded_runs("id-prod-1", "shop", since=0) == [report.run_id]
    assert (
        memory.recorded_runs("id-prod-2", "shop", since=0) == memory.recorded_runs("id-prod-3", "shop", since=0) == []
    )


def test_the_hosts_of_a_run_are_remembered_with_their_regions(report, tmp_path):
    inspection = {name: {"host": {"id": f"id-{name}"}} for name in ("eu-1", "us-1", "alone-1")}
    order = {"release_region_order": ["eu", "us"]}
    report(
        results={"inspection": inspection, "confirmation": dict.fromkeys(inspection, KEPT)},
        task_vars={
            "hostvars": dict.fromkeys(inspection, order),
            "groups": {"eu": ["eu-1"], "us": ["us-1"], "old": ["alone-1"]},
        },
    )
    [run] = ControllerState(tmp_path).runs()
    assert {host.name: host.region for host in run.hosts} == {"eu-1": "eu", "us-1": "us", "alone-1": ""}


def test_a_history_that_is_not_trusted_any_more_is_told(report):
    lost = {**KEPT, "witness": {"outcome": "forked", "detail": "the first 2 records"}}
    answer = report(
        results={"confirmation": {"prod-1": lost, "prod-2": {**KEPT, "witness": {"outcome": "intact", "detail": ""}}}}
    )
    assert (
        "history of prod-1: forked: the first 2 records; ansible-playbook playbooks/verify.yml -l prod-1"
        in answer["msg"]
    )
    assert "history of prod-2" not in answer["msg"]
    assert answer["as_asked"] is True


def test_a_run_that_nobody_noted_says_so_and_still_ends_well(report):
    answer = report(results={"confirmation": {"prod-1": KEPT}}, unrecorded="controller_memory_unusable: it is down.")
    assert (answer["as_asked"], answer.get("failed")) == (True, None)
    *_before, told, following = answer["msg"].splitlines()
    assert told == "not noted in this controller's memory: controller_memory_unusable: it is down."
    assert following.startswith("next: ")


@pytest.mark.parametrize(("options", "fails"), [({}, True), ({"rollback": True}, False)])
def test_a_memory_that_went_away_in_the_middle_fails_the_run_that_needs_it_and_how_hosts_are_is_told(
    report, tmp_path, options, fails
):
    (tmp_path / "state.sqlite").write_bytes(b"no database, and more than the head of one would be" * 20)
    answer = report(results={"confirmation": {"prod-1": KEPT}}, **options)
    assert (answer["as_asked"], answer.get("failed", False), answer.get("reason")) == (
        True,
        fails,
        "not_recorded" if fails else None,
    )
    assert "not noted in this controller's memory: controller_memory_unusable" in answer["msg"]
    assert "prod-1  confirmed" in answer["msg"]
