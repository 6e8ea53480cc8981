# SPDX-License-Identifier: GPL-3.0-or-later
"""Chained lines of any kind: what every kind shares is tested by the history (tests/unit/host/test_history.py)."""

from __future__ import annotations

import os

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust.chain import Chain, leaf_hash


class Notes(Chain):
    """A kind of chained lines that says of itself what a kind must say."""

    def opened(self, flags):
        return os.open(self.path, flags, 0o600)

    def content(self):
        return self.path.read_bytes()

    def altered(self, where, found):
        return Refusal("notes_altered", expected=where, found=found, remedy="None.")


def test_each_kind_says_how_its_file_is_opened_and_what_is_wrong_with_it(tmp_path):
    notes = Notes(tmp_path / "notes.jsonl")
    first, second = notes.append({"note": "a"}), notes.append({"note": "b"})
    assert notes.records() == [first, second]
    assert second["prev_hash"] == leaf_hash(notes.path.read_bytes().splitlines()[0])
    notes.path.write_bytes(notes.path.read_bytes().replace(b'"a"', b'"c"'))
    with pytest.raises(Refusal) as refused:
        notes.records()
    assert (refused.value.reason, refused.value.expected) == ("notes_altered", "line 2")


@pytest.mark.parametrize(
    "ask", [lambda chain: chain.opened(0), Chain.content, lambda chain: chain.altered("line 1", "x")]
)
def test_a_chain_of_no_kind_is_none(tmp_path, ask):
    with pytest.raises(NotImplementedError):
        ask(Chain(tmp_path / "x"))
