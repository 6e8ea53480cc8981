# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man: a host goes back by itself from a release that nobody confirmed in time.

Three things make it. The journal's intent says the deadline, in milliseconds of CLOCK_BOOTTIME, which no wall clock moves.
A marker in /run says that the host has not been restarted since: without it the deadline means nothing, and the host goes
back. A timer of systemd starts ``slipway expire`` at the deadline. The timer only wakes: whether it is time is decided from
journal, marker and clock, under the lock, so a timer that comes too early, twice or for nothing does no harm.

Going back needs neither timer nor marker: /run may be full, and after a restart it is empty.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ..application.description import Application
from ..base.command import Finished
from ..base.errors import Refusal, quoted
from .journal import Transaction
from .places import Places

LEAST_SECONDS: Final = 5
MOST_SECONDS: Final = 7 * 24 * 3600
DEFAULT_SECONDS: Final = 900
DIRECTORY: Final = "run/systemd/system"
SERVICE: Final = "slipway-deadman@{}.service"
TIMER_SECONDS: Final = 30.0
TIMER: Final = """\
# Written by Slipway for one transaction; removed when that is settled.
[Unit]
Description=Slipway: {application} goes back unless transaction {transaction} is confirmed

[Timer]
OnActiveSec={milliseconds}ms
AccuracySec=1s
# The timer stands still while the machine sleeps and the deadline does not: waking moves the clock, which asks again.
OnClockChange=yes
Unit={service}
"""


