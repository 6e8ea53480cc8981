# SPDX-License-Identifier: GPL-3.0-or-later
"""The database of a controller's state: its versions, what it is like when it is ill, and several controllers at once."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import time
from dataclasses import replace

import psycopg
import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import state_database
from ansible.module_utils.slipway.controller.memory import ControllerState, Gate, KeptCheckpoint, KnownHost
from ansible.module_utils.slipway.controller.state_database import SCHEMA_VERSION, StateDatabase
from ansible.module_utils.slipway.controller.state_place import StatePlace
from ansible.module_utils.slipway.controller.state_schema import SCHEMAS, TABLES, statements, translated

HOST = KnownHost("id-1", "prod-1", "aa" * 32)
PASSWORD = "of-nobody-else"  # what must never be said


def begin(memory, process=None, **about):
    return memory.begin_run(
        operation="deploy", application="shop", environment="prod", deployed_by="alice", now=1_795_000_000, process=process, **about
    )  # fmt: skip


def do(place, *commands):
    """Change a database past all that is tested."""
    if place.is_shared:
        with psycopg.connect(place.url, password=place.password(), autocommit=True) as connection:
            for command in commands:
                connection.execute(command)
    else:
        place.directory.mkdir(exist_ok=True)
        with sqlite3.connect(place.path) as connection:
            for command in commands:
                connection.execute(command)


def older(place, version):
    """Make the database as the Slipway of that version left it, with a controller, a run and a host in it."""
    made = [each.strip() for each in "".join(SCHEMAS[:version]).split(";") if each.strip()]
    shared = place.is_shared
    commands = [translated(each) if shared else each for each in made]
    commands += ["CREATE TABLE slipway_schema (version BIGINT NOT NULL)"] if shared else []
    commands.append(f"INSERT INTO slipway_schema VALUES ({version})" if shared else f"PRAGMA user_version = {version}")
    commands.append("INSERT INTO controller VALUES ('the-id')")
    columns = "run_id, operation, application, environment, deployed_by, began, ended, outcome, boot_id, namespace, pid, pid_started"
    since_4, values = (
        (", installation, release_id, release_type, takes_back, is_check", ", '', '', '', '', 0")
        if version >= 4
        else ("", "")
    )
    commands += [
        f"INSERT INTO runs ({columns}{since_4}) VALUES ('{run}', 'deploy', 'shop', 'prod', 'a', {began}, 9, 'as asked', 'b', 'n', 1, 's'{values})"
        for run, began in (("run-2", 2), ("run-1", 1))
    ]
    if version >= 2:
        commands.append("INSERT INTO hosts VALUES ('id-1', 'prod-1', 'aa', 1, 1)")
        commands.append(
            "INSERT INTO run_hosts (run_id, host_id, outcome, recorded, noted) VALUES ('run-1', 'id-1', 'confirmed', 1, 5)"
        )
    do(place, *commands)


def refusal_of(place, act=StateDatabase):
    with pytest.raises(Refusal) as caught:
        act(place)
    assert PASSWORD not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_each_older_version_is_brought_to_the_newest_with_all_that_is_in_it(state_place, version):
    older(state_place, version)
    memory = ControllerState(state_place)
    assert memory.controller_id() == "the-id"
    first, second = memory.runs()
    assert (first.run_id, first.ended, first.outcome, first.release_id, first.created) == (
        "run-1",
        9,
        "as asked",
        "",
        None,
    )
    assert second.run_id == memory.newest_run("shop") == "run-2"
    assert [each.name for each in first.hosts] == (["prod-1"] if version >= 2 else [])
    began = begin(memory)
    assert ControllerState(state_place).newest_run("shop") == began


def test_tables_are_those_of_the_newest_version(state_place):
    with StateDatabase(state_place).reading() as session:
        for table, columns in TABLES.items():
            session.execute(f"SELECT {', '.join(columns)} FROM {table}")
            if not state_place.is_shared:
                described = session.execute(f"PRAGMA table_info({table})").fetchall()
                assert [row[1] for row in described] == list(columns)
    assert statements(SCHEMA_VERSION) == []


def test_a_version_that_is_newer_than_the_code_is_refused_and_left_alone(state_place):
    memory = ControllerState(state_place)
    newer = SCHEMA_VERSION + 1
    do(
        state_place,
        f"UPDATE slipway_schema SET version = {newer}" if state_place.is_shared else f"PRAGMA user_version = {newer}",
    )
    refusal = refusal_of(state_place)
    assert (refusal.reason, refusal.found) == ("format_unknown", str(newer))
    with memory.database.reading() as session:
        assert memory.database._version(session) == newer


def test_a_database_of_something_else_is_refused_and_left_alone(state_place):
    do(state_place, "CREATE TABLE customers (id INTEGER)")
    refusal = refusal_of(state_place)
    assert refusal.reason == "controller_memory_foreign"
    assert "customers" in refusal.found
    do(state_place, "SELECT * FROM customers", "CREATE TABLE runs (id INTEGER)")


def test_a_database_whose_version_was_deleted_is_refused_and_left_alone(state_place):
    ControllerState(state_place)
    do(state_place, "DELETE FROM slipway_schema" if state_place.is_shared else "PRAGMA user_version = 0")
    refusal = refusal_of(state_place)
    assert refusal.reason == "controller_memory_foreign"
    assert "checkpoints" in refusal.found


def test_a_migration_that_another_process_made_meanwhile_is_not_made_again(state_place, monkeypatch):
    """Its version is read again once nobody else can change it."""
    memory = ControllerState(state_place)
    read, answers = StateDatabase._version, [SCHEMA_VERSION - 1]
    monkeypatch.setattr(
        StateDatabase, "_version", lambda self, session: answers.pop() if answers else read(self, session)
    )
    assert ControllerState(state_place).controller_id() == memory.controller_id()


def test_a_migration_that_fails_leaves_the_version_before(state_place, monkeypatch):
    older(state_place, 3)
    monkeypatch.setattr(state_database, "statements", lambda before: [*statements(before), "CREATE TABLE broken ("])
    assert refusal_of(state_place).reason == "controller_memory_unusable"
    monkeypatch.undo()
    assert len(ControllerState(state_place).runs()) == 2


def in_processes(count, work, *arguments):
    """Do the same in so many processes at once; what each returned. One that fails is an AssertionError."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(count), context.SimpleQueue()

    def act(number):
        barrier.wait()
        answers.put(work(number, *arguments))

    processes = [context.Process(target=act, args=(number,)) for number in range(count)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    assert [each.exitcode for each in processes] == [0] * count
    return [answers.get() for _ in processes]


def test_controllers_that_begin_at_once_make_one_state(state_place):
    assert len(set(in_processes(4, lambda _number: ControllerState(state_place).controller_id()))) == 1


def test_controllers_that_bring_an_old_one_up_at_once_do_it_once(state_place):
    older(state_place, 1)
    found = in_processes(4, lambda _number: [each.run_id for each in ControllerState(state_place).runs()])
    assert found == [["run-1", "run-2"]] * 4


def test_of_processes_that_keep_a_checkpoint_after_the_same_one_only_one_does(state_place):
    memory = ControllerState(state_place)
    first = KeptCheckpoint(1, "bb" * 32, "note", 1)
    assert memory.keep_checkpoint("id-1", "shop", first, after=None)

    def keep(number):
        mine = KeptCheckpoint(number + 2, "cc" * 32, "note", 1)
        return ControllerState(state_place).keep_checkpoint("id-1", "shop", mine, after=first)

    assert sorted(in_processes(4, keep)) == [False, False, False, True]
    assert len(memory.checkpoints("id-1", "shop")) == 2


def test_runs_of_many_processes_are_all_there_in_one_order(state_place):
    def work(_number):
        memory = ControllerState(state_place)
        return [begin(memory) for _ in range(5)]

    begun = {run for runs in in_processes(4, work) for run in runs}
    memory = ControllerState(state_place)
    assert memory.run_ids("shop") == begun
    assert len(begun) == 20
    assert memory.runs()[-1].run_id == memory.newest_run("shop")


def test_hosts_that_are_named_at_once_have_an_order(state_place):
    def work(number):
        memory = ControllerState(state_place)
        memory.pin(replace(HOST, id=f"id-{number}"), now=1)
        return number

    in_processes(4, work)
    with StateDatabase(state_place).reading() as session:
        named = session.execute("SELECT named FROM hosts ORDER BY named").fetchall()
    assert [row[0] for row in named] == [1, 2, 3, 4]


def test_a_child_process_does_not_use_its_parents_connection(postgres, tmp_path):
    memory = ControllerState(postgres.place(tmp_path, postgres.new()))
    first = memory.controller_id()
    assert in_processes(2, lambda _number: memory.controller_id()) == [first, first]
    assert memory.controller_id() == first


# Two controllers with one database


@pytest.fixture
def two_controllers(postgres, tmp_path):
    database = postgres.new()
    return [ControllerState(postgres.place(tmp_path / name, database)) for name in ("one", "other")]


def test_a_run_of_another_controller_is_never_dead_here(two_controllers):
    """Its container may have this one's name, boot and process numbers, and another may have this very PID namespace."""
    one, other = two_controllers
    gone = replace(Process.of(os.getpid()), pid=2**22 + 1)
    before_this_boot = replace(gone, boot_id="another boot")
    runs = [begin(one, each) for each in (gone, before_this_boot)]
    assert one.controller_id() == other.controller_id()
    assert other.dead_runs("shop") == []
    assert one.dead_runs("shop") == runs[::-1]
    assert ControllerState(one.place).dead_runs("shop") == runs[::-1], "the same controller in its next process"


def test_a_controller_that_was_made_anew_in_the_same_place_is_another_one(postgres, tmp_path):
    place = postgres.place(tmp_path / "state", postgres.new())
    begin(ControllerState(place), replace(Process.of(os.getpid()), pid=2**22 + 1))
    (tmp_path / "state/installation").unlink()
    assert ControllerState(place).dead_runs("shop") == []


def test_processes_that_name_their_controller_at_once_agree(postgres, tmp_path):
    place = postgres.place(tmp_path / "state", postgres.new())
    StateDatabase(place)
    assert len(set(in_processes(4, lambda _number: ControllerState(place).installation))) == 1
    assert [each.name for each in (tmp_path / "state").iterdir()] == ["installation"]


def test_a_gate_is_decided_by_another_controller(two_controllers):
    one, other = two_controllers
    gate = Gate(begin(one), 1, "x", 1000, 1060)
    one.hold(gate)
    assert other.held(1059) == [gate]
    assert other.held(1060) == [], "nobody here can know whether its run is still there"
    assert other.decide(gate.run_id, 1, decision="promoted", decided_by="bob", now=1001).decided_by == "bob"
    assert one.gate(gate.run_id, 1).decision == "promoted"


# A database that is ill


def test_a_server_that_is_down_is_refused_with_what_to_do(postgres, tmp_path):
    place = postgres.place(tmp_path, postgres.new(), password=lambda: PASSWORD)
    postgres.stop()
    refusal = refusal_of(place)
    assert refusal.reason == "controller_memory_unusable"
    assert "refused" in refusal.found
    assert f"127.0.0.1:{postgres.port}, database" in refusal.expected
    assert "slipway_state_required=false" in refusal.remedy


@pytest.mark.parametrize(
    ("about", "found"),
    [
        ({"password": lambda: PASSWORD}, "password authentication failed"),
        ({"database": "nothing_here"}, "does not exist"),
    ],
)
def test_a_server_that_refuses_is_quoted_without_the_password(postgres, tmp_path, about, found):
    given = {"database": postgres.new(), **about}
    refusal = refusal_of(postgres.place(tmp_path, given.pop("database"), **given))
    assert refusal.reason == "controller_memory_unusable"
    assert found in refusal.found


def test_no_password_at_all_is_refused(postgres, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    assert "no password supplied" in refusal_of(postgres.place(tmp_path, postgres.new(), password=lambda: None)).found


def test_a_password_is_found_by_libpq_itself(postgres, tmp_path, monkeypatch):
    path = tmp_path / "passwords"
    path.touch(0o600)
    path.write_text(f"127.0.0.1:{postgres.port}:*:slipway:{postgres.password}\n")
    monkeypatch.setenv("PGPASSFILE", str(path))
    assert ControllerState(postgres.place(tmp_path, postgres.new(), password=lambda: None)).runs() == []


def test_a_secret_that_cannot_be_had_is_said(postgres, tmp_path):
    def sealed():
        raise Refusal("secret_unavailable", expected="a Vault", found="a sealed one", remedy="Unseal it.")

    refusal = refusal_of(postgres.place(tmp_path, postgres.new(), password=sealed))
    assert refusal.reason == "controller_memory_unusable"
    assert "secret_unavailable" in refusal.found


def test_a_database_that_may_only_be_read_can_be_looked_at_and_not_written_to(postgres, tmp_path):
    name = postgres.new()
    place = postgres.place(tmp_path, name)
    begun = begin(ControllerState(place))
    postgres.ask(name, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    memory = ControllerState(place)
    assert [each.run_id for each in memory.runs()] == [begun]
    for act in (memory.database.require_writable, lambda: begin(memory)):
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.reason == "controller_memory_read_only"
        assert "slipway_state_required=false" in caught.value.remedy


def test_a_file_that_may_only_be_read_can_be_looked_at_and_not_written_to(tmp_path, monkeypatch):
    memory = ControllerState(tmp_path)
    begun = begin(memory)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **about: connect(f"file:{path}?mode=ro", uri=True, **about))
    assert [each.run_id for each in ControllerState(tmp_path).runs()] == [begun]
    with pytest.raises(Refusal) as caught:
        memory.database.require_writable()
    assert caught.value.reason == "controller_memory_read_only"


def test_a_database_without_the_right_to_make_tables_is_refused(postgres, tmp_path):
    name = postgres.new()
    for command in (f"ALTER DATABASE {name} OWNER TO admin", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"):
        postgres.ask(name, command)
    refusal = refusal_of(postgres.place(tmp_path, name))
    assert refusal.reason == "controller_memory_unusable"
    assert "permission denied" in refusal.found


def test_a_server_that_takes_connections_and_answers_nothing_holds_nobody_for_long(postgres, tmp_path):
    place = postgres.place(tmp_path, postgres.new(), connect_seconds=2)
    began = time.monotonic()
    with postgres.standing_still():
        refusal = refusal_of(place)
    assert refusal.reason == "controller_memory_unusable"
    assert time.monotonic() - began < 8


def test_a_server_that_hangs_right_after_login_holds_nobody_for_long(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(state_database, "ANSWER_SECONDS", 1)
    place = postgres.place(tmp_path, postgres.new())
    with postgres.silent_after_login() as port:
        began = time.monotonic()
        refusal = refusal_of(replace(place, url=place.url.replace(str(postgres.port), str(port))))
    assert (refusal.reason, refusal.found) == ("controller_memory_unusable", "no answer in 1 s")
    assert time.monotonic() - began < 8


def test_work_that_goes_on_may_take_longer_than_an_answer(postgres, tmp_path, monkeypatch):
    """Rows by the batch, each in time; a batch that is not is cut as any other answer."""
    name = postgres.new()
    database = StateDatabase(postgres.place(tmp_path, name))
    postgres.ask(
        name,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END'",
    )
    postgres.ask(name, "CREATE TRIGGER slow BEFORE INSERT ON accesses FOR EACH ROW EXECUTE FUNCTION slow()")
    monkeypatch.setattr(state_database, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(state_database, "BATCH_ROWS", 2)
    rows = [(number, "line") for number in range(8)]

    def insert():
        with database.changing() as session:
            session.executemany("INSERT INTO accesses VALUES (?, ?)", rows)

    insert()
    assert postgres.ask(name, "SELECT count(*) FROM accesses") == [(8,)]
    postgres.ask(name, "TRUNCATE accesses")
    monkeypatch.setattr(state_database, "BATCH_ROWS", 8)
    with pytest.raises(Refusal) as caught:
        insert()
    assert caught.value.reason == "controller_memory_unusable"
    assert postgres.ask(name, "SELECT count(*) FROM accesses") == [(0,)]


def test_a_server_that_hangs_later_holds_nobody_for_long_and_the_next_connection_works(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(state_database, "ANSWER_SECONDS", 1)
    memory = ControllerState(postgres.place(tmp_path, postgres.new()))
    began = time.monotonic()
    with postgres.standing_still(), pytest.raises(Refusal) as caught:
        begin(memory)
    assert caught.value.found == "no answer in 1 s"
    assert time.monotonic() - began < 5
    assert len(ControllerState(memory.place).runs()) <= 1
    assert memory.controller_id() == ControllerState(memory.place).controller_id()


def test_a_lock_that_somebody_keeps_is_not_waited_for_without_end(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(state_database, "LOCK_SECONDS", 1)
    place = postgres.place(tmp_path, postgres.new())
    memory = ControllerState(place)
    with psycopg.connect(place.url, password=place.password()) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (state_database.LOCK_KEY,))
        with pytest.raises(Refusal) as caught:
            memory.pin(HOST, now=1)
    assert "lock timeout" in caught.value.found
    assert memory.pin(HOST, now=1) == HOST


def test_a_server_that_went_away_is_connected_to_again(postgres, tmp_path):
    memory = ControllerState(postgres.place(tmp_path, postgres.new()))
    begun = begin(memory)
    postgres.stop()
    with pytest.raises(Refusal):
        memory.runs()
    postgres.start()
    assert [each.run_id for each in memory.runs()] == [begun]


def test_a_file_needs_no_library_of_servers(tmp_path):
    """What a controller without a database does not have to load on each start."""
    code = (
        "import sys, pathlib, ansible.module_utils as m; m.__path__.append('module_utils')\n"
        "from ansible.module_utils.slipway.controller.memory import ControllerState\n"
        f"ControllerState(pathlib.Path({str(tmp_path)!r})); sys.exit('psycopg' in sys.modules)"
    )
    assert os.spawnvp(os.P_WAIT, os.sys.executable, [os.sys.executable, "-c", code]) == 0


def test_a_controller_without_the_library_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refusal = refusal_of(StatePlace(tmp_path, "postgresql://u@h/d"))
    assert refusal.reason == "controller_memory_unusable"
    assert "psycopg" in refusal.found
    assert "requirements/controller.lock" in refusal.remedy


def test_whose_state_it_is_stays_out_of_sight(tmp_path):
    place = StatePlace(tmp_path, "postgresql://u@h/d", password=lambda: PASSWORD)
    assert PASSWORD not in repr(place)
