# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller remembers, and which of its runs it knows to be dead."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller.memory import (
    Acceptance,
    ControllerState,
    Gate,
    KeptCheckpoint,
    KnownHost,
    Subject,
    new_run_id,
)
from ansible.module_utils.slipway.controller.state_schema import SCHEMA_VERSION, SCHEMAS


@pytest.fixture
def memory(state_place):
    return ControllerState(state_place)


@pytest.fixture
def in_a_file(tmp_path):
    return ControllerState(tmp_path / "state")


@pytest.fixture
def other_process():
    """A real process that a test may kill."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def begin(memory, process=None, application="shop"):
    return memory.begin_run(
        operation="deploy", application=application, environment="prod", deployed_by="alice", now=1_795_000_000, process=process
    )  # fmt: skip


def test_a_controller_keeps_its_id(tmp_path):
    first = ControllerState(tmp_path / "state").controller_id()
    assert ControllerState(tmp_path / "state").controller_id() == first
    assert ControllerState(tmp_path / "other").controller_id() != first


def test_the_state_is_the_operators_own(tmp_path):
    ControllerState(tmp_path / "deep" / "state")
    assert (tmp_path / "deep" / "state").stat().st_mode & 0o777 == 0o700


def test_a_run_id_sorts_by_time_and_is_unique():
    assert re.fullmatch(r"run_20261118T110640Z_[0-9a-f]{6}", new_run_id(1_795_000_000))
    assert new_run_id(0) != new_run_id(0)
    assert new_run_id(1_795_000_000) < new_run_id(1_795_000_001)


def test_a_run_of_a_living_process_is_not_dead(memory, other_process):
    begin(memory)
    begin(memory, Process.of(other_process.pid))
    assert memory.dead_runs("shop") == []


def test_a_run_is_dead_once_its_process_was_killed(memory, other_process):
    older, newer = begin(memory, Process.of(other_process.pid)), begin(memory, Process.of(other_process.pid))
    alive, other = begin(memory), begin(memory, Process.of(other_process.pid), application="other")
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.wait()
    assert memory.dead_runs("shop") == [newer, older]
    assert memory.dead_runs("shop", limit=2) == [newer]
    assert memory.dead_runs("other") == [other]
    assert alive not in memory.dead_runs("shop")


def test_an_ended_run_stays_among_the_dead_ones(memory, other_process):
    """A host that was cut off when its run ended still holds that run's lease."""
    run = begin(memory, Process.of(other_process.pid))
    memory.end_run(run, outcome="not as asked", now=1_795_000_060)
    other_process.kill()
    other_process.wait()
    assert memory.dead_runs("shop") == [run]
    assert [(each.ended, each.outcome) for each in memory.runs()] == [(1_795_000_060, "not as asked")]


def test_two_controllers_that_begin_at_once_make_one_state(tmp_path):
    children = []
    for _ in range(4):
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            os.write(writer, ControllerState(tmp_path / "state").controller_id().encode())
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    ids = {os.read(reader, 100) for _pid, reader in children}
    for pid, reader in children:
        os.waitpid(pid, 0)
        os.close(reader)
    assert len(ids) == 1
    assert len(ids.pop()) == 36


HOST = KnownHost("id-1", "prod-1", "aa" * 32)
KEPT = KeptCheckpoint(3, "bb" * 32, "note", 1_795_000_000)


