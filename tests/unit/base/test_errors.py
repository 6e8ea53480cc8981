# SPDX-License-Identifier: GPL-3.0-or-later
"""A refusal says four things, and says them safely."""

from __future__ import annotations

import pickle

import pytest
from ansible.module_utils.slipway.base.errors import Refusal, shown


def refusal(**changes):
    return Refusal("some_reason", **{"expected": "a", "found": "b", "remedy": "Do c.", **changes})


def test_a_refusal_reads_as_one_sentence_and_its_remedy():
    assert str(refusal()) == "some_reason: expected a; found b. Do c."


def test_a_refusal_is_a_dictionary_for_machines():
    assert refusal().as_dict() == {"reason": "some_reason", "expected": "a", "found": "b", "remedy": "Do c."}


@pytest.mark.parametrize("part", ["expected", "found", "remedy"])
def test_a_refusal_cannot_drive_a_terminal(part):
    assert "\x1b" not in str(refusal(**{part: "\x1b[2Jgone\r\u202e"}))


def test_a_refusal_keeps_the_lines_of_a_table():
    assert refusal(found="host a\nhost b").found == "host a\nhost b"


def test_a_table_stands_on_lines_of_its_own():
    assert str(refusal(found="\nhost  is\na     up")) == "some_reason: expected a; found:\nhost  is\na     up\nDo c."


def test_a_refusal_survives_the_way_to_another_process():
    assert str(pickle.loads(pickle.dumps(refusal()))) == str(refusal())


def test_a_short_value_is_shown_whole():
    assert shown("ünï\n") == "'\\xfcn\\xef\\n'"


def test_a_long_value_is_cut():
    assert len(shown("x" * 10_000)) == 120
