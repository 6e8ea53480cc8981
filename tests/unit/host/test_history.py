# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what happened: a chain that shows every change, and that no crash can break."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.history import History, View
from ansible.module_utils.slipway.trust.chain import EMPTY_TREE, LINE_LIMIT, TAIL_BYTES, leaf_hash
from ansible.module_utils.slipway.trust.verify import Highest

runs = itertools.count(1)


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.jsonl")


def reason_of(call) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


def test_without_a_history_there_are_no_records(history):
    assert history.records() == []
    assert history.last() is None


def test_an_empty_history_has_no_records_either(history):
    history.path.touch()
    assert history.records() == []
    assert history.last() is None
    assert history.append({"n": 1})["seq"] == 0


def test_records_count_from_zero_and_each_names_the_one_before(history):
    written = [history.append({"n": number}) for number in range(3)]
    lines = history.path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert written == history.records() == [canonical.parse_canonical(line, what="a line") for line in lines]
    assert [record["seq"] for record in written] == [0, 1, 2]
    assert [record["prev_hash"] for record in written] == [EMPTY_TREE, *map(leaf_hash, lines[:2])]
    assert history.last() == written[-1]


def test_the_hashes_are_those_of_rfc_6962():
    # Section 2.1; the values are those of the reference log's own tests (an empty tree, and a leaf without bytes).
    assert EMPTY_TREE == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"") == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert leaf_hash(b"\x10") == hashlib.sha256(b"\x00\x10").hexdigest()


def test_a_record_that_claims_a_place_gets_its_own(history):
    assert history.append({"seq": 77, "prev_hash": "x"}) == {"seq": 0, "prev_hash": EMPTY_TREE}


def test_a_record_is_written_and_synced_and_for_a_new_file_the_directory_too(history, syscalls):
    history.append({"n": 1})
    assert syscalls.calls == [
        ("write", "history.jsonl"), ("fsync", "history.jsonl"), ("fsync", history.path.parent.name),
    ]  # fmt: skip
    syscalls.calls.clear()
    history.append({"n": 2})
    assert syscalls.calls == [("write", "history.jsonl"), ("fsync", "history.jsonl")]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_record_that_could_not_be_made_durable_is_cut_off_again(history, syscalls, call):
    history.append({"n": 1})
    before = history.path.read_bytes()
    syscalls.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        history.append({"n": 2})
    assert history.path.read_bytes() == before
    assert history.append({"n": 3})["seq"] == 1
    assert len(history.records()) == 2


def test_a_record_that_the_disk_took_in_part_is_cut_off_again(history, file_size_limit):
    history.append({"n": 1})
    before = history.path.read_bytes()
    file_size_limit(len(before) + 20)
    with pytest.raises(OSError, match="File too large"):
        history.append({"n": 2})
    assert history.path.read_bytes() == before


def test_every_torn_history_goes_on_from_its_last_whole_line(history):
    for number in range(2):
        history.append({"n": number})
    data = history.path.read_bytes()
    end = data.index(b"\n") + 1
    for length in (0, 1, 2, end - 2, end - 1, end, end + 1, end + 2, len(data) - 2, len(data) - 1, len(data)):
        history.path.write_bytes(data[:length])
        whole = data[:length].count(b"\n")
        torn = data[:length].rpartition(b"\n")[2]
        assert len(history.records()) == whole
        assert (history.last() or {"n": -1})["n"] == whole - 1
        added = history.append({"n": "added"})
        assert added["seq"] == whole
        assert history.records()[-1] == added
        assert ("torn_line" in added) == bool(torn)
        if torn:
            aside = history.path.with_name(added["torn_line"])
            assert aside.read_bytes() == torn
            aside.unlink()


def test_a_torn_line_is_kept_on_disk_before_it_is_cut_off(history, syscalls):
    history.append({"n": 1})
    with open(history.path, "ab") as stream:
        stream.write(b'{"n":2,')
    syscalls.calls.clear()
    history.append({"n": 3})
    order = [(call, name) for call, name in syscalls.calls if call in ("fsync", "ftruncate")]
    assert order == [
        ("fsync", "temporary"), ("fsync", history.path.parent.name), ("ftruncate", "history.jsonl"), ("fsync", "history.jsonl"),
    ]  # fmt: skip


