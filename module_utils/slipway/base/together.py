# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions with an end, several at the same time: whatever hangs, hangs alone.

Clients of HTTP bound each wait for the next byte, and not the whole answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import Generic, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[T]):
    """What is asked, and after how many seconds nobody waits for it any longer."""

    ask: Callable[[], T]
    seconds: float


@dataclass(frozen=True)
class Done(Generic[T]):
    """``value``, or ``error``: what was raised, or TimeoutError; ``milliseconds`` is how long it took, or how long was waited."""

    value: T | None
    error: BaseException | None
    milliseconds: int


def together(jobs: Mapping[str, Job[T]]) -> dict[str, Done[T]]:
    """Ask all of them, each in a thread of its own; answers in the order of the jobs. What hangs is left behind: it ends with the process."""
    started = time.monotonic()
    waiting = {name: _begin(job.ask) for name, job in jobs.items()}
    answers: dict[str, Done[T]] = {}
    for name, future in waiting.items():
        seconds = jobs[name].seconds
        try:
            answers[name] = future.result(max(0.0, started + seconds - time.monotonic()))
        except TimeoutError:
            answers[name] = Done(None, TimeoutError(f"no answer within {seconds:g} s"), _since(started))
    return answers


def within(seconds: float, ask: Callable[[], T]) -> T:
    """The answer to one question, or what it raises; TimeoutError where it has neither in time."""
    done = together({"": Job(ask, seconds)})[""]
    if done.error is not None:
        raise done.error
    return cast(T, done.value)


def _begin(ask: Callable[[], T]) -> Future[Done[T]]:
    answer: Future[Done[T]] = Future()

    def asked() -> None:
        started = time.monotonic()
        try:
            answer.set_result(Done(ask(), None, _since(started)))
        except BaseException as error:
            answer.set_result(Done(None, error, _since(started)))

    Thread(target=asked, name="slipway-question", daemon=True).start()
    return answer


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
