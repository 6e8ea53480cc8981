# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether it is worth trying a channel now: a circuit breaker and a backoff that outlive the process, as pure functions of the time.

Each failure makes the next attempt wait, twice as long as the one before. Ten in a row open the breaker for 120 seconds; then one attempt
may be made, whose success closes it. A channel that failed three times in a row is degraded, with its reason, until it works again.
Times are Unix seconds; one in the future, after the clock was set back, holds nothing up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

FAILURES: Final = 10
OPEN_SECONDS: Final = 120
FIRST_PAUSE_SECONDS: Final = 2
LONGEST_PAUSE_SECONDS: Final = 60
DEGRADED_AT: Final = 3
CLOSED, HALF_OPEN, OPEN = "closed", "half open", "open"


@dataclass(frozen=True)
class Circuit:
    """``failures`` in a row, the last at ``failed``; ``opened`` while the breaker is; ``pause`` is how long after ``failed`` nothing is tried.

    ``degraded`` is since when it is; ``why`` the last reason; ``errors`` counts all failures ever.
    """

    failures: int = 0
    failed: int = 0
    opened: int | None = None
    pause: int = 0
    degraded: int | None = None
    why: str = ""
    errors: int = 0

    def may_try(self, now: int) -> bool:
        """Whether an attempt may be made now."""
        if self.opened is not None:
            return not 0 <= now - self.opened < OPEN_SECONDS
        return not 0 <= now - self.failed < self.pause

    def state(self, now: int) -> str:
        """closed, half open (the next attempt decides), or open."""
        if self.opened is None:
            return CLOSED
        return HALF_OPEN if self.may_try(now) else OPEN

    def failure(self, now: int, why: str, chance: float) -> Circuit:
        """After an attempt that failed; ``chance`` from 0 to 1 spreads the attempts of many hosts."""
        failures = self.failures + 1
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures - 1, 10))
        return Circuit(
            failures=failures,
            failed=now,
            opened=now if failures >= FAILURES else None,
            pause=max(1, round(longest * (0.5 + chance / 2))),
            degraded=(self.degraded or now) if failures >= DEGRADED_AT else self.degraded,
            why=why,
            errors=self.errors + 1,
        )

    def success(self) -> Circuit:
        """After an attempt that succeeded."""
        return replace(Circuit(), errors=self.errors)

    def as_dict(self) -> dict[str, Any]:
        return {
            "failures": self.failures, "failed": self.failed, "opened": self.opened, "pause": self.pause, "degraded": self.degraded,
            "why": self.why, "errors": self.errors,
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Circuit:
        """The reverse of ``as_dict``; KeyError, TypeError or ValueError for anything else."""
        opened, degraded = kept["opened"], kept["degraded"]
        return cls(
            int(kept["failures"]), int(kept["failed"]), None if opened is None else int(opened), int(kept["pause"]),
            None if degraded is None else int(degraded), str(kept["why"]), int(kept["errors"]),
        )  # fmt: skip
