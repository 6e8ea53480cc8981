# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of a controller's state, and what comes back of it, from and to both databases."""

from __future__ import annotations

import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import state_backup
from ansible.module_utils.slipway.controller.memory import ControllerState, Gate, KeptCheckpoint, KnownHost, Subject
from ansible.module_utils.slipway.controller.state_backup import access_log_of, back_up, read_backup, restore
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.controller.state_schema import SCHEMA_VERSION, SCHEMAS
from ansible.module_utils.slipway.secrets.access_log import Caller

HOST = KnownHost("id-1", "prod-1", "aa" * 32)
GONE = replace(Process.of(os.getpid()), pid=2**22 + 1)


def fill(place):
    """A state with something in every table; its runs are those of a process that is gone."""
    memory = ControllerState(place)
    run_id = memory.begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="alice", now=1000, process=GONE,
        subject=Subject("v1", "minor", 900),
    )  # fmt: skip
    memory.pin(HOST, now=1001)
    memory.note_host_of_run(
        run_id, host_id="id-1", outcome="confirmed", recorded=True, now=1002, name="prod-1", region="eu"
    )
    memory.end_run(run_id, outcome="as asked", now=1003)
    memory.keep_checkpoint("id-1", "shop", KeptCheckpoint(3, "bb" * 32, "note", 1004), after=None)
    memory.accept(HOST, "other", size=2, outcome="restored", detail="d", accepted_by="anna", now=1005)
    memory.hold(Gate(run_id, 1, "x", 1000, 1060))
    for name in ("database/main", "api/key"):
        access_log_of(place).note(
            Caller("ann", "r", "prod", "h"), SystemClock(), operation="read", name=name, outcome="read"
        )
    return memory


def said_of(memory):
    accesses = [record["name"] for record in access_log_of(memory.place).records()]
    return (
        memory.controller_id(),
        memory.runs(),
        memory.hosts(),
        memory.checkpoints("id-1", "shop"),
        memory.acceptance("id-1", "other"),
        accesses,
    )


@pytest.fixture
def elsewhere(state_place, request, tmp_path):
    """The other kind of place, empty."""
    if state_place.is_shared:
        return StatePlace(tmp_path / "elsewhere")
    server = request.getfixturevalue("postgres")
    return server.place(tmp_path / "elsewhere", server.new())


def test_what_is_put_back_is_what_was_there_also_in_the_other_database(state_place, elsewhere, tmp_path):
    before = said_of(fill(state_place))
    written = back_up(state_place, tmp_path / "backup")
    assert (written.runs, written.hosts, written.checkpoints, written.accesses) == (1, 1, 1, 2)
    assert restore(elsewhere, tmp_path / "backup", is_confirmed=False) == written
    after = ControllerState(elsewhere)
    assert said_of(after) == before
    assert after.runs()[0].hosts[0].region == "eu"
    again = after.begin_run(operation="deploy", application="shop", environment="prod", deployed_by="a", now=1000)
    assert after.newest_run("shop") == again, "numbers go on"
    access_log_of(elsewhere).note(
        Caller("b", "r", "prod", "h"), SystemClock(), operation="read", name="x", outcome="read"
    )
    assert len(access_log_of(elsewhere).records()) == 3


def test_runs_that_were_put_back_are_nobodys_to_take_over(state_place, tmp_path):
    """The backup may be of a controller that still runs: its leases decide."""
    memory = fill(state_place)
    assert len(memory.dead_runs("shop")) == 1
    back_up(state_place, tmp_path / "backup")
    restore(state_place, tmp_path / "backup", is_confirmed=True)
    assert ControllerState(state_place).dead_runs("shop") == []


def test_a_backup_is_its_owners_and_is_never_written_over(state_place, tmp_path):
    fill(state_place)
    back_up(state_place, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if "backup" in path.name) == ["backup"]
    before = (tmp_path / "backup").read_bytes()
    with pytest.raises(Refusal) as caught:
        back_up(state_place, tmp_path / "backup")
    assert caught.value.reason == "state_backup_exists"
    assert (tmp_path / "backup").read_bytes() == before


