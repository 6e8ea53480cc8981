# SPDX-License-Identifier: GPL-3.0-or-later
"""The access log of several controllers: one chain, whoever writes, and no access without its line."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.access_table import AccessTable
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from test_state_database import do, in_processes

ANN = Caller("ann", "ansible-1", "prod", "prod-1")


@pytest.fixture
def place(postgres, tmp_path):
    return postgres.place(tmp_path / "state", postgres.new())


def table(place, announce=pytest.fail):
    return AccessTable(place.directory / "access.jsonl", place=place, announce=announce)


def note(log, clock, name="database/main"):
    return log.note(ANN, clock, operation="read", name=name, outcome="read")


def test_a_line_is_that_of_the_file_and_continues_the_one_before(place, clock, tmp_path):
    log, file = table(place), AccessLog(tmp_path / "access.jsonl")
    for name in "ab":
        assert note(log, clock, name) == note(file, clock, name)
    assert log.content() == file.content()
    assert log.records() == file.records()
    assert log.last() == file.last()
    assert [record["name"] for record in log.found(name="b")] == ["b"]
    assert not log.path.exists()


def test_an_empty_log_has_no_last_line(place):
    assert (table(place).last(), table(place).records()) == (None, [])


def test_controllers_that_write_at_once_make_one_chain(place, clock):
    def work(number):
        return [note(table(place), clock, f"{number}")["seq"] for _ in range(5)]

    written = [seq for each in in_processes(4, work) for seq in each]
    assert sorted(written) == list(range(20))
    assert [record["seq"] for record in table(place).records()] == list(range(20))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accesses SET line = replace(line, 'ann', 'bob') WHERE seq = 0",
        "DELETE FROM accesses WHERE seq = 1",
        "UPDATE accesses SET line = 'x' WHERE seq = 2",
    ],
)
def test_a_line_that_was_changed_shows(place, clock, change):
    for name in "abc":
        note(table(place), clock, name)
    do(place, change)
    with pytest.raises(Refusal) as caught:
        table(place).found()
    assert caught.value.reason == "access_log_altered"
    assert str(place) in caught.value.expected


def test_without_the_database_there_is_no_line_and_so_no_access(place, clock, postgres):
    note(table(place), clock)
    postgres.stop()
    with pytest.raises(Refusal) as caught:
        note(table(place), clock)
    assert caught.value.reason == "controller_memory_unusable"
    assert not (place.directory / "access.jsonl").exists()


def test_told_to_go_on_without_it_the_line_is_in_the_file_and_that_is_said(place, clock, postgres):
    postgres.stop()
    said = []
    note(table(place.dispensable(), said.append), clock, "api/key")
    assert "access.jsonl of this controller alone" in said[0]
    assert [record["name"] for record in AccessLog(place.directory / "access.jsonl").records()] == ["api/key"]


def test_what_is_wrong_tomorrow_too_is_not_gone_on_without(place, clock):
    note(table(place), clock)
    do(place, "UPDATE slipway_schema SET version = 99")
    with pytest.raises(Refusal) as caught:
        note(table(place.dispensable()), clock)
    assert caught.value.reason == "format_unknown"
