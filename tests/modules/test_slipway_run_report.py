# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that has the last word of a run."""

from __future__ import annotations

import os

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.memory import ControllerState, Process

PLUGIN = "slipway_run_report"
KEPT = {"outcome": "confirmed", "active_release_id": "v2"}
BACK = {"outcome": "reverted", "active_release_id": "v1", "failed": True, "msg": "health_failed: no answer"}


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
