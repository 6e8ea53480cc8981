# SPDX-License-Identifier: GPL-3.0-or-later
"""The open transaction: whatever moment the power goes, the next one reads what was acknowledged and no more."""

from __future__ import annotations

import errno
import os

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.journal import FORMAT, JOURNAL_LIMIT, Journal, Transaction

INTENT = {"id": "t1", "run": {"run_id": "run_1"}, "release_id": "v2", "previous_release_id": "v1"}


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "journal.jsonl")


@pytest.fixture
def switched(journal):
    """The journal of a transaction that has switched; returns the transaction."""
    return journal.reach(journal.open(INTENT), "switched", switch_ms=12)


def reason_of(call) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


def test_without_a_journal_nothing_is_open(journal):
    assert journal.read() is None


def test_an_opened_transaction_is_read_back(journal):
    transaction = journal.open(INTENT)
    assert journal.read() == transaction == Transaction({**INTENT, "format": FORMAT})
    assert (transaction.id, transaction.run_id) == ("t1", "run_1")
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_an_intent_is_on_disk_with_its_name_before_anything_is_done_under_it(journal, syscalls):
    journal.open(INTENT)
    assert [call for call in syscalls.calls if call[0] in ("fsync", "rename")] == [
        ("fsync", "temporary"), ("rename", "journal.jsonl"), ("fsync", journal.path.parent.name),
    ]  # fmt: skip


def test_a_step_is_written_in_one_go_and_on_disk_before_the_next_thing_is_done(journal, syscalls):
    transaction = journal.open(INTENT)
    syscalls.calls.clear()
    journal.reach(transaction, "switched")
    assert [name for name, _ in syscalls.calls if name != "ftruncate"] == ["write", "fsync"]
    assert {name for _, name in syscalls.calls} == {"journal.jsonl"}


def test_steps_are_read_back_in_order_with_their_details(journal, switched):
    transaction = journal.reach(switched, "reverting")
    assert journal.read() == transaction
    assert transaction.steps == ({"step": "switched", "switch_ms": 12}, {"step": "reverting"})
    assert transaction.reached("switched")
    assert not transaction.reached("confirmed")
    assert transaction.details("switched") == {"step": "switched", "switch_ms": 12}
    assert transaction.details("confirmed") == {}


def test_of_a_step_reached_twice_the_newest_details_count(journal, switched):
    assert journal.reach(switched, "switched", switch_ms=99).details("switched")["switch_ms"] == 99


def test_a_closed_journal_is_gone_from_disk(journal, switched, syscalls):
    journal.close()
    assert journal.read() is None
    assert syscalls.calls == [("unlink", "journal.jsonl"), ("fsync", journal.path.parent.name)]


def test_a_step_without_a_journal_fails(journal):
    with pytest.raises(FileNotFoundError):
        journal.reach(Transaction(INTENT), "switched")
    assert not journal.path.exists()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_step_that_could_not_be_made_durable_was_not_reached(journal, switched, syscalls, call):
    syscalls.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        journal.reach(switched, "confirmed")
    assert journal.read() == switched


def test_a_step_that_the_disk_took_in_part_is_cut_off_again(journal, switched, file_size_limit):
    before = journal.path.read_bytes()
    file_size_limit(len(before) + 5)
    with pytest.raises(OSError, match="File too large"):
        journal.reach(switched, "confirmed")
    assert journal.path.read_bytes() == before


def test_every_torn_journal_is_read_as_what_was_acknowledged(journal, switched):
    journal.reach(switched, "confirmed", confirmed_by="anna")
    data = journal.path.read_bytes()
    for length in range(len(data) + 1):
        journal.path.write_bytes(data[:length])
        found = journal.read()
        assert (0 if found is None else 1 + len(found.steps)) == data[:length].count(b"\n")


def test_a_step_after_a_torn_line_does_not_join_it(journal, switched):
    with open(journal.path, "ab") as stream:
        stream.write(b'{"confirmed_by":"anna","st')
    found = journal.read()
    assert found == switched
    assert journal.read() == switched
    assert journal.reach(found, "reverting") == journal.read()


def test_a_crash_may_tear_the_same_journal_again_and_again(journal, switched):
    for round_ in range(1, 4):
        with open(journal.path, "ab") as stream:
            stream.write(b'{"step":"reve')
        journal.reach(journal.read(), "reverting")
        assert len(journal.read().steps) == 1 + round_


UNREADABLE = {
    "no JSON": b"garbage\n",
    "an empty line": b"\n",
    "NULs, as some file systems leave": b"\0" * 40 + b"\n",
    "white space": b'{ "format":1}\n',
    "a list": b"[]\n",
    "a step that is a list": canonical.encode({**INTENT, "format": 1}) + b"\n[]\n",
    "a line that is no step": canonical.encode({**INTENT, "format": 1}) + b'\n{"stepp":"switched"}\n',
    "a torn line in the middle": canonical.encode({**INTENT, "format": 1}) + b'\n{"step":"swit\n{"step":"confirmed"}\n',
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_journal_that_we_did_not_write_so_is_refused_and_kept(journal, data):
    journal.path.write_bytes(data)
    assert reason_of(journal.read) == "journal_unreadable"
    assert journal.path.read_bytes() == data


@pytest.mark.parametrize("intent", [{**INTENT, "format": FORMAT + 1}, INTENT], ids=["newer", "none"])
def test_a_journal_in_another_format_is_refused(journal, intent):
    journal.path.write_bytes(canonical.encode(intent) + b"\n")
    assert reason_of(journal.read) == "format_unknown"


def test_a_journal_longer_than_any_is_refused(journal):
    with open(journal.path, "wb") as stream:
        stream.truncate(JOURNAL_LIMIT + 1)
    assert reason_of(journal.read) == "journal_too_large"


@pytest.mark.parametrize("call", [Journal.read, lambda journal: journal.reach(Transaction(INTENT), "switched")])
def test_a_fifo_in_place_of_a_journal_blocks_nobody(journal, call):
    os.mkfifo(journal.path)
    assert reason_of(lambda: call(journal)) == "journal_not_regular"


def test_a_step_is_not_written_through_a_link(journal, tmp_path):
    (tmp_path / "target").write_bytes(b"")
    journal.path.symlink_to("target")
    assert reason_of(lambda: journal.reach(Transaction(INTENT), "switched")) == "journal_not_regular"
    assert (tmp_path / "target").read_bytes() == b""
