# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that holds a run, and lets one that is held go on."""

from __future__ import annotations

import threading
import time

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.memory import ControllerState, Gate

PLUGIN = "slipway_gate"


@pytest.fixture
def run_id(tmp_path):
    """A run of this process."""
    return ControllerState(tmp_path).begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="alice", now=1
    )


def ask(tmp_path, **options):
    return plugins.run(PLUGIN, **{"state_directory": str(tmp_path), **options})


def hold(tmp_path, run_id, seconds=60):
    return ask(tmp_path, run_id=run_id, wave=1, why="wave 1: release_pause_after", seconds=seconds)


@pytest.mark.parametrize(("decision", "state"), [("promote", "promoted"), ("abort", "aborted")])
def test_a_run_that_is_held_hears_what_another_process_decides(tmp_path, run_id, decision, state):
    answers = {}
    holding = threading.Thread(target=lambda: answers.update(held=hold(tmp_path, run_id)))
    holding.start()
    memory, end = ControllerState(tmp_path), time.monotonic() + 30
    while not memory.held(int(time.time())):
        assert time.monotonic() < end
        time.sleep(0.01)
    decided = ask(tmp_path, decision=decision)
    holding.join(30)
    assert (decided["decision"], decided["changed"], decided["wave"]) == (state, True, 1)
    assert (answers["held"]["decision"], answers["held"]["changed"]) == (state, False)
    assert answers["held"]["msg"] == f"{state}: by {decided['decided_by']}"
    for answer in (decided, answers["held"]):
        assert doors.undocumented(PLUGIN, answer) == set()


def test_without_an_answer_the_time_decides(tmp_path, run_id):
    answer = hold(tmp_path, run_id, seconds=1)
    assert (answer["decision"], answer.get("failed")) == ("expired", None)
    assert answer["msg"] == "expired: nobody has said how to go on"


def test_a_run_that_is_not_held_cannot_be_promoted(tmp_path, run_id):
    answer = ask(tmp_path, decision="promote", run_id=run_id)
    assert (answer["failed"], answer["reason"]) == (True, "run_not_held")
    assert doors.undocumented(PLUGIN, answer) == set()


@pytest.mark.parametrize("check", [True, False])
def test_a_directory_without_a_memory_is_refused_and_none_is_made_there(tmp_path, check):
    answer = ask(tmp_path, decision="promote", state_directory=str(tmp_path / "mistyped"), check=check)
    assert (answer["failed"], answer["reason"]) == (True, "state_missing")
    assert not (tmp_path / "mistyped").exists()


def test_check_mode_decides_nothing_and_refuses_the_same(tmp_path, run_id):
    refused = ask(tmp_path, decision="promote", run_id=run_id, check=True)
    assert (refused["failed"], refused["reason"]) == (True, "run_not_held")
    memory, now = ControllerState(tmp_path), int(time.time())
    memory.hold(Gate(run_id, 1, "x", now, now + 60))
    answer = ask(tmp_path, decision="promote", check=True)
    assert (answer["changed"], answer["run_id"], answer.get("failed")) == (True, run_id, None)
    assert memory.gate(run_id, 1).decision is None


@pytest.mark.parametrize(
    "said", [{"application": "billing"}, {"release_id": "v9"}, {"environment": "staging"}, {"run_group": 77}]
)
def test_a_run_of_something_else_is_not_promoted(tmp_path, run_id, said):
    memory, now = ControllerState(tmp_path), int(time.time())
    memory.hold(Gate(run_id, 1, "x", now, now + 60))
    answer = ask(tmp_path, decision="promote", **said)
    assert (answer["failed"], answer["reason"]) == (True, "run_not_held")
    assert memory.gate(run_id, 1).decision is None


def test_what_is_no_group_of_runs_is_refused(tmp_path):
    ControllerState(tmp_path)
    answer = ask(tmp_path, decision="promote", run_group="1; id")
    assert (answer["failed"], answer["reason"]) == (True, "run_group_invalid")
