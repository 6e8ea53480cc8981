# SPDX-License-Identifier: GPL-3.0-or-later
"""When a channel is tried: backoff, breaker, degradation, and clocks that move."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.watch.circuit import CLOSED, HALF_OPEN, OPEN, Circuit
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_000_000


def failed(times, now=NOW, chance=1.0, apart=100):
    circuit = Circuit()
    for number in range(times):
        circuit = circuit.failure(now + number * apart, "connection refused", chance)
    return circuit


def test_each_failure_makes_the_next_attempt_wait_twice_as_long_up_to_a_minute():
    assert [failed(times).pause for times in range(1, 10)] == [2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert [failed(times, chance=0.0).pause for times in (1, 4, 9)] == [1, 8, 30]
    circuit = failed(4)
    assert [circuit.may_try(circuit.failed + after) for after in (0, 15, 16, 100)] == [False, False, True, True]


def test_ten_failures_in_a_row_open_the_breaker_for_two_minutes():
    assert failed(9).opened is None
    circuit = failed(10)
    assert circuit.opened == NOW + 900
    assert [circuit.may_try(circuit.opened + after) for after in (0, 119, 120)] == [False, False, True]
    assert [circuit.state(circuit.opened + after) for after in (0, 119, 120)] == [OPEN, OPEN, HALF_OPEN]
    # The one attempt that may be made decides.
    again = circuit.failure(circuit.opened + 120, "still refused", 0.5)
    assert again.opened == circuit.opened + 120
    assert circuit.success().state(NOW) == CLOSED


def test_three_failures_in_a_row_are_a_degraded_channel_until_it_works():
    assert failed(2).degraded is None
    assert failed(3).degraded == NOW + 200
    assert failed(7).degraded == NOW + 200
    well = failed(7).success()
    assert (well.degraded, well.failures, well.why, well.errors) == (None, 0, "", 7)


def test_a_clock_that_was_set_back_holds_nothing_up():
    assert failed(4).may_try(NOW - 5000)
    assert failed(10).may_try(NOW - 5000)
    assert failed(10).state(NOW - 5000) == HALF_OPEN


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.floats(0, 1)), max_size=40))
def test_it_outlives_the_process_and_always_lets_somebody_try_within_two_minutes(events):
    circuit, now, in_a_row = Circuit(), NOW, 0
    for works, seconds, chance in events:
        now += seconds
        circuit = circuit.success() if works else circuit.failure(now, "why", chance)
        in_a_row = 0 if works else in_a_row + 1
        assert circuit.failures == in_a_row
        assert Circuit.of(json.loads(json.dumps(circuit.as_dict()))) == circuit
        assert circuit.may_try(now + 120)
        assert works == circuit.may_try(now)
        assert (circuit.opened is not None) == (in_a_row >= 10)


@pytest.mark.parametrize("kept", [{}, {"failures": "x"}, None])
def test_what_is_no_circuit_is_none(kept):
    with pytest.raises((KeyError, TypeError, ValueError)):
        Circuit.of(kept)