def test_a_state_of_the_first_version_keeps_its_id_and_runs_and_gets_the_rest(tmp_path):
    (tmp_path / "state").mkdir()
    with sqlite3.connect(tmp_path / "state/state.sqlite") as connection:
        connection.executescript(SCHEMAS[0])
        connection.execute("INSERT INTO controller VALUES ('the-id')")
        connection.execute(
            "INSERT INTO runs VALUES ('run-1', 'deploy', 'shop', 'prod', 'a', 1, NULL, NULL, 'b', 'n', 1, 's')"
        )
        connection.execute("PRAGMA user_version = 1")
    memory = ControllerState(tmp_path / "state")
    assert (memory.controller_id(), memory.run_ids("shop"), memory.hosts()) == ("the-id", {"run-1"}, [])
    assert memory.keep_checkpoint("id-1", "shop", KEPT, after=None)
    assert ControllerState(tmp_path / "state").checkpoints("id-1", "shop") == [KEPT]
    with sqlite3.connect(memory.path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_new_state_and_a_migrated_one_have_the_same_tables(tmp_path, in_a_file):
    (tmp_path / "old").mkdir()
    with sqlite3.connect(tmp_path / "old/state.sqlite") as connection:
        connection.executescript(SCHEMAS[0])
        connection.execute("PRAGMA user_version = 1")
    tables = []
    for state in (in_a_file, ControllerState(tmp_path / "old")):
        with sqlite3.connect(state.path) as connection:
            tables.append(connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall())
    assert tables[0] == tables[1]


def test_a_key_that_is_pinned_stays_and_a_name_may_change(memory):
    assert memory.pin(HOST, now=1) == HOST
    assert memory.pin(replace(HOST, name="web-1", history_key="cc" * 32), now=2) == replace(HOST, name="web-1")
    assert memory.hosts() == [replace(HOST, name="web-1")]


def test_the_host_that_got_a_name_last_comes_last(memory):
    other = KnownHost("id-2", "prod-1", "cc" * 32)
    for host in (HOST, other, HOST):
        memory.pin(host, now=1)
    assert memory.hosts() == [HOST, other]
    memory.accept(HOST, "shop", size=3, outcome="restored", detail="", accepted_by="anna", now=2)
    assert memory.hosts() == [other, HOST]


def test_a_checkpoint_is_kept_after_the_one_that_it_was_proven_against_and_no_other(memory):
    larger = replace(KEPT, size=5)
    assert memory.keep_checkpoint("id-1", "shop", KEPT, after=None)
    assert not memory.keep_checkpoint("id-1", "shop", larger, after=None)
    assert not memory.keep_checkpoint("id-1", "shop", larger, after=replace(KEPT, size=2))
    assert memory.keep_checkpoint("id-1", "shop", larger, after=KEPT)
    assert memory.checkpoints("id-1", "shop") == [KEPT, larger]
    assert memory.checkpoints("id-1", "other") == memory.checkpoints("id-2", "shop") == []


def test_an_acceptance_is_about_one_history_of_one_host(memory):
    for host_id, application in (("id-1", "shop"), ("id-1", "other"), ("id-2", "shop")):
        assert memory.keep_checkpoint(host_id, application, KEPT, after=None)
    memory.accept(HOST, "shop", size=2, outcome="restored", detail="", accepted_by="anna", now=7)
    memory.accept(HOST, "shop", size=1, outcome="restored", detail="", accepted_by="anna", now=8)
    assert memory.checkpoints("id-1", "shop") == []
    assert memory.checkpoints("id-1", "other") == memory.checkpoints("id-2", "shop") == [KEPT]
    assert memory.acceptance("id-1", "shop") == Acceptance(1, 8, "restored", "anna")
    assert memory.acceptance("id-2", "shop") == Acceptance(size=0, accepted=0)


def test_the_runs_that_a_host_recorded_are_remembered(memory):
    first, second, other = begin(memory), begin(memory), begin(memory, application="other")
    for run, host_id, recorded in (
        (first, "id-1", True), (second, "id-1", True), (second, "id-2", False), (other, "id-1", True),
    ):  # fmt: skip
        memory.note_host_of_run(run, host_id=host_id, outcome="confirmed", recorded=recorded, now=1_795_000_010)
    memory.note_host_of_run(first, host_id="id-1", outcome="confirmed", recorded=True, now=1_795_000_000)
    assert sorted(memory.recorded_runs("id-1", "shop", since=0)) == sorted([first, second])
    assert memory.recorded_runs("id-1", "shop", since=1_795_000_000) == [second]
    assert memory.recorded_runs("id-2", "shop", since=0) == []
    assert memory.run_ids("shop") == {first, second}


def test_a_memory_that_is_no_database_is_refused_with_its_path(tmp_path):
    (tmp_path / "state.sqlite").write_text("garbage, and more of it than a header of a database has room for " * 20)
    with pytest.raises(Refusal) as refusal:
        ControllerState(tmp_path)
    assert (refusal.value.reason, "state.sqlite" in str(refusal.value)) == ("controller_memory_unusable", True)


def test_a_gate_is_remembered_until_somebody_decides_and_then_how(memory):
    run_id = begin(memory)
    held = Gate(run_id, 1, "wave 1: release_pause_after", 1000, 4600)
    assert (memory.gate(run_id, 1), memory.held(1001)) == (None, [])
    memory.hold(held)
    assert (memory.gate(run_id, 1), memory.held(1001)) == (held, [held])
    assert memory.decide(run_id, 2, decision="promoted", decided_by="bob", now=1005) is None
    decided = memory.decide(run_id, 1, decision="promoted", decided_by="bob", now=1005)
    assert decided == replace(held, decision="promoted", decided_by="bob", decided=1005)
    assert memory.held(1001) == []
    memory.hold(held)
    assert memory.held(1001) == [held], "a gate may be closed again"


def test_a_gate_of_a_dead_run_is_held_by_nobody(memory, other_process):
    memory.hold(Gate(begin(memory, Process.of(other_process.pid)), 1, "x", 1000, 4600))
    assert len(memory.held(1001)) == 1
    other_process.kill()
    other_process.wait()
    assert memory.held(1001) == []


def test_a_gate_whose_time_is_over_is_none_and_so_is_that_of_a_run_that_has_ended(memory):
    """A process in a container that was cancelled is never known to be gone."""
    elsewhere = replace(Process.of(os.getpid()), namespace="job-41 pid:[4026532000]")
    cancelled, ended = begin(memory, elsewhere), begin(memory, elsewhere)
    gate = Gate(cancelled, 1, "x", 1000, 1003)
    memory.hold(gate)
    memory.hold(Gate(ended, 1, "x", 1000, 4600))
    memory.end_run(ended, outcome="as asked", now=1001)
    assert memory.held(1002) == [gate]
    assert memory.held(1003) == []


def test_runs_are_joined_by_their_group(memory):
    def begun(run_group):
        return memory.begin_run(
            operation="deploy", application="shop", environment="prod", deployed_by="a", now=1000, subject=Subject("v1", run_group=run_group)
        )  # fmt: skip

    slices, other = [begun("77"), begun("77")], begun("")
    assert memory.runs_of_group("77") == set(slices)
    assert (memory.run(slices[0]).run_group, memory.run(other).run_group, memory.run("run-none")) == ("77", "", None)
    assert [each.run_group for each in memory.runs()] == ["77", "77", ""]


def test_the_newest_run_and_the_hosts_of_an_application_are_remembered(memory):
    assert memory.newest_run("shop") is None
    first, other = begin(memory), begin(memory, application="other")
    for host_id, name, run, recorded in (
        ("id-1", "prod-1", first, True),
        ("id-2", "prod-2", first, False),
        ("id-3", "prod-3", other, True),
    ):
        memory.pin(KnownHost(host_id, name, "0" * 64), now=1)
        memory.note_host_of_run(run, host_id=host_id, outcome="confirmed", recorded=recorded, now=1)
    assert memory.hosts_of("shop", "prod") == {"prod-1"}
    assert memory.hosts_of("shop", "staging") == set()
    assert memory.newest_run("shop") == first
    newest = begin(memory)
    assert memory.newest_run("shop") == newest
