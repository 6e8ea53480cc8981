# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary is judged beside the hosts that have the release before: a table of measurements and what they mean."""

from __future__ import annotations

import math

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import canary
from ansible.module_utils.slipway.controller.canary import FAILURE, INCONCLUSIVE, SUCCESS, Analysis, Measure, compare
from hypothesis import given
from hypothesis import strategies as st

QUERY = 'sum(rate(errors_total{instance=~"$hosts"}[1m]))'
ERRORS = Measure("errors", QUERY)  # lower is better, 10 %, 3 in a row, 3 required, 2 may be missing
GOOD, BAD, NONE = (1.0, 1.0), (2.0, 1.0), (None, 1.0)

# What was measured, and what it means, in the words of the answer.
TABLE = [
    ("the same", ERRORS, [GOOD] * 3, SUCCESS, "3 measurements, at most 0 in a row worse"),
    ("better", ERRORS, [(0.5, 1.0)] * 3, SUCCESS, "3 measurements"),
    ("worse, but not by more than 10 %", ERRORS, [(1.1, 1.0)] * 5, SUCCESS, "5 measurements"),
    ("worse by 11 % three times in a row", ERRORS, [(1.11, 1.0)] * 3, FAILURE, "1.11 beside 1, worse by more than 10 %, 3 times in a row"),
    ("worse twice, then well, then twice", ERRORS, [BAD, BAD, GOOD, BAD, BAD], SUCCESS, "at most 2 in a row worse"),
    ("worse three times after it was well", ERRORS, [GOOD] * 9 + [BAD] * 3, FAILURE, "3 times in a row"),
    ("no data in between does not end a row", ERRORS, [BAD, NONE, BAD, NONE, BAD], FAILURE, "3 times in a row"),
    ("too few", ERRORS, [GOOD] * 2, INCONCLUSIVE, "2 of 3 measurements, 0 without data"),
    ("nothing", ERRORS, [], INCONCLUSIVE, "0 of 3 measurements, 0 without data"),
    ("too much is missing", ERRORS, [GOOD] * 9 + [NONE] * 3, INCONCLUSIVE, "9 of 3 measurements, 3 without data"),
    ("as much is missing as may be", ERRORS, [GOOD] * 3 + [NONE] * 2, SUCCESS, "3 measurements"),
    ("the baseline has no data", ERRORS, [(1.0, None)] * 4, INCONCLUSIVE, "0 of 3 measurements, 4 without data"),
    ("not a number is no data", ERRORS, [(math.nan, 1.0), (1.0, math.inf), (1.0, -math.inf)], INCONCLUSIVE, "3 without data"),
    ("errors beside none", ERRORS, [(0.001, 0.0)] * 3, FAILURE, "0.001 beside 0"),
    ("a few errors beside none are chance", Measure("errors", QUERY, worse_by=0.01), [(0.009, 0.0)] * 3, SUCCESS, "3 measurements"),
    ("fewer is worse where more is better", Measure("rate", QUERY, "higher"), [(0.8, 1.0)] * 3, FAILURE, "0.8 beside 1"),
    ("more is well where more is better", Measure("rate", QUERY, "higher"), [(2.0, 1.0)] * 3, SUCCESS, "3 measurements"),
    ("percent of a negative baseline", Measure("sharpe", QUERY, "higher"), [(-1.05, -1.0)] * 3, SUCCESS, "3 measurements"),
    ("one is enough where one is asked for", Measure("errors", QUERY, failures_max=1, required=1), [BAD], FAILURE, "1 times in a row"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "pairs", "outcome", "detail"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_was_measured_means(measure, pairs, outcome, detail):
    judged = compare(measure, pairs)
    assert (judged.name, judged.outcome) == (measure.name, outcome)
    assert detail in judged.detail


@pytest.mark.parametrize(
    ("by_name", "verdict"),
    [
        ({"a": [GOOD] * 3, "b": [GOOD] * 3}, SUCCESS),
        ({"a": [GOOD] * 3, "b": [GOOD]}, INCONCLUSIVE),
        ({"a": [GOOD] * 3}, INCONCLUSIVE),
        ({"a": [BAD] * 3, "b": []}, FAILURE),
        ({"a": [BAD] * 3, "b": [GOOD] * 3}, FAILURE),
    ],
)
def test_one_comparison_that_fails_is_enough_and_one_that_cannot_tell_is_too(by_name, verdict):
    analysis = Analysis((Measure("a", QUERY), Measure("b", QUERY)))
    assert canary.judge(analysis, by_name)[0] == verdict


def test_without_comparisons_there_is_nothing_against_it():
    assert canary.judge(Analysis(()), {}) == (SUCCESS, [])


PAIRS = st.lists(st.tuples(st.none() | st.just(math.nan) | st.floats(0, 10), st.none() | st.floats(0, 10)), max_size=12)


@given(PAIRS)
def test_a_failure_stays_one_whatever_comes_after(pairs):
    for length in range(len(pairs)):
        if compare(ERRORS, pairs[:length]).outcome == FAILURE:
            assert compare(ERRORS, pairs).outcome == FAILURE


@given(PAIRS, st.floats(0.1, 5))
def test_a_canary_that_is_never_worse_never_fails(pairs, factor):
    better = [(None if baseline is None else baseline / (1 + factor), baseline) for _canary, baseline in pairs]
    assert compare(ERRORS, better).outcome != FAILURE


def test_hosts_are_put_into_the_query_as_they_are_called():
    asked = ERRORS.asked_of(["prod-2", "prod.1"])
    assert asked == r'sum(rate(errors_total{instance=~"prod\\-2|prod\\.1"}[1m]))'


def test_what_group_vars_say_is_read():
    analysis = Analysis.parse(
        {
            "interval_seconds": 5,
            "measures": {"errors": {"query": QUERY, "worse_percent": 50, "worse_by": 0.01, "required": 2}},
        }
    )
    assert analysis == Analysis((Measure("errors", QUERY, worse_percent=50.0, worse_by=0.01, required=2),), 5)
    assert Analysis.parse({}) == Analysis(())


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"query": "up"}, "a query with $hosts"),
        ({"better": "more"}, "one of lower, higher"),
        ({"worse_percent": -1}, "not negative"),
        ({"worse_percent": True}, "not negative"),
        ({"worse_by": float("nan")}, "not negative"),
        ({"required": 0}, "an integer from 1"),
        ({"failures_max": 1.5}, "an integer from 1"),
        ({"often": 3}, "no further member"),
    ],
)
def test_what_is_no_comparison_is_refused(keys, found):
    with pytest.raises(Refusal) as refusal:
        Analysis.parse({"measures": {"errors": {"query": QUERY, **keys}}})
    assert refusal.value.reason == "analysis_invalid"
    assert found in refusal.value.expected
