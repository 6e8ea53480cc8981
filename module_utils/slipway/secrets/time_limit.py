# SPDX-License-Identifier: GPL-3.0-or-later
"""An end to a call that has none of its own: clients of HTTP bound each wait for the next byte, and not the whole answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Call(threading.Thread, Generic[T]):
    """A call beside its caller, who need not wait for its end."""

    def __init__(self, call: Callable[[], T]) -> None:
        super().__init__(name="slipway-call", daemon=True)  # it ends with the process, at the latest
        self._call = call
        self._answers: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._answers.append(self._call())
        except BaseException as error:
            self._error = error

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        return self._answers[0]


def within(seconds: float, call: Callable[[], T]) -> T:
    """The answer to a call, or what it raises; TimeoutError where it has neither in time. It is not ended then, but nobody waits for it."""
    running = _Call(call)
    running.start()
    running.join(seconds)
    if running.is_alive():
        raise TimeoutError
    return running.answer()
