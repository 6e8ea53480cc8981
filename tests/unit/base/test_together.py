# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions at the same time: what hangs, hangs alone."""

from __future__ import annotations

import threading

import pytest
from ansible.module_utils.slipway.base.together import Job, together, within


def test_answers_come_in_the_order_of_the_jobs_with_what_was_raised():
    def refuse():
        raise OSError("refused")

    def slow():
        raise TimeoutError("its own time-out")

    done = together({"one": Job(lambda: 1, 5), "two": Job(refuse, 5), "three": Job(slow, 5), "four": Job(lambda: 4, 5)})
    assert [(name, each.value, str(each.error)) for name, each in done.items()] == [
        ("one", 1, "None"), ("two", None, "refused"), ("three", None, "its own time-out"), ("four", 4, "None"),
    ]  # fmt: skip
    assert together({}) == {}


def test_jobs_run_at_the_same_time():
    both = threading.Barrier(2, timeout=20)
    done = together({"one": Job(both.wait, 20), "two": Job(both.wait, 20)})
    assert {each.error for each in done.values()} == {None}


def test_what_hangs_is_left_behind_and_the_others_have_their_answers():
    never = threading.Event()
    done = together({"hangs": Job(never.wait, 0.05), "answers": Job(lambda: True, 20)})
    assert str(done["hangs"].error) == "no answer within 0.05 s"
    assert done["hangs"].milliseconds >= 50
    assert done["answers"].value is True
    never.set()


def test_one_question_is_answered_or_raises_in_time():
    assert within(60, lambda: 7) == 7
    assert within(60, lambda: None) is None
    with pytest.raises(KeyError, match="a"):
        within(60, lambda: {}["a"])


def test_one_question_that_hangs_is_left_behind_and_no_process_waits_for_it():
    never = threading.Event()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.05 s"):
        within(0.05, never.wait)
    left = [each for each in threading.enumerate() if each.name == "slipway-question"]
    assert left
    assert all(each.daemon for each in left)
    never.set()