def test_a_directory_that_is_not_there_is_refused(state_place, tmp_path):
    fill(state_place)
    with pytest.raises(Refusal) as caught:
        back_up(state_place, tmp_path / "none/backup")
    assert caught.value.reason == "state_backup_unwritable"


@pytest.mark.parametrize("check", [False, True])
def test_where_there_is_no_state_none_is_made_and_none_is_backed_up(state_place, tmp_path, check):
    """A mistyped directory or database: what was meant would have no backup, and nobody would know."""
    with pytest.raises(Refusal) as caught:
        back_up(state_place, tmp_path / "backup", check=check)
    assert caught.value.reason == "state_missing"
    assert str(state_place) in caught.value.expected
    assert [path.name for path in tmp_path.iterdir()] == []
    if state_place.is_shared:
        with psycopg.connect(state_place.url, password=state_place.password()) as connection:
            assert connection.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_a_file_with_nothing_in_it_is_no_state(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.sqlite").touch()
    with pytest.raises(Refusal) as caught:
        back_up(StatePlace(tmp_path / "state"), tmp_path / "backup")
    assert caught.value.reason == "state_missing"
    assert (tmp_path / "state/state.sqlite").read_bytes() == b""


def test_check_mode_says_the_same_and_writes_nothing(state_place, tmp_path):
    fill(state_place)
    assert back_up(state_place, tmp_path / "backup", check=True) == back_up(state_place, tmp_path / "real")
    assert not (tmp_path / "backup").exists()
    empty = StatePlace(tmp_path / "empty")
    assert restore(empty, tmp_path / "real", is_confirmed=False, check=True).runs == 1
    assert ControllerState(empty).runs() == []


def test_what_is_there_is_lost_only_to_a_yes(state_place, tmp_path):
    memory = fill(state_place)
    back_up(state_place, tmp_path / "backup")
    newer = memory.begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="a", now=2000, process=GONE
    )
    with pytest.raises(Refusal) as caught:
        restore(state_place, tmp_path / "backup", is_confirmed=False)
    assert caught.value.reason == "state_not_empty"
    assert f"without an end: {newer}" in caught.value.found
    assert memory.newest_run("shop") == newer
    restore(state_place, tmp_path / "backup", is_confirmed=True)
    assert newer not in ControllerState(state_place).run_ids("shop")


@pytest.mark.parametrize("check", [False, True])
def test_while_a_run_goes_on_nothing_is_put_back_over_it(state_place, tmp_path, check):
    memory = fill(state_place)
    back_up(state_place, tmp_path / "backup")
    going = memory.begin_run(operation="deploy", application="shop", environment="prod", deployed_by="a", now=2000)
    with pytest.raises(Refusal) as caught:
        restore(state_place, tmp_path / "backup", is_confirmed=True, check=check)
    assert (caught.value.reason, caught.value.found) == ("state_in_use", going)
    memory.end_run(going, outcome="as asked", now=2001)
    assert memory.newest_run("shop") == going
    restore(state_place, tmp_path / "backup", is_confirmed=True, check=check)


def test_of_a_run_elsewhere_nobody_knows_but_its_end_that_is_lost_is_told(state_place, tmp_path):
    memory = fill(state_place)
    back_up(state_place, tmp_path / "backup")
    elsewhere = replace(Process.of(os.getpid()), namespace="another-container pid:[1]")
    going = memory.begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="a", now=2000, process=elsewhere
    )
    restore(state_place, tmp_path / "backup", is_confirmed=True)
    with pytest.raises(Refusal) as caught:
        ControllerState(state_place).end_run(going, outcome="as asked", now=2001)
    assert caught.value.reason == "run_forgotten"
    assert going in caught.value.expected


