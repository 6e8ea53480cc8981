# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch window follows from the history and the clock: opened by a deployment, closed by a rollback, over by itself."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.trust.promotion import Monitoring
from ansible.module_utils.slipway.watch.window import HOUR, Window, repeat_seconds, thresholds, window_of
from hypothesis import given
from hypothesis import strategies as st

START = 1_800_000_000


def record(release_id, status="success", operation="deploy", hours=48, at=START, **keys):
    """A record of the history with what the window looks at."""
    window = {"start": timestamp(at), "end": timestamp(at + hours * HOUR)} if hours else None
    return {
        "release_id": release_id, "status": status, "operation": operation, "rollback": operation == "rollback",
        "timestamp": timestamp(at), "window": window if operation == "deploy" and status == "success" else None, **keys,
    }  # fmt: skip


V1 = Window("v1", START, START + 48 * HOUR)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], None),
        ([record("v1")], V1),
        ([record("v1", hours=0)], None),
        ([record("v1"), record("v2", at=START + 60)], Window("v2", START + 60, START + 60 + 48 * HOUR)),
        ([record("v1"), record("v1", at=START + 60)], Window("v1", START + 60, START + 60 + 48 * HOUR)),
        ([record("v1"), record("v2", hours=0)], None),
        ([record("v1"), record("v2"), record("v1", operation="rollback")], None),
        ([record("v1"), record("v2"), record("v1", operation="rollback"), record("v3", hours=6)], Window("v3", START, START + 6 * HOUR)),
        ([record("v1"), record("v2", operation="rollback", window=record("v2")["window"])], None),
        ([record("v1"), record("v2", rollback=True)], None),
        ([record("v1"), record("v2", status="failed")], V1),
        ([record("v1"), record("v2", status="rolled_back")], V1),
        ([record("v1"), record("v2", status="interrupted")], V1),
        ([record("v1"), record("v0", status="failed", operation="rollback")], V1),
        ([{key: value for key, value in record("v1").items() if key != "window"}], None),
    ],
)  # fmt: skip
def test_a_deployment_opens_it_and_a_rollback_closes_it(records, expected):
    assert window_of(records) == expected


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(0, 48 * HOUR), (1, 48 * HOUR - 1), (48 * HOUR - 1, 1), (48 * HOUR, 0), (48 * HOUR + 1, 0), (-3600, 48 * HOUR)],
)
def test_it_ends_by_itself_and_a_clock_that_was_set_back_does_not_make_it_longer(seconds, left):
    assert V1.seconds_left(START + seconds) == left
    assert V1.is_open(START + seconds) is (left > 0)


@given(st.integers(0, 2**40), st.integers(0, 10**6))
def test_what_is_over_stays_over(now, later):
    assert V1.seconds_left(now + later) <= V1.seconds_left(now)
    assert V1.is_open(now) or not V1.is_open(now + later)


def test_length_thresholds_and_repeat_are_the_manifests():
    said = Monitoring(alert_frequency_hours=3, alert_thresholds={"swing_precision_drop": "0.05", "loss": "1.5"})
    assert thresholds(said) == {"loss": 1.5, "swing_precision_drop": 0.05}
    assert repeat_seconds(said) == 3 * HOUR
    assert thresholds(None) == {}
    assert repeat_seconds(None) == 2 * HOUR