def test_a_torn_line_that_cannot_be_kept_is_not_cut_off(history, syscalls):
    history.path.write_bytes(b'{"torn')
    syscalls.fail("fsync", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        history.append({"n": 1})
    assert history.path.read_bytes() == b'{"torn'


def bent(lines: list[bytes], how: str) -> list[bytes]:
    """The three lines of a history after somebody was at them."""
    first, second, third = lines
    return {
        "a changed byte": [first, second.replace(b'"n":1', b'"n":7'), third],
        "a dropped line": [first, third],
        "a dropped first line": [second, third],
        "swapped lines": [first, third, second],
        "a doubled line": [first, second, second, third],
        "an inserted line": [first, canonical.encode({"n": 9, "prev_hash": leaf_hash(first), "seq": 1}), second, third],
        "a line in another spelling": [first, second.replace(b":", b": "), third],
        "an empty line": [first, b"", second, third],
        "noise": [first, b"\xff\xfe", third],
        "a list": [first, b"[]", third],
        "a line without its place": [b'{"n":0}', second, third],
        "a place that is true": [first.replace(b'"seq":0', b'"seq":false'), second, third],
        "a member twice": [first, second[:-1] + b',"seq":1}', third],
    }[how]


@pytest.mark.parametrize(
    "how",
    ["a changed byte", "a dropped line", "a dropped first line", "swapped lines", "a doubled line", "an inserted line",
     "a line in another spelling", "an empty line", "noise", "a list", "a line without its place", "a place that is true",
     "a member twice"],
)  # fmt: skip
def test_a_history_that_was_altered_shows_it(history, how):
    for number in range(3):
        history.append({"n": number})
    lines = history.path.read_bytes().splitlines()
    history.path.write_bytes(b"\n".join(bent(lines, how)) + b"\n")
    assert reason_of(history.records) == "history_altered"


def test_a_chain_that_hangs_together_but_counts_wrongly_is_altered(history):
    first = canonical.encode({"prev_hash": EMPTY_TREE, "seq": 0})
    history.path.write_bytes(first + b"\n" + canonical.encode({"prev_hash": leaf_hash(first), "seq": 2}) + b"\n")
    assert reason_of(history.records) == "history_altered"


@pytest.mark.parametrize("line", [b"garbage", b"[]", b'{"n":1}', b'{"n":1,"seq":"1"}', b'{"n":1,"seq":true}', b""])
def test_nothing_is_appended_to_a_last_line_that_is_no_record(history, line):
    history.append({"n": 1})
    with open(history.path, "ab") as stream:
        stream.write(line + b"\n")
    before = history.path.read_bytes()
    assert reason_of(history.last) == "history_altered"
    assert reason_of(lambda: history.append({"n": 2})) == "history_altered"
    assert history.path.read_bytes() == before


@pytest.mark.parametrize("size", [100, TAIL_BYTES - 200, TAIL_BYTES, 3 * TAIL_BYTES, LINE_LIMIT - 200])
def test_the_last_record_is_found_whatever_its_length(history, size):
    for number in range(3):
        history.append({"n": number, "message": "x" * size})
    assert history.last()["n"] == 2
    assert [record["n"] for record in history.records()] == [0, 1, 2]
    with open(history.path, "ab") as stream:
        stream.write(b"y" * size)
    assert history.last()["n"] == 2


def test_the_last_record_costs_the_same_however_long_the_history_is(history, monkeypatch):
    with open(history.path, "wb") as stream:
        for number in range(5000):
            stream.write(canonical.encode({"message": "x" * 100, "n": number, "seq": number}) + b"\n")
    read, real_read = [], os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, size, at: read.append(size) or real_read(descriptor, size, at))
    assert history.last()["n"] == 4999
    assert read == [TAIL_BYTES]


def test_noise_without_any_line_is_not_taken_for_a_torn_one(history):
    with open(history.path, "wb") as stream:
        stream.truncate(9 * LINE_LIMIT)
    assert reason_of(lambda: history.append({"n": 1})) == "history_altered"
    assert history.path.stat().st_size == 9 * LINE_LIMIT


def test_a_history_longer_than_any_is_refused(history, monkeypatch):
    history.append({"n": 1})
    monkeypatch.setattr("ansible.module_utils.slipway.host.history.HISTORY_LIMIT", 50)
    assert reason_of(history.records) == "history_too_large"


@pytest.mark.parametrize("call", [History.records, History.last, lambda history: history.append({"n": 1})])
def test_a_fifo_in_place_of_a_history_blocks_nobody(history, call):
    os.mkfifo(history.path)
    assert reason_of(lambda: call(history)) == "history_not_regular"


def test_a_record_is_not_written_through_a_link(history, tmp_path):
    history.path.symlink_to("elsewhere")
    assert reason_of(lambda: history.append({"n": 1})) == "history_not_regular"
    assert not (tmp_path / "elsewhere").exists()


