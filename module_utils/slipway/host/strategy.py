# SPDX-License-Identifier: GPL-3.0-or-later
"""How what runs of an application takes a release: the one place that knows units, and what is asked of them.

A transaction moves links and files; whenever the application is to notice, it asks its strategy. Everything here may be done
again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..application.description import Application, Patience, Probe
from ..application.health import Prober, Verdict, judge
from ..application.service import Service
from ..base.command import Finished
from .credentials import Turnover
from .places import Places
from .two_instances import TwoInstances

NO_INTENT: Mapping[str, Any] = {}


class Strategy(Protocol):
    """What a transaction, an inspection and a check ask of a strategy."""

    def units(self) -> Sequence[str]:
        """The units that may run, the one of what is active first."""

    def require_loaded(self) -> None:
        """Refusal ``unit_missing`` where systemd does not know the unit; before anything depends on it."""

    def plan(self) -> Mapping[str, Any]:
        """What going back will need to know beside the links: for the intent. Makes what a full disk would not let it make."""

    def run(self) -> Verdict:
        """After the switch: let the release that ``current`` says now run, and judge it."""

    def run_again(self) -> Verdict:
        """After the way back: let the release that ``current`` says again run, and judge it."""

    def stay(self) -> Verdict:
        """There is no way back: let the new release run, however it is."""

    def stop(self) -> Verdict:
        """Nothing is active any more, or another unit takes over: nothing of this one runs."""

    def share(self, percent: int | None) -> Verdict:
        """Give the release that waits for its confirmation this part of the host's traffic, None for all."""

    def settle(self, *, kept: bool, boot: bool = False) -> None:
        """The outcome is recorded: what only another outcome would have needed ends. ``kept``: the release stays.

        At ``boot`` nothing runs yet and nobody is waited for: only links and files are put right.
        """

    def probes(self) -> Sequence[Probe]:
        """What is asked for the health of what is active."""

    def prober(self) -> Prober:
        """Who asks."""

    def judge(self, patience: Patience | None = None) -> Verdict:
        """The health of what is active now, with the patience that the application declares unless another is given."""

    def startup_milliseconds(self) -> int | None:
        """How long the unit's last start took, None where that is not known."""


def strategy_of(application: Application, places: Places, intent: Mapping[str, Any] = NO_INTENT) -> Strategy:
    """The strategy that an application declares, for a transaction's ``intent``; without one it can only be looked at."""
    if application.blue_green is not None:
        return TwoInstances(application, application.blue_green, places, intent)
    return OneUnit(application, places, intent)


@dataclass(frozen=True)
class OneUnit:
    """``restart``, ``reload`` or ``none``: one unit, or none, that runs what ``current`` says. ``intent`` is the open transaction's."""

    application: Application
    places: Places
    intent: Mapping[str, Any]

    def units(self) -> Sequence[str]:
        return [self.application.unit] if self.application.unit else []

    def service(self) -> Service | None:
        return Service(self.application.unit, self.places.host.run) if self.application.unit else None

    def require_loaded(self) -> None:
        if service := self.service():
            service.require_loaded()

    def plan(self) -> Mapping[str, Any]:
        return {}

    def run(self) -> Verdict:
        finished = self._apply()
        if finished is not None and not finished.succeeded:
            found = f"systemctl could not {self.application.strategy} {self.application.unit}: {finished.described()}"
            return Verdict("failure", 1, found)
        return self.judge()

    def _apply(self) -> Finished | None:
        service = self.service()
        if service is None or self.application.strategy == "none":
            return None
        turnover = Turnover.of(self.intent)
        is_turned = (
            turnover is not None and turnover.changes
        )  # systemd gives credentials to a service when it starts it
        return service.restart() if is_turned or self.application.strategy == "restart" else service.reload()

    def run_again(self) -> Verdict:
        return self.run()

    def stay(self) -> Verdict:
        return self.run()

    def stop(self) -> Verdict:
        service = self.service()
        if service is None:
            return Verdict("inconclusive", 0, "nothing is active and there is no unit")
        finished = service.stop()
        outcome = "success" if finished.succeeded else "failure"
        return Verdict(outcome, 1, f"stop of {service.unit}: {finished.described()}")

    def share(self, percent: int | None) -> Verdict:
        return Verdict("inconclusive", 0, "there is one instance, which has all of the host's traffic")

    def settle(self, *, kept: bool, boot: bool = False) -> None:
        """A unit that was restarted has left nothing behind."""

    def probes(self) -> Sequence[Probe]:
        return self.application.health

    def prober(self) -> Prober:
        return Prober(self.places.host.run, self.application.user, self.service())

    def judge(self, patience: Patience | None = None) -> Verdict:
        patience = patience or self.application.health_patience
        return judge(self.probes(), patience, self.prober(), self.places.host.clock)

    def startup_milliseconds(self) -> int | None:
        service = self.service()
        return service.startup_milliseconds() if service else None
