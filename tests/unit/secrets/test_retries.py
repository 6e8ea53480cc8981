# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking again: what may pass, with longer and longer pauses, and not for ever."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown
from ansible.module_utils.slipway.secrets.retries import asked


def asking(clock, *answers, attempts=5):
    left, failures = list(answers), []

    def question():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        return asked(question, clock=clock, attempts=attempts, failed=failures.append), len(failures), len(left)
    except (Unavailable, Unknown, Refusal) as error:
        return type(error), len(failures), len(left)


def test_what_passes_is_answered_in_the_end(clock):
    assert asking(clock, *[Unavailable("unreachable")] * 4, "yes") == ("yes", 4, 0)
    assert clock.slept == sorted(clock.slept)
    assert 0.6 <= sum(clock.slept) < 0.8
    assert len({round(pause * 1000, 3) % 10 for pause in clock.slept}) > 1  # chance


def test_what_does_not_pass_ends(clock):
    assert asking(clock, *[Unavailable("unreachable")] * 9) == (Unavailable, 5, 4)


@pytest.mark.parametrize("error", [
    Unavailable("sealed", passing=False), Unknown("a"), Refusal("no", expected="a", found="b", remedy="c"),
])  # fmt: skip
def test_what_another_question_would_not_change_is_asked_once(clock, error):
    kind, failures, left = asking(clock, error, "yes")
    assert (kind, left, clock.slept) == (type(error), 1, [])
    assert failures == isinstance(error, Unavailable)
