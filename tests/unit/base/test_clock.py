# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as an argument, and the one way in which it is written."""

from __future__ import annotations

import time

import pytest
from ansible.module_utils.slipway.base.clock import (
    CLOCK_TOLERANCE_SECONDS,
    SystemClock,
    require_sane_clock,
    seconds_of,
    timestamp,
)
from ansible.module_utils.slipway.base.errors import Refusal
from hypothesis import given
from hypothesis import strategies as st

NOT_OUR_SPELLING = {
    "small letters": "2026-11-21t03:12:56z",
    "missing zeros": "2026-1-1T3:2:6Z",
    "an offset": "2026-11-21T03:12:56+00:00",
    "no zone": "2026-11-21T03:12:56",
    "fractions": "2026-11-21T03:12:56.0Z",
    "a space": "2026-11-21 03:12:56Z",
    "digits of another script": "2026-11-21T03:12:5\u0666Z",
    "a leap second": "2026-12-31T23:59:60Z",
    "a day that does not exist": "2026-02-29T00:00:00Z",
    "white space around": " 2026-11-21T03:12:56Z",
    "nothing": "",
}


def test_a_time_is_written_in_utc_with_whole_seconds():
    assert timestamp(1_795_230_776) == "2026-11-21T03:12:56Z"


@given(st.integers(min_value=-30_000_000_000, max_value=253_402_300_799))
def test_a_written_time_is_read_back(seconds):
    assert seconds_of(timestamp(seconds)) == seconds


@pytest.mark.parametrize("text", NOT_OUR_SPELLING.values(), ids=NOT_OUR_SPELLING.keys())
def test_a_time_in_any_other_spelling_is_no_time(text):
    with pytest.raises(ValueError, match=r"."):
        seconds_of(text)


def test_the_clock_of_the_machine_is_the_wall_clock():
    assert abs(SystemClock().now() - time.time()) <= 2
    assert type(SystemClock().now()) is int


def test_the_clock_for_deadlines_counts_what_was_slept():
    clock = SystemClock()
    began = clock.elapsed()
    clock.sleep(0.01)
    assert 0.01 <= clock.elapsed() - began < 5


def test_the_clock_for_deadlines_runs_from_boot_and_through_suspension():
    with open("/proc/uptime", encoding="ascii") as uptime:
        assert abs(SystemClock().elapsed() - float(uptime.read().split()[0])) < 5


@pytest.mark.parametrize("behind", [-1, 0, CLOCK_TOLERANCE_SECONDS])
def test_a_clock_a_little_behind_the_newest_record_is_sane(behind):
    require_sane_clock(1_795_230_776 - behind, "2026-11-21T03:12:56Z")


def test_a_clock_of_a_host_without_records_is_sane():
    require_sane_clock(0, None)


def test_a_clock_that_was_set_back_is_refused():
    with pytest.raises(Refusal) as refused:
        require_sane_clock(1_795_230_776 - CLOCK_TOLERANCE_SECONDS - 1, "2026-11-21T03:12:56Z")
    assert refused.value.reason == "clock_set_back"
    assert refused.value.found == "2026-11-21T03:07:55Z"
