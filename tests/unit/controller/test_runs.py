# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of many hosts, joined by run."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.controller.runs import newest_runs, runs_table


def record(seq, run_id, **changes):
    return {
        "seq": seq, "run_id": run_id, "application": "shop", "environment": "prod", "operation": "deploy", "release_id": f"v{seq}",
        "previous_release_id": None, "active_release_id": f"v{seq}", "rollback": False, "artifacts": [], "deployed_by": "alice",
        "timestamp": f"2026-11-21T04:00:{seq:02}Z", "status": "success", "smoke_test_passed": None, "reason": None, **changes,
    }  # fmt: skip


def test_the_newest_run_comes_first_and_no_more_than_asked_for():
    histories = {"a": [record(n, f"run-{n}") for n in (3, 1, 2)], "b": [record(4, "run-4")]}
    assert [run["run_id"] for run in newest_runs(histories, 3)] == ["run-4", "run-3", "run-2"]


def test_a_run_names_each_of_its_hosts_once_with_its_newest_record():
    histories = {
        "b": [
            record(7, "run-1", status="rolled_back", reason="health_failed", active_release_id="v1"),
            record(6, "run-1"),
        ],
        "a": [record(2, "run-1")],
    }
    (run,) = newest_runs(histories, 5)
    assert {host: each["status"] for host, each in run["hosts"].items()} == {"a": "success", "b": "rolled_back"}
    assert (run["hosts"]["b"]["reason"], run["hosts"]["b"]["active_release_id"]) == ("health_failed", "v1")


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        (("success", "success"), "success"),
        (("success", "rolled_back"), "rolled_back"),
        (("rolled_back", "interrupted"), "interrupted"),
        (("interrupted", "failed"), "failed"),
    ],
)
def test_a_run_is_as_good_as_its_worst_host(statuses, worst):
    histories = {host: [record(1, "run-1", status=status)] for host, status in zip("ab", statuses, strict=True)}
    assert newest_runs(histories, 1)[0]["status"] == worst


@pytest.mark.parametrize(
    ("answers", "joined"),
    [((None, None), None), ((True, None), True), ((True, True), True), ((True, False), False), ((None, False), False)],
)
def test_a_smoke_test_passed_when_it_failed_nowhere(answers, joined):
    histories = {host: [record(1, "r", smoke_test_passed=each)] for host, each in zip("ab", answers, strict=True)}
    assert newest_runs(histories, 1)[0]["smoke_test_passed"] is joined


def test_the_table_says_where_a_run_ended_otherwise_and_who_did_not_answer():
    histories = {"a": [record(1, "run-1")], "b": [record(1, "run-1", status="failed", smoke_test_passed=False)]}
    text = runs_table(newest_runs(histories, 5), ["d", "c"])
    assert text.splitlines()[1].split("  ")[-1] == "a (success), b"
    assert text.splitlines()[-1] == "no answer from c, d"


def test_a_fleet_without_records_says_so():
    assert runs_table(newest_runs({"a": []}, 5)) == "nothing was deployed yet"