def test_the_access_log_of_a_file_stays_beside_what_replaced_it(tmp_path):
    place = StatePlace(tmp_path / "state")
    fill(place)
    back_up(place, tmp_path / "backup")
    before = (tmp_path / "state/access.jsonl").read_bytes()
    access_log_of(place).note(Caller("b", "r", "prod", "h"), SystemClock(), operation="read", name="x", outcome="read")
    restore(place, tmp_path / "backup", is_confirmed=True)
    assert (tmp_path / "state/access.jsonl").read_bytes() == before
    assert len([path for path in (tmp_path / "state").iterdir() if path.name.startswith("access.jsonl.before-")]) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xa5" * 4096
    path.write_bytes(data)


def contradict_itself(path: Path) -> None:
    """Let a row be one that its table does not allow."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'line TEXT NOT NULL', 'line TEXT NOT NULL CHECK (line = 1)') WHERE name = 'accesses'"
        )


def alter_an_access(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE accesses SET line = replace(line, 'database/main', 'database/none') WHERE seq = 0")


def two_controllers(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO controller VALUES ('other')")


def drop_a_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE runs")


def forget_the_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")


def claim_an_older_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 3")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (Path.unlink, "state_backup_missing"),
        (lambda path: path.write_bytes(b"no database at all, and long enough to be one" * 30), "state_backup_damaged"),
        (lambda path: path.write_bytes(b""), "state_backup_damaged"),
        (cut, "state_backup_damaged"),
        (scribble, "state_backup_damaged"),
        (contradict_itself, "state_backup_damaged"),
        (two_controllers, "state_backup_damaged"),
        (drop_a_table, "state_backup_damaged"),
        (forget_the_format, "state_backup_damaged"),
        (claim_an_older_format, "state_backup_damaged"),
        (alter_an_access, "state_backup_damaged"),
        (newer, "format_unknown"),
    ],
)
def test_a_backup_that_is_not_whole_changes_nothing(state_place, tmp_path, damage, reason):
    memory = fill(state_place)
    path = tmp_path / "backup"
    back_up(state_place, path)
    before = said_of(memory)
    damage(path)
    with pytest.raises(Refusal) as caught:
        restore(state_place, path, is_confirmed=True)
    assert caught.value.reason == reason
    assert str(path) in caught.value.expected
    said = str(caught.value)
    assert "slipway-state-" not in said, "the copy that was read is gone"
    assert [word for word in ("Mend the disk", "slipway_state_url", "Keep the file") if word in said] == []
    assert said_of(ControllerState(state_place)) == before


def test_a_restore_that_fails_in_the_middle_changes_nothing(state_place, tmp_path, monkeypatch):
    memory = fill(state_place)
    back_up(state_place, tmp_path / "backup")
    rows = read_backup(tmp_path / "backup")
    monkeypatch.setattr(state_backup, "read_backup", lambda _path: {**rows, "gates": [("too", "few")]})
    before = said_of(memory)
    with pytest.raises(Exception, match=r"controller_memory_unusable|binding"):
        restore(state_place, tmp_path / "backup", is_confirmed=True)
    assert said_of(ControllerState(state_place)) == before


def test_a_backup_of_an_older_slipway_is_brought_to_the_newest_format(state_place, tmp_path):
    path = tmp_path / "backup"
    with sqlite3.connect(path) as connection:
        connection.executescript("".join(SCHEMAS[:3]))
        connection.execute("INSERT INTO controller VALUES ('the-id')")
        connection.execute("INSERT INTO hosts VALUES ('id-1', 'prod-1', 'aa', 1, 1)")
        connection.execute("PRAGMA user_version = 3")
        connection.execute(f"PRAGMA application_id = {state_backup.APPLICATION_ID}")
    before = path.read_bytes()
    restore(state_place, path, is_confirmed=False)
    assert ControllerState(state_place).controller_id() == "the-id"
    assert path.read_bytes() == before
