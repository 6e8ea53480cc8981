# SPDX-License-Identifier: GPL-3.0-or-later
"""A provider that does not answer costs its time-out once: what one process learned, all of the run know."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.secrets.circuit_breaker import CircuitBreaker, State


@pytest.fixture(params=["shared", "own"])
def breakers(request, memory, clock):
    """A function that makes the breaker as another process of the run sees it."""
    if request.param == "shared":
        place = request.getfixturevalue("place")
        return lambda: CircuitBreaker("vault", place, clock)
    breaker = CircuitBreaker("vault", None, clock)
    return lambda: breaker


def test_it_starts_closed_and_five_failures_in_a_row_open_it(breakers):
    for _ in range(4):
        assert breakers().why_not() is None
        breakers().failed("unreachable")
    assert breakers().why_not() is None
    breakers().failed("unreachable")
    assert breakers().why_not() == "unreachable"


def test_a_success_in_between_starts_the_count_again(breakers):
    for _ in range(20):
        for _ in range(4):
            breakers().failed("unreachable")
        breakers().succeeded()
        breakers().succeeded()
    assert breakers().why_not() is None


def test_what_costs_the_whole_time_out_opens_it_at_once(breakers):
    breakers().failed("timed out", at_once=True)
    assert breakers().why_not() == "timed out"


def test_after_a_minute_one_may_try_and_the_others_wait_for_it(breakers, clock):
    breakers().failed("sealed", at_once=True)
    clock.boot += 59
    assert breakers().why_not() == "sealed"
    clock.boot += 1
    assert breakers().why_not() is None
    assert breakers().why_not() == "sealed"
    breakers().failed("sealed")
    clock.boot += 59
    assert breakers().why_not() == "sealed"
    clock.boot += 1
    assert breakers().why_not() is None
    breakers().succeeded()
    assert [breakers().why_not() for _ in range(3)] == [None] * 3


def test_each_provider_and_each_run_has_its_own(place, clock):
    CircuitBreaker("vault", place, clock).failed("sealed", at_once=True)
    assert CircuitBreaker("aws", place, clock).why_not() is None


@pytest.mark.parametrize("data", [b"", b"noise", b"{}", b"[]"])
def test_what_cannot_be_read_is_closed(place, clock, data):
    breaker = CircuitBreaker("vault", place, clock)
    breaker.failed("sealed", at_once=True)
    (entry,) = place.names(place.run)
    place.write(entry, data)
    assert breaker.why_not() is None


def test_a_closed_one_that_is_tried_stays_as_it_is():
    assert State(2).tried(5) == State(2)
