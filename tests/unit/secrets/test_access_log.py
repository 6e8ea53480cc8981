# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked for which secret: a line for each, in a chain that shows every change, by any number of processes."""

from __future__ import annotations

import os
import stat
import threading

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller, require_time
from safes import is_locked

ANN, BOB = (Caller(by, "ansible-1", "prod", "prod-1") for by in ("ann", "bob"))


@pytest.fixture
def log(tmp_path):
    return AccessLog(tmp_path / "state/access.jsonl")


def noted(log, clock, caller=ANN, name="database/main", **what):
    return log.note(caller, clock, operation="read", name=name, outcome="read", **what)


def test_a_line_says_who_when_what_and_from_where(log, clock):
    noted(log, clock, provider="vault", version="3", field="password", cached=True)
    (record,) = log.records()
    assert {**record, "timestamp": "", "prev_hash": ""} == {
        "by": "ann", "cached": True, "environment": "prod", "field": "password", "host": "prod-1", "name": "database/main",
        "operation": "read", "outcome": "read", "prev_hash": "", "provider": "vault", "reason": None, "run_id": "ansible-1", "seq": 0,
        "timestamp": "", "version": "3",
    }  # fmt: skip
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_it_is_asked_by_name_person_and_time(log, clock):
    times = []
    for caller, name in ((ANN, "a"), (BOB, "a"), (ANN, "b"), (BOB, "b")):
        times.append(noted(log, clock, caller, name)["timestamp"])
        clock.advance(60)
    assert [record["seq"] for record in log.found(name="a")] == [0, 1]
    assert [record["seq"] for record in log.found(by="bob")] == [1, 3]
    assert [record["seq"] for record in log.found(since=times[1], until=times[2])] == [1, 2]
    assert [record["seq"] for record in log.found(name="b", by="ann", since=times[2])] == [2]
    assert len(log.found()) == 4


def test_processes_at_the_same_time_make_one_chain(log, clock):
    threads = [threading.Thread(target=noted, args=(log, clock)) for _ in range(16)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    assert [record["seq"] for record in log.records()] == list(range(16))


def test_a_line_is_added_by_one_process_at_a_time(log, clock, monkeypatch):
    held, append = [], AccessLog.append

    def watched(self, record):
        held.append(is_locked(log.path.with_name(".access.jsonl.lock")))
        return append(self, record)

    monkeypatch.setattr(AccessLog, "append", watched)
    noted(log, clock)
    assert held == [True]


def test_a_changed_line_shows(log, clock):
    for name in "ab":
        noted(log, clock, name=name)
    log.path.write_bytes(log.path.read_bytes().replace(b'"ann"', b'"bob"', 1))
    with pytest.raises(Refusal) as refused:
        log.found()
    assert refused.value.reason == "access_log_altered"


def test_what_cannot_be_noted_is_refused(log, clock, syscalls):
    noted(log, clock)
    syscalls.fail("write", 28)
    with pytest.raises(Refusal) as refused:
        noted(log, clock)
    assert refused.value.reason == "disk_full"
    assert len(log.records()) == 1


def test_a_fifo_in_its_place_holds_nobody_up(log, clock):
    log.path.parent.mkdir()
    os.mkfifo(log.path)
    with pytest.raises(Refusal) as refused:
        noted(log, clock)
    assert refused.value.reason == "access_log_not_regular"


@pytest.mark.parametrize("text", ["yesterday", "2026-11-22", "2026-11-22T00:00:00", ""])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(Refusal, match="access_time_invalid"):
        require_time(text)
    assert require_time(None) is None
    assert require_time("2026-11-22T00:00:00Z") == "2026-11-22T00:00:00Z"
