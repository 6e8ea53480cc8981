# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that has to end in time, whatever it does."""

from __future__ import annotations

import threading

import pytest
from ansible.module_utils.slipway.secrets.time_limit import within


def test_an_answer_in_time_is_the_answer():
    assert within(60, lambda: 7) == 7
    assert within(60, lambda: None) is None


def test_what_it_raises_is_raised():
    with pytest.raises(KeyError, match="a"):
        within(60, lambda: {}["a"])


def test_one_that_does_not_end_is_not_waited_for():
    held = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, held.wait)
    held.set()


def test_no_process_waits_for_what_was_left_running():
    held = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, held.wait)
    assert all(each.daemon for each in threading.enumerate() if each.name == "slipway-call")
    held.set()
