# SPDX-License-Identifier: GPL-3.0-or-later
"""Histories that somebody rewrote. What only the controller can see is judged by its witness."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.trust import checkpoint, merkle
from ansible.module_utils.slipway.trust.chain import leaf_hash
from ansible.module_utils.slipway.trust.checkpoint import Checkpoint
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import Note
from lines import judged


def inserted(lines):
    extra = canonical.encode({"n": "forged", "prev_hash": leaf_hash(lines[0]), "seq": 1})
    return [lines[0], extra, *lines[1:]]


EDITS = {
    "a record edited": lambda lines: [lines[0], lines[1].replace(b'"n":1', b'"n":9'), *lines[2:]],
    "a record dropped": lambda lines: [lines[0], *lines[2:]],
    "a record swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a record inserted": inserted,
    "a duplicate sequence": lambda lines: [*lines, lines[-1]],
}


@pytest.mark.parametrize("line", EDITS)
def test_a_history_that_was_changed_is_refused(line, tmp_path):
    history = History(tmp_path / "history.jsonl")
    for number in range(4):
        history.append({"n": number})
    lines = history.path.read_bytes().splitlines()
    bent = b"\n".join(EDITS[line](lines)) + b"\n"
    assert bent != history.path.read_bytes()
    history.path.write_bytes(bent)
    judged(line, history.records)
    assert history.path.read_bytes() == bent


# --- what only somebody who kept an older checkpoint can see

KEY = signed.private_key(11)
ORIGIN = checkpoint.origin_of(signed.HOST_ID, "shop")


def leaves(*names):
    return merkle.Tree(merkle.leaf_hash(name.encode()) for name in names)


KEPT = leaves("a", "b", "c")


def goes_on(tree, proven=None):
    """Whether `tree`, by its own best proof, is one that goes on from what was kept."""
    proof = (proven or tree).consistency_proof(KEPT.size) if tree.size >= KEPT.size else []
    merkle.verify_consistency(old_size=KEPT.size, old_root=KEPT.root(), size=tree.size, root=tree.root(), proof=proof)


def said(origin=ORIGIN, key=KEY):
    return Checkpoint(origin, KEPT.size, KEPT.root()).sign(key)


def checked(note):
    return checkpoint.verify(note, key=PublicKey.of(KEY), origin=ORIGIN)


WITNESSED = {
    "the whole chain recomputed": lambda: goes_on(leaves("A", "B", "C", "D", "E")),
    "a fork": lambda: goes_on(leaves("a", "b", "x", "y", "z")),
    "a shrunken log": lambda: goes_on(leaves("a", "b")),
    "another host's checkpoint": lambda: checked(said(checkpoint.origin_of(signed.HOST_ID[::-1], "shop"))),
    "a checkpoint by another key": lambda: checked(said(key=signed.OTHER_KEY)),
    "a checkpoint that was edited": lambda: checked(said().replace(b"\n3\n", b"\n2\n")),
    "a checkpoint that is none": lambda: checked(Note("three\nlines\nonly\n").signed_by(ORIGIN, KEY).encode()),
    "a note that is none": lambda: checked(said()[:-2]),
}


@pytest.mark.parametrize("line", WITNESSED)
def test_a_history_that_is_another_than_was_kept_is_refused(line):
    judged(line, WITNESSED[line])


def test_a_history_that_goes_on_from_what_was_kept_is_not():
    goes_on(leaves("a", "b", "c", "d", "e"))
    goes_on(KEPT)
    assert checked(said()).size == 3


def torn(place):
    history = History(place / "history.jsonl")
    history.append({"n": 1})
    with open(history.path, "ab") as stream:
        stream.write(b'{"n":2,"pre')
    assert [record["n"] for record in history.records()] == [1]
    record = history.append({"n": 3})
    assert (history.path.parent / record["torn_line"]).read_bytes() == b'{"n":2,"pre'
    assert [record["n"] for record in history.records()] == [1, 3]


CASES = {**EDITS, **WITNESSED}
GOOD = {"a torn last line, set aside and recorded": torn}


@pytest.mark.parametrize("line", GOOD)
def test_what_a_crash_left_is_no_attack(line, tmp_path):
    GOOD[line](tmp_path)
