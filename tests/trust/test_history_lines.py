# SPDX-License-Identifier: GPL-3.0-or-later
"""Histories that somebody rewrote. What only the controller can see is judged by its witness."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.host.history import History, leaf_hash
from lines import judged


def inserted(lines):
    extra = canonical.encode({"n": "forged", "prev_hash": leaf_hash(lines[0]), "seq": 1})
    return [lines[0], extra, *lines[1:]]


CASES = {
    "a record edited": lambda lines: [lines[0], lines[1].replace(b'"n":1', b'"n":9'), *lines[2:]],
    "a record dropped": lambda lines: [lines[0], *lines[2:]],
    "a record swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a record inserted": inserted,
    "a duplicate sequence": lambda lines: [*lines, lines[-1]],
}


@pytest.mark.parametrize("line", CASES)
def test_a_history_that_was_changed_is_refused(line, tmp_path):
    history = History(tmp_path / "history.jsonl")
    for number in range(4):
        history.append({"n": number})
    lines = history.path.read_bytes().splitlines()
    bent = b"\n".join(CASES[line](lines)) + b"\n"
    assert bent != history.path.read_bytes()
    history.path.write_bytes(bent)
    judged(line, history.records)
    assert history.path.read_bytes() == bent
