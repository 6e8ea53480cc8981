# SPDX-License-Identifier: GPL-3.0-or-later
"""One login for each provider and run: the first process that needs a token gets one, the others use the same.

A token is kept in memory, for the run that logged in and no longer than its lease. Where there is no such place, each process
logs in for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..base import canonical
from ..base.clock import Clock
from ..base.errors import Refusal
from .volatile import Volatile, hashed

MARGIN_SECONDS: Final = 10  # a token that ends while it is on its way is of no use


@dataclass(frozen=True)
class Token:
    """A token and for how many seconds it holds, None for one that does not end."""

    value: str = field(repr=False)
    lease_seconds: int | None


@dataclass
class Logins:
    """Who is logged in where, in one run."""

    place: Volatile | None
    clock: Clock
    _own: dict[str, tuple[str, int | None]] = field(default_factory=dict, repr=False)

    def token(self, origin: Sequence[str], login: Callable[[], Token], *, rejected: str | None = None) -> str:
        """The run's token for an origin; ``rejected`` is one that was refused, so that another one is needed."""
        entry = f"token-{hashed(*origin)}"
        known = self._known(entry)
        if known is not None and known != rejected:
            return known
        if self.place is None:
            return self._keep(entry, login())
        with self.place.locked(self.place.of_run(entry)):
            known = self._known(entry)
            return known if known is not None and known != rejected else self._keep(entry, login())

    def _known(self, entry: str) -> str | None:
        if entry in self._own:
            token, until = self._own[entry]
            if until is None or until > self._now():
                return token
            del self._own[entry]
        data = self.place.read(self.place.of_run(entry)) if self.place else None
        if data is None:
            return None
        try:
            kept = canonical.parse_canonical(data, what="login")
        except Refusal:
            return None
        if kept["until"] is not None and kept["until"] <= self._now():
            return None
        return str(kept["token"])

    def _keep(self, entry: str, token: Token) -> str:
        until = None if not token.lease_seconds else self._now() + (token.lease_seconds - MARGIN_SECONDS) * 1000
        if self.place is None:
            self._own[entry] = (token.value, until)
        else:
            self.place.write(self.place.of_run(entry), canonical.encode({"token": token.value, "until": until}))
        return token.value

    def _now(self) -> int:
        return int(self.clock.elapsed() * 1000)
