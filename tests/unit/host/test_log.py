# SPDX-License-Identifier: GPL-3.0-or-later
"""A history that its host signs: each record is covered, nothing that contradicts what was signed ever is."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.host.log import (
    MAX_SIZES,
    Log,
    ensure_history_key,
    load_history_key,
    sizes_of,
    tree_of,
    witnessed_size,
)
from ansible.module_utils.slipway.trust import checkpoint, merkle
from ansible.module_utils.slipway.trust.chain import EMPTY_TREE, leaf_hash
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.merkle import verify_consistency, verify_inclusion
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from faults import calls

OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def log(prepare):
    return Log(prepare("shop"))


@pytest.fixture
def three(log):
    """A log of three records, signed after each."""
    for number in range(3):
        grow(log, number)
    return log


def grow(log, number=0, **more):
    log.history.append({"n": number, **more})
    log.sign()


def key_of(log) -> PublicKey:
    return PublicKey.of(load_history_key(log.places.host))


def kept(log) -> checkpoint.Checkpoint:
    return checkpoint.verify(log.places.checkpoint.read_bytes(), key=key_of(log), origin=log.origin)


def reason_of(call) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


def lines_of(log) -> list[bytes]:
    return log.places.history.read_bytes().splitlines()


def write(log, lines) -> None:
    log.places.history.write_bytes(b"".join(line + b"\n" for line in lines))


def chained(records) -> list[bytes]:
    """Lines as Slipway writes them, whatever stood there before."""
    lines, before = [], EMPTY_TREE
    for seq, record in enumerate(records):
        lines.append(canonical.encode({**record, "seq": seq, "prev_hash": before}))
        before = leaf_hash(lines[-1])
    return lines


# the key


def test_a_host_makes_its_key_once_and_only_root_can_read_it(host):
    assert load_history_key(host) is None
    made = ensure_history_key(host)
    assert stat.S_IMODE(host.history_key.stat().st_mode) == 0o600
    before = host.history_key.read_bytes()
    assert PublicKey.of(ensure_history_key(host)) == PublicKey.of(load_history_key(host)) == PublicKey.of(made)
    assert host.history_key.read_bytes() == before


def test_two_applications_that_need_the_first_key_at_once_get_the_same(host):
    found, start = [], threading.Barrier(8)

    def makes():
        start.wait()
        found.append(PublicKey.of(ensure_history_key(host)))

    threads = [threading.Thread(target=makes) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {PublicKey.of(load_history_key(host))}


def test_a_key_that_was_cut_off_while_it_was_made_is_made_anew(host):
    number = 0
    while calls.die_at(number, lambda: ensure_history_key(host)):
        ensure_history_key(host)
        assert [path.name for path in host.states.iterdir()] == ["history-key.pem"]
        host.history_key.unlink()
        number += 1
    assert number > 3


def test_a_key_that_others_may_read_is_refused_and_not_replaced(log):
    grow(log)
    log.places.host.history_key.chmod(0o644)
    assert reason_of(log.sign) == "key_exposed"
    log.places.host.history_key.chmod(0o600)
    log.places.host.history_key.write_bytes(b"damaged")
    assert reason_of(log.sign) == "key_invalid"
    assert log.judge()["outcome"] == "altered"


# signing


def test_each_record_is_covered_by_a_checkpoint_that_anybody_can_check(log):
    for number in range(9):
        grow(log, number)
        signed = kept(log)
        assert signed.size == number + 1
        assert signed.root == tree_of(lines_of(log)).root()
        assert signed.origin == f"slipway/{log.places.host.identity().id}/shop"
    assert stat.S_IMODE(log.places.checkpoint.stat().st_mode) == 0o644


def test_a_history_without_records_needs_no_checkpoint_on_disk(log):
    log.sign()
    assert not log.places.checkpoint.exists()


def test_signing_twice_changes_nothing(three):
    before = three.places.checkpoint.read_bytes(), three.places.checkpoint.stat().st_ino
    three.sign()
    assert before == (three.places.checkpoint.read_bytes(), three.places.checkpoint.stat().st_ino)


def test_a_history_from_before_there_were_checkpoints_is_signed_whole(log):
    for number in range(5):
        log.history.append({"n": number})
    log.sign()
    assert kept(log).size == 5


def test_a_checkpoint_that_a_crash_left_behind_is_caught_up(three):
    for number in range(4):
        three.history.append({"n": number})
    found = three.judge(since=2)
    assert found["outcome"] == "intact"
    assert found["detail"] == "7 records, 4 of them after the newest checkpoint"
    three.sign()
    assert kept(three).size == 7
    assert kept(three).root == tree_of(lines_of(three)).root()


def test_appending_reads_no_more_of_a_long_history_than_of_a_short_one(log, monkeypatch):
    for number in range(40):
        grow(log, number)
    monkeypatch.setattr(History, "lines", lambda _self: pytest.fail("the whole history was read"))
    grow(log, 40)
    assert kept(log).size == 41


@pytest.mark.parametrize(
    "cache",
    [None, b"", b"garbage", b"[]", b'{"hashes":[],"size":3}', b'{"hashes":["00","00"],"size":3}', b'{"hashes":[],"size":0}', b'{"size":3}',
     b'{"hashes":["%s","%s"],"size":3}' % (b"00" * 32, b"00" * 32), b"x" * 20_000, "fifo", "link"],
)  # fmt: skip
def test_a_tree_that_is_lost_old_or_false_is_computed_again(three, cache):
    path = three.places.history_tree
    path.unlink()
    if cache == "fifo":
        os.mkfifo(path)
    elif cache == "link":
        path.symlink_to("/dev/zero")
    elif cache is not None:
        path.write_bytes(cache)
    grow(three, 3)
    assert kept(three).root == tree_of(lines_of(three)).root()


def test_a_tree_of_another_time_is_not_believed(three):
    old = three.places.history_tree.read_bytes()
    grow(three, 3)
    three.places.history_tree.write_bytes(old)
    grow(three, 4)
    assert kept(three).root == tree_of(lines_of(three)).root()


def test_a_tree_that_cannot_be_kept_spoils_nothing(three, monkeypatch):
    three.places.history_tree.unlink()
    three.places.history_tree.mkdir()
    grow(three, 3)
    assert kept(three).size == 4


@pytest.mark.parametrize("left", [0, 1, 2])
def test_no_checkpoint_is_signed_over_a_history_that_lost_records(three, left):
    before = three.places.checkpoint.read_bytes()
    write(three, lines_of(three)[:left])
    assert reason_of(three.sign) == "history_truncated"
    assert three.places.checkpoint.read_bytes() == before


def test_no_checkpoint_is_signed_over_a_history_that_lost_records_and_grew_again(three):
    lines = lines_of(three)
    write(three, lines[:2])
    for number in range(3):
        three.history.append({"n": 10 + number})
    before = three.places.checkpoint.read_bytes()
    assert reason_of(three.sign) == "history_altered"
    assert three.places.checkpoint.read_bytes() == before


def test_no_checkpoint_is_signed_over_a_history_whose_chain_was_recomputed(three):
    write(three, chained([{"n": 0}, {"n": "changed"}, {"n": 2}, {"n": 3}]))
    three.places.history_tree.unlink()
    assert three.history.records()
    assert reason_of(three.sign) == "history_altered"


def test_no_checkpoint_is_signed_over_a_chain_that_is_broken(three):
    lines = lines_of(three)
    write(three, [*lines, canonical.encode({"n": 9, "prev_hash": "00" * 32, "seq": 3})])
    three.places.history_tree.unlink()
    assert reason_of(three.sign) == "history_altered"


@pytest.mark.parametrize("how", ["edited", "recomputed", "forked", "replaced"])
def test_a_history_that_goes_on_well_but_was_changed_before_is_not_sound(three, how):
    three.require_sound()
    write(three, altered(lines_of(three), how))
    if how == "edited":
        three.sign()  # the end is as it was signed; only a look at all of it shows
    assert reason_of(three.require_sound) == "history_altered"


def test_a_last_line_that_claims_a_far_place_is_not_signed(three):
    write(three, [*lines_of(three), canonical.encode({"prev_hash": leaf_hash(lines_of(three)[-1]), "seq": 99})])
    assert reason_of(three.sign) == "history_altered"


@pytest.mark.parametrize("data", [b"", b"garbage\n", None])
def test_a_checkpoint_that_was_damaged_is_not_signed_over(three, data):
    kept_before = three.places.checkpoint.read_bytes()
    damaged = kept_before.replace(b"\n3\n", b"\n2\n") if data is None else data
    three.places.checkpoint.write_bytes(damaged)
    three.history.append({"n": 3})
    assert reason_of(three.sign) in ("note_malformed", "note_signature_invalid")
    assert three.places.checkpoint.read_bytes() == damaged
    assert three.judge()["outcome"] == "altered"


def test_a_new_key_signs_what_is_there_and_says_nothing_of_the_past(three):
    three.places.host.history_key.unlink()
    found = three.judge()
    assert (found["outcome"], found["key"]) == ("altered", None)
    assert found["detail"].startswith("history_key_missing")
    ensure_history_key(three.places.host)
    found = three.judge()
    assert (found["outcome"], found["detail"].partition(":")[0]) == ("altered", "checkpoint_signature_unknown")
    three.sign()
    assert kept(three).size == 3
    assert three.judge()["outcome"] == "intact"


def test_a_host_with_a_new_identity_begins_to_sign_anew(three):
    path = three.places.host.configuration / "host.json"
    path.write_bytes(path.read_bytes().replace(b"7f3a1c52", b"11111111"))
    assert three.judge()["detail"].startswith("checkpoint_of_another_log")
    three.sign()
    assert kept(three).origin.startswith("slipway/11111111-")


def test_the_record_is_durable_before_it_is_signed_and_the_checkpoint_before_it_counts(three, syscalls):
    three.history.append({"n": 3})
    three.sign()
    durable = [(call, name) for call, name in syscalls.calls if call in ("fsync", "rename")]
    assert durable == [
        ("fsync", "history.jsonl"), ("fsync", "temporary"), ("rename", "checkpoint"), ("fsync", "shop"),
    ]  # fmt: skip


@pytest.mark.parametrize("given", [0, 1, 3])
def test_a_record_and_its_checkpoint_that_are_killed_anywhere_are_settled_by_the_next(log, tmp_path, given):
    for number in range(given):
        grow(log, number)
    template, state = tmp_path / "template", log.places.host.states
    calls.copy(state, template)
    number, sizes = 0, set()
    while calls.die_at(number, lambda: grow(log, "killed")):
        found = log.judge(each=dict)
        assert found["outcome"] in ("intact", "torn")
        sizes.add((found["size"], kept(log).size if log.places.checkpoint.exists() else 0))
        grow(log, "after")
        assert kept(log).root == tree_of(lines_of(log)).root()
        assert log.judge(each=dict)["outcome"] in ("intact", "torn")
        calls.copy(template, state)
        number += 1
    assert sizes == {(given, given), (given + 1, given), (given + 1, given + 1)}


@pytest.mark.parametrize("fault", [calls.fail_once, calls.full_from])
def test_a_disk_that_is_full_at_any_moment_never_leaves_a_checkpoint_ahead_of_its_records(three, tmp_path, fault):
    template, state = tmp_path / "template", three.places.host.states
    calls.copy(state, template)
    number, ended = 0, []
    while True:
        with fault(number).installed() as counted:
            try:
                grow(three, "full")
                ended.append(0)
            except OSError as error:
                ended.append(error.errno)
        assert three.judge(each=dict)["outcome"] in ("intact", "torn")
        grow(three, "after")
        assert kept(three).root == tree_of(lines_of(three)).root()
        calls.copy(template, state)
        if len(counted.names) <= number:
            break
        number += 1
    assert set(ended) == {0, errno.ENOSPC}


# looking


def test_an_intact_history_is_intact_to_the_last_figure(three):
    lines = lines_of(three)
    tree = tree_of(lines)
    assert three.judge(since=2, sizes=[0, 1, 2, 3, 4], each=dict) == {
        "outcome": "intact", "detail": "3 records", "size": 3, "root": tree.root().hex(),
        "roots": {str(size): tree.root(size).hex() for size in range(4)}, "checkpoint": three.places.checkpoint.read_text(),
        "key": key_of(three).hex, "consistency": merkle.as_hex(tree.consistency_proof(2)), "torn": [],
    }  # fmt: skip


def test_looking_signs_nothing_and_makes_no_key(log):
    found = log.judge(since=0)
    assert (found["outcome"], found["key"], found["checkpoint"]) == ("intact", None, None)
    log.history.append({"n": 1})
    found = log.judge(since=0)
    assert (found["outcome"], found["size"], found["key"], found["checkpoint"]) == ("intact", 1, None, None)
    assert found["detail"] == "1 records, and no checkpoint yet: the next exchange that changes something signs one"
    assert [path.name for path in log.places.host.states.iterdir()] == ["shop"]
    assert [path.name for path in log.places.state.iterdir()] == ["history.jsonl"]


def test_an_empty_history_says_so_under_the_hosts_key(log):
    ensure_history_key(log.places.host)
    found = log.judge()
    said = checkpoint.verify(found["checkpoint"].encode(), key=key_of(log), origin=log.origin)
    assert (said.size, said.root) == (0, merkle.EMPTY_ROOT)
    assert not log.places.checkpoint.exists()


def test_the_proof_leads_from_every_witnessed_size_to_the_checkpoint(log):
    for number in range(20):
        grow(log, number)
    tree, signed = tree_of(lines_of(log)), kept(log)
    for since in range(21):
        proof = merkle.from_hex(log.answer(since)["consistency"], what="a proof")
        verify_consistency(old_size=since, old_root=tree.root(since), size=20, root=signed.root, proof=proof)
    assert log.answer(None)["consistency"] == log.answer(20)["consistency"] == log.answer(21)["consistency"] == []
    assert "roots" not in log.answer(None)


def altered(lines: list[bytes], how: str) -> list[bytes]:
    first, second, third = lines
    records = [json.loads(line) for line in lines]
    return {
        "edited": [first, second.replace(b'"n":1', b'"n":7'), third],
        "dropped": [first, third],
        "swapped": [first, third, second],
        "inserted": [first, canonical.encode({"n": 9, "prev_hash": leaf_hash(first), "seq": 1}), second, third],
        "doubled": [first, second, second, third],
        "recomputed": chained([records[0], {**records[1], "n": 7}, records[2]]),
        "forked": chained([*records[:2], {"n": "another"}, {"n": "and more"}]),
        "replaced": chained([{"n": "all"}, {"n": "is"}, {"n": "new"}]),
        "duplicate seq": [first, second, third, canonical.encode({"prev_hash": leaf_hash(third), "seq": 2})],
        "a foreign line at the end": [first, second, third, b"garbage"],
    }[how]


HOW = ["edited", "dropped", "swapped", "inserted", "doubled", "recomputed", "forked", "replaced", "duplicate seq",
       "a foreign line at the end"]  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_a_history_that_is_not_what_was_signed_is_altered(three, how):
    lines = lines_of(three)
    write(three, altered(lines, how))
    found = three.judge(sizes=[1, 2, 3], each=dict)
    assert found["outcome"] == "altered"
    assert found["detail"].startswith("history_altered")
    assert (found["size"], found["consistency"]) == (len(altered(lines, how)), [])
    assert (found["roots"]["1"] == tree_of(lines).root(1).hex()) == (how != "replaced")


@pytest.mark.parametrize("how", ["recomputed", "forked", "replaced"])
def test_a_history_that_was_recomputed_shows_in_every_exchange(three, how):
    """Without a strict parse of every line: hashing them is enough, since they were signed."""
    write(three, altered(lines_of(three), how))
    assert three.answer(1)["outcome"] == "altered"


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_history_that_has_fewer_records_than_were_signed_is_truncated(three, left):
    write(three, lines_of(three)[:left])
    found = three.judge(since=1, each=dict)
    assert (found["outcome"], found["size"], found["consistency"]) == ("truncated", left, [])
    assert found["checkpoint"] == three.places.checkpoint.read_text()


def test_a_history_that_is_gone_is_truncated(three):
    three.places.history.unlink()
    assert three.judge()["outcome"] == "truncated"


def test_a_checkpoint_of_another_host_or_application_is_no_statement_of_this_one(three):
    root = kept(three).root
    for origin in ("slipway/another-host/shop", f"{three.origin}-2"):
        said = checkpoint.Checkpoint(origin, 3, root).sign(load_history_key(three.places.host))
        three.places.checkpoint.write_bytes(said)
        found = three.judge()
        assert (found["outcome"], found["detail"].partition(":")[0]) == ("altered", "checkpoint_of_another_log")


def test_a_checkpoint_that_another_key_signed_is_no_statement_of_this_host(three):
    three.places.checkpoint.write_bytes(kept(three).sign(OTHER))
    assert three.judge()["detail"].startswith("checkpoint_signature_unknown")


def test_a_torn_last_line_is_told_and_later_where_it_was_set_aside(three):
    with open(three.places.history, "ab") as stream:
        stream.write(b'{"torn')
    found = three.judge(each=dict)
    assert (found["outcome"], found["size"], found["torn"]) == ("torn", 3, [])
    assert found["detail"] == "3 records; 6 bytes of a last line that was cut off"
    grow(three, 3)
    found = three.judge(each=dict)
    (name,) = found["torn"]
    assert (found["outcome"], found["size"], kept(three).size) == ("torn", 4, 4)
    assert found["detail"] == f"4 records; {name}, set aside and recorded"
    assert three.places.history.with_name(name).read_bytes() == b'{"torn'


def test_a_message_that_speaks_of_torn_lines_is_none(three):
    grow(three, 3, message='"torn_line":"x"', inner={"torn_line": "x"}, torn_line=7)
    assert three.judge()["outcome"] == "intact"


@pytest.mark.parametrize("thing", ["fifo", "link", "directory", "noise", "too large"])
@pytest.mark.parametrize("which", ["history", "checkpoint"])
def test_whatever_stands_there_is_an_answer_and_blocks_nobody(three, which, thing, monkeypatch):
    path = getattr(three.places, which)
    path.unlink()
    if thing == "fifo":
        os.mkfifo(path)
    elif thing == "link":
        path.symlink_to("/dev/zero")
    elif thing == "directory":
        path.mkdir()
    elif thing == "noise":
        path.write_bytes(bytes(range(256)) * 3)
    else:
        monkeypatch.setattr("ansible.module_utils.slipway.host.history.HISTORY_LIMIT", 100_000)
        path.write_bytes(b"x" * 100_001)
    found = three.judge(each=dict)
    assert found["outcome"] in ("altered", "truncated")
    assert json.loads(json.dumps(found)) == found


# proving


def test_a_record_is_proven_with_nothing_of_ours(three):
    proof = three.prove([1])
    (line,) = proof["lines"]
    assert set(line) == {"seq", "line", "inclusion", "size"}
    assert (line["seq"], line["line"].encode()) == (1, lines_of(three)[1])
    signed = checkpoint.verify(proof["checkpoint"].encode(), key=PublicKey.from_hex(proof["key"]))
    hashes = merkle.from_hex(line["inclusion"], what="a proof")
    leaf = merkle.leaf_hash(line["line"].encode())
    verify_inclusion(leaf=leaf, index=1, size=line["size"], proof=hashes, root=signed.root)


def test_a_record_is_proven_against_an_older_checkpoint_too(three):
    root = tree_of(lines_of(three)).root(2)
    (line,) = three.prove([0], 2)["lines"]
    hashes = merkle.from_hex(line["inclusion"], what="a proof")
    verify_inclusion(leaf=merkle.leaf_hash(line["line"].encode()), index=0, size=2, proof=hashes, root=root)


def test_what_is_not_signed_cannot_be_proven(three):
    three.history.append({"n": 3})
    assert reason_of(lambda: three.prove([3])) == "history_unsigned"
    assert reason_of(lambda: three.prove([2], 2)) == "history_unsigned"
    assert reason_of(lambda: three.prove([2], 4)) == "history_unsigned"
    three.places.checkpoint.unlink()
    assert reason_of(lambda: three.prove([0])) == "history_unsigned"


def test_nothing_is_proven_from_a_history_that_contradicts_its_checkpoint(three):
    write(three, altered(lines_of(three), "recomputed"))
    assert reason_of(lambda: three.prove([0])) == "history_altered"
    write(three, lines_of(three)[:2])
    assert reason_of(lambda: three.prove([0])) == "history_truncated"


# requests


@pytest.mark.parametrize("value", [-1, 2**53, "3", 3.0, True, None, [3]])
def test_a_size_is_a_number_of_records(value, three):
    assert reason_of(lambda: sizes_of([value])) == "history_size_invalid"
    assert reason_of(lambda: witnessed_size({"witnessed": {"size": value}})) == "history_size_invalid"
    if value is not None:
        assert reason_of(lambda: three.prove([0], value)) == "history_size_invalid"


def test_sizes_come_as_an_array_that_is_not_too_long():
    assert sizes_of([0, 2**53 - 1]) == [0, 2**53 - 1]
    assert reason_of(lambda: sizes_of([0] * (MAX_SIZES + 1))) == "history_size_invalid"
    assert reason_of(lambda: sizes_of("3")) == "history_size_invalid"


def test_what_was_witnessed_is_a_size_or_nothing():
    assert witnessed_size({}) is None
    assert witnessed_size({"witnessed": None}) is None
    assert witnessed_size({"witnessed": {"size": 3}}) == 3
    assert reason_of(lambda: witnessed_size({"witnessed": {}})) == "history_size_invalid"
    assert reason_of(lambda: witnessed_size({"witnessed": "3"})) == "history_size_invalid"
