# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as an argument: decisions get a clock, so that tests decide what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from .errors import Refusal

CLOCK_TOLERANCE_SECONDS = 300


class Clock(Protocol):
    """What the domain asks of time."""

    def now(self) -> int:
        """Wall clock, whole seconds since the Unix epoch."""

    def elapsed(self) -> float:
        """Seconds on a clock that never jumps and goes on while the machine sleeps (CLOCK_BOOTTIME)."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> int:
        return int(time.time())

    def elapsed(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def timestamp(seconds: int) -> str:
    """RFC 3339 in UTC with whole seconds: ``2026-11-21T03:12:56Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> int:
    """The reverse of ``timestamp``; ValueError for any other form."""
    seconds = int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    if timestamp(seconds) != text:  # strptime also takes t and z, missing zeros and other scripts' digits
        raise ValueError(f"{text!r} is not how {timestamp(seconds)} is written")
    return seconds


def require_sane_clock(now: int, newest_record: str | None) -> None:
    """Refuse a clock that stands before the newest history record: expiry could not be judged with it."""
    if newest_record is not None and now < seconds_of(newest_record) - CLOCK_TOLERANCE_SECONDS:
        raise Refusal(
            "clock_set_back",
            expected=f"a clock not earlier than the newest history record, {newest_record}",
            found=timestamp(now),
            remedy="Set the host's clock right (timedatectl), then run the same command again.",
        )
