# SPDX-License-Identifier: GPL-3.0-or-later
"""A wave is measured while it soaks: often enough, no longer than it soaks, and at once over when it fails."""

from __future__ import annotations

from ansible.module_utils.slipway.controller.canary import Analysis, Measure
from ansible.module_utils.slipway.controller.canary_run import compare_in_soak

ERRORS = Analysis((Measure("errors", 'errors{instance=~"$hosts"}'),), 15)


class Clock:
    """Time that only passes by sleeping."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return int(self.seconds)

    def elapsed(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


def compared(answers, *, seconds=60, analysis=ERRORS, new=("prod-1",), old=("prod-2",)):
    """What comes of it where ``answers`` {hosts as in the query: (number, why)} are given; and the clock."""
    clock, asked = Clock(), []

    def ask(query):
        asked.append(query)
        return next(answer for hosts, answer in answers.items() if hosts in query)

    answer = compare_in_soak(analysis, ask, clock, new=new, old=old, seconds=seconds)
    return answer, clock.seconds, len(asked)


def test_a_canary_that_is_well_soaks_to_the_end_and_is_measured_all_the_time():
    answer, seconds, asked = compared({"prod": (1.0, "")})
    assert (answer["outcome"], seconds, asked) == ("success", 60, 8)
    assert answer["milliseconds"] == 60_000
    assert answer["detail"] == "errors: 4 measurements, at most 0 in a row worse"


def test_a_failure_ends_the_soak():
    answer, seconds, asked = compared({r"prod\\-1": (2.0, ""), r"prod\\-2": (1.0, "")}, seconds=600)
    assert (answer["outcome"], seconds, asked) == ("failure", 45, 6)
    assert answer["detail"].startswith("errors: 2 beside 1, worse by more than 10 %")


def test_a_prometheus_that_does_not_answer_is_no_verdict_and_its_reason_is_said():
    answer, seconds, _asked = compared({"prod": (None, "Prometheus did not answer: refused")})
    assert (answer["outcome"], seconds) == ("inconclusive", 60)
    assert answer["detail"] == "errors: 0 of 3 measurements, 4 without data; Prometheus did not answer: refused"


def test_a_question_that_fails_itself_is_no_verdict_either():
    def ask(query):
        raise RuntimeError(query)

    answer = compare_in_soak(ERRORS, ask, Clock(), new=["prod-1"], old=["prod-2"], seconds=60)
    assert answer["outcome"] == "inconclusive"
    assert answer["detail"].endswith("Prometheus could not be asked: RuntimeError")


def test_a_soak_that_is_too_short_for_the_measurements_is_no_verdict():
    answer, seconds, _asked = compared({"prod": (1.0, "")}, seconds=40)
    assert (answer["outcome"], seconds) == ("inconclusive", 40)
    assert answer["comparisons"] == [
        {"name": "errors", "outcome": "inconclusive", "detail": "2 of 3 measurements, 0 without data"}
    ]


def test_the_last_wave_has_nobody_to_be_compared_with_and_soaks_all_the_same():
    answer, seconds, asked = compared({}, old=())
    assert (answer["outcome"], answer["detail"], seconds, asked) == ("success", "nothing to compare with", 60, 0)
