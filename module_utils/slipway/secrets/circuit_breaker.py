# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether it is worth asking a provider that did not answer before: what one process learned, all of a run know.

It starts closed. So many failures in a row open it; so does one that cost the whole time-out, or an answer that will not change soon
(sealed): that price is paid once. While it is open nobody asks. After a while one process may try; its success closes it, its failure
opens it for as long again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from ..base import canonical
from ..base.clock import Clock
from ..base.errors import Refusal
from .volatile import Volatile, hashed

FAILURES: Final = 5
RECOVERY_SECONDS: Final = 60


@dataclass(frozen=True)
class State:
    """Failures in a row; when it was opened (milliseconds of CLOCK_BOOTTIME, None while closed), and why."""

    failures: int = 0
    opened: int | None = None
    why: str = ""

    def failed(self, now: int, why: str, *, at_once: bool, threshold: int) -> State:
        count = self.failures + 1
        if at_once or count >= threshold or self.opened is not None:
            return State(count, now, why)
        return State(count, None, why)

    def may_ask(self, now: int, recovery: int) -> bool:
        return self.opened is None or now - self.opened >= recovery

    def tried(self, now: int) -> State:
        """One process asks: the others go on as if it had failed until it says otherwise."""
        return self if self.opened is None else replace(self, opened=now)


@dataclass
class CircuitBreaker:
    """The breaker of one provider in one run."""

    label: str
    place: Volatile | None
    clock: Clock
    threshold: int = FAILURES
    recovery_seconds: int = RECOVERY_SECONDS
    _own: State = field(default_factory=State)

    def why_not(self) -> str | None:
        """Why the provider is not to be asked, None where it may be; with None from an open breaker, the caller is the one who tries."""
        state = self._state()
        if state.opened is None:
            return None
        with self._locked():
            state = self._state()
            if not state.may_ask(self._now(), self.recovery_seconds * 1000):
                return state.why
            self._keep(state.tried(self._now()))
            return None

    def failed(self, why: str, *, at_once: bool = False) -> None:
        with self._locked():
            self._keep(self._state().failed(self._now(), why, at_once=at_once, threshold=self.threshold))

    def succeeded(self) -> None:
        if self._state() != State():
            with self._locked():
                self._keep(State())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.place.locked(self._entry) if self.place else nullcontext():
            yield

    @property
    def _entry(self) -> str:
        assert self.place is not None  # noqa: S101 - for the type checker; both callers looked
        return self.place.of_run(f"breaker-{hashed(self.label)}")

    def _state(self) -> State:
        if self.place is None:
            return self._own
        data = self.place.read(self._entry)
        if data is None:
            return State()
        try:
            kept = canonical.parse_canonical(data, what="circuit breaker")
            return State(kept["failures"], kept["opened"], kept["why"])
        except (Refusal, KeyError, TypeError):
            return State()

    def _keep(self, state: State) -> None:
        if self.place is None:
            self._own = state
        else:
            kept = {"failures": state.failures, "opened": state.opened, "why": state.why}
            self.place.write(self._entry, canonical.encode(kept))

    def _now(self) -> int:
        return int(self.clock.elapsed() * 1000)