@dataclass(frozen=True)
class Overdue:
    """Why a transaction goes back without being asked: ``reason`` is a stable code, ``message`` for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Deadman:
    """The dead-man of one application. What changes something is called under ``lease.exclusive``."""

    places: Places

    def deadline(self, seconds: int) -> int:
        """The deadline so many seconds from now."""
        return self._now() + seconds * 1000

    def arm(self, transaction: str, deadline: int) -> Path:
        """Make the marker where it is not there, and a timer beside those that are: the one returned. Refusal ``deadman_not_armed``."""
        try:
            self.places.markers.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._marker(transaction).touch(mode=0o644)
            return self._start_timer(transaction, deadline)
        except OSError as error:
            raise _not_armed(f"{error.strerror or error} ({error.filename})") from error

    def rearm(self, transaction: Transaction) -> Path:
        """The same for the deadline that a transaction has."""
        return self.arm(transaction.id, deadline_of(transaction) or self._now())

    def keep_only(self, timer: Path) -> None:
        """Let go of the timers that a newer one replaces: so at no time is there none."""
        self._drop([other for other in self._timers() if other != timer])

    def disarm(self, *, keep: str | None = None, quiet: bool = False) -> None:
        """Remove the markers and timers of all transactions but of that to ``keep``. What cannot be removed is harmless.

        ``quiet`` does not talk to systemd: at boot, where no timer of before is left.
        """
        timers = [timer for timer in self._timers() if keep is None or self._transaction_of(timer) != keep]
        self._drop(timers, quiet=quiet)
        for marker in self._markers():
            if marker.name != keep:
                with suppress(OSError):
                    marker.unlink()

    def seconds_left(self, transaction: Transaction) -> int | None:
        """Whole seconds until the host goes back by itself, 0 when it is time; None where no dead-man was armed."""
        deadline = deadline_of(transaction)
        if deadline is None:
            return None
        return max(0, math.ceil((deadline - self._now()) / 1000)) if self.is_marked(transaction) else 0

    def is_marked(self, transaction: Transaction) -> bool:
        """Whether the host has not been restarted since the transaction was begun."""
        return self._marker(transaction.id).exists()

    def overdue(self, transaction: Transaction | None) -> Overdue | None:
        """Whether it is time to go back, whoever asks; never for a transaction whose outcome is noted."""
        if transaction is None or (deadline := deadline_of(transaction)) is None or has_outcome(transaction):
            return None
        run = f"run {transaction.run_id} by {transaction.intent['run']['deployed_by']}"
        if not self.is_marked(transaction):
            return Overdue(
                reason="interrupted_by_reboot",
                message=f"this host was restarted before {run} had confirmed; it went back",
            )
        if self._now() < deadline:
            return None
        return Overdue(reason="not_confirmed", message=f"{run} did not confirm in time; this host went back by itself")

    def in_time(self, transaction: Transaction, application: Application) -> tuple[Places, Application]:
        """The same places and application with no more patience than there is time: an exchange must not outlive the dead-man."""
        deadline = deadline_of(transaction)
        if deadline is None:
            return self.places, application

        def seconds() -> float:
            return max(1.0, (deadline - self._now()) / 1000)

        def run(argv: Sequence[str], *, timeout_seconds: float, **options: Any) -> Finished:
            return self.places.host.run(argv, timeout_seconds=min(timeout_seconds, seconds()), **options)

        patience = application.health_patience
        hurried = replace(patience, deadline_seconds=min(patience.deadline_seconds, math.ceil(seconds())))
        places = replace(self.places, host=replace(self.places.host, run=run))
        return places, replace(application, health_patience=hurried)

    def _now(self) -> int:
        return int(self.places.host.clock.elapsed() * 1000)

    def _marker(self, transaction: str) -> Path:
        return self.places.markers / transaction

    def _markers(self) -> Iterator[Path]:
        yield from self.places.markers.glob("[0-9a-f]" * 32)

    def _timers(self) -> Iterator[Path]:
        """The timers of this application: the id of the transaction and a number of the timer's own end their names."""
        directory = self.places.host.root / DIRECTORY
        yield from sorted(path for path in directory.glob("slipway-deadman-*") if self._transaction_of(path))

    def _transaction_of(self, timer: Path) -> str | None:
        name = rf"slipway-deadman-{re.escape(self.places.application)}-([0-9a-f]{{32}})-[0-9a-f]{{8}}\.timer"
        found = re.fullmatch(name, timer.name)
        return found[1] if found else None

    def _start_timer(self, transaction: str, deadline: int) -> Path:
        # A name that systemd has never seen is read without a daemon-reload, which would read every unit of the host.
        name = f"slipway-deadman-{self.places.application}-{transaction}-{secrets.token_hex(4)}.timer"
        path = self.places.host.root / DIRECTORY / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        text = TIMER.format(
            application=self.places.application,
            transaction=transaction,
            milliseconds=max(1, deadline - self._now()),
            service=SERVICE.format(self.places.application),
        )
        path.write_text(text, encoding="utf-8")
        started = self._systemctl("start", name)
        if not started.succeeded:
            self._drop([path])
            raise _not_armed(started.described())
        return path

    def _drop(self, timers: list[Path], *, quiet: bool = False) -> None:
        if timers and not quiet:
            self._systemctl("stop", *(timer.name for timer in timers))
        for timer in timers:
            with suppress(OSError):
                timer.unlink()

    def _systemctl(self, *arguments: str) -> Finished:
        return self.places.host.run(("systemctl", "--no-ask-password", *arguments), timeout_seconds=TIMER_SECONDS)


def deadline_of(transaction: Transaction) -> int | None:
    """The newest deadline; None in a journal of a Slipway that knew no dead-man."""
    deadline = transaction.details("renewed").get("deadline", transaction.intent.get("deadline"))
    return None if deadline is None else int(deadline)


def has_outcome(transaction: Transaction) -> bool:
    """Whether the journal says how it ends: confirmed, or gone back."""
    return transaction.reached("confirmed") or transaction.reached("reverted")


def confirm_within(request: Mapping[str, Any]) -> int:
    """The seconds that a request gives; Refusal ``confirm_within_invalid``."""
    seconds = request.get("confirm_within_seconds")
    if seconds is None:
        return DEFAULT_SECONDS
    if type(seconds) is not int or not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Refusal(
            "confirm_within_invalid",
            expected=f"confirm_within_seconds between {LEAST_SECONDS} and {MOST_SECONDS}",
            found=quoted(seconds),
            remedy="Correct the budgets of the rollout.",
        )
    return seconds


def _not_armed(found: str) -> Refusal:
    return Refusal(
        "deadman_not_armed",
        expected="a timer of systemd that takes this host back unless the release is confirmed",
        found=found,
        remedy="Nothing was switched. Mend what is found; playbooks/bootstrap.yml installs the unit that the timer starts.",
    )
