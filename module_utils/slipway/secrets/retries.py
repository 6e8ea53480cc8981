# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking again what may be asked twice: with pauses that double, with chance in them, and an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import tenacity

from ..base.clock import Clock
from .provider import Unavailable

FIRST_PAUSE_SECONDS: Final = 0.04
LONGEST_PAUSE_SECONDS: Final = 2.0

T = TypeVar("T")


def asked(question: Callable[[], T], *, clock: Clock, attempts: int, failed: Callable[[Unavailable], None]) -> T:
    """The answer to a question that changes nothing, asked at most ``attempts`` times.

    ``failed`` is told each failure. What will not pass within a second (sealed, a whole time-out), and every Refusal, ends it at
    once. Five refused connections cost under 0.8 s.
    """

    def noted(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Unavailable):
            failed(error)
            return error.passing
        return False

    return tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential_jitter(
            multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=FIRST_PAUSE_SECONDS
        ),
        retry=noted,
        sleep=clock.sleep,
        reraise=True,
    )(question)