def record(status: str, release: str, previous: str | None, **changes):
    """A record of a deploy that ended as one does."""
    kept = status == "success"
    return {
        "status": status, "release_id": release, "previous_release_id": previous, "rollback": not kept,
        "active_release_id": release if kept else previous, "run_id": f"run_{next(runs)}", "reason": None if kept else "health_failed",
        "operation": "deploy", "manifest_digest": f"digest of {release}", **changes,
    }  # fmt: skip


def rollback(release: str, previous: str, **changes):
    return record("success", release, previous, **{"rollback": True, "operation": "rollback", **changes})


def test_a_new_host_has_no_view():
    assert View.of([]) == View()
    assert View().previous(None, ["v1"]) is None


def test_releases_become_active_in_order():
    view = View.of([record("success", "v1", None), record("success", "v2", "v1")])
    assert view.activations == ("v1", "v2")
    assert (view.last_good, view.last_success["release_id"], dict(view.bad)) == ("v2", "v2", {})
    assert view.previous("v2", ["v1", "v2"]) == "v1"


def test_the_mark_is_the_newest_release_that_a_deployment_brought_with_success():
    records = [
        record("success", "v1", None, sequence=10),
        record("rolled_back", "v4", "v1", sequence=40),
        record("success", "v3", "v1", sequence=30),
        record("success", "v2", "v3", sequence=20),
        rollback("v9", "v2", sequence=90),
    ]
    assert View.of(records).highest == Highest(30, "digest of v3")
    assert View.of(records[:1]).highest == Highest(10, "digest of v1")


def test_a_release_that_failed_its_health_is_bad_and_the_one_before_is_good():
    view = View.of([record("success", "v1", None), record("rolled_back", "v2", "v1")])
    assert view.bad == {"v2": "health_failed"}
    assert (view.last_good, view.last_success["release_id"], view.newest["release_id"]) == ("v1", "v1", "v2")
    assert view.activations == ("v1",)


def test_a_release_that_was_taken_back_is_bad_and_says_by_which_run():
    view = View.of([record("success", "v1", None), record("success", "v2", "v1"), rollback("v1", "v2", run_id="run_x")])
    assert view.bad == {"v2": "taken back by run run_x"}
    assert (view.last_good, view.last_success["release_id"]) == ("v1", "v2")
    assert view.previous("v1", ["v1", "v2"]) is None


def test_going_back_twice_goes_back_two_releases():
    records = [record("success", f"v{n}", f"v{n - 1}" if n > 1 else None) for n in (1, 2, 3)]
    records += [rollback("v2", "v3"), rollback("v1", "v2")]
    view = View.of(records)
    assert set(view.bad) == {"v2", "v3"}
    assert view.last_good == "v1"


def test_a_bad_release_that_succeeds_after_all_is_good_again():
    view = View.of([record("success", "v1", None), record("rolled_back", "v2", "v1"), record("success", "v2", "v1")])
    assert (dict(view.bad), view.last_good) == ({}, "v2")


def test_a_crash_is_not_the_releases_fault():
    view = View.of([record("success", "v1", None), record("interrupted", "v2", "v1")])
    assert dict(view.bad) == {}
    assert view.last_good == "v1"


def test_a_release_that_failed_before_its_switch_is_not_bad():
    view = View.of([record("success", "v1", None), record("failed", "v2", "v1")])
    assert dict(view.bad) == {}


def test_a_release_that_stays_since_there_is_no_way_back_is_bad_all_the_same():
    view = View.of([record("success", "v1", None), record("failed", "v2", "v1", active_release_id="v2")])
    assert view.bad == {"v2": "health_failed"}
    assert view.last_good == "v1"


@pytest.mark.parametrize("status", ["failed", "rolled_back"])
def test_a_release_that_was_active_before_does_not_become_bad_by_a_restart_that_failed(status):
    view = View.of([record("success", "v1", None), record(status, "v1", "v1", active_release_id="v1")])
    assert dict(view.bad) == {}


def test_a_rollback_to_the_same_release_makes_nothing_bad():
    assert dict(View.of([record("success", "v1", None), rollback("v1", "v1")]).bad) == {}


def test_a_rollback_from_nothing_makes_nothing_bad():
    assert dict(View.of([rollback("v1", None)]).bad) == {}


def test_the_way_back_leads_to_what_is_still_here():
    view = View.of([record("success", f"v{n}", None) for n in (1, 2, 3)])
    assert view.previous("v3", ["v1", "v3"]) == "v1"
    assert view.previous("v3", ["v3"]) is None


def test_where_nothing_is_active_the_way_back_leads_to_the_newest_good_release():
    view = View.of([record("success", "v1", None), record("success", "v2", "v1")])
    assert view.previous(None, ["v1", "v2"]) == "v2"
