# SPDX-License-Identifier: GPL-3.0-or-later
"""What every exchange with an application begins with: who asks, of whom, whether another is at work, and what it finds open."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..application.description import ONCE, Application
from ..application.health import Verdict
from ..base.clock import require_sane_clock
from ..base.errors import Refusal
from ..base.fields import require_release_id
from .credentials import Credentials
from .deadman import has_outcome
from .evidence import Evidence, Verified
from .history import History, View
from .judgement import Passed, require_passed
from .lease import Lease, Run, exclusive, locked
from .log import witnessed_size
from .places import Host, Identity, Places, require_environment
from .store import Store
from .transaction import Transactions, settled
from .work import Foreman

Request = Mapping[str, Any]
Answer = dict[str, Any]
LEASE_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Exchange:
    """What every exchange begins with: who asks, of whom, for which application."""

    host: Host
    identity: Identity
    application: Application
    places: Places
    run: Run
    check: bool
    witnessed: int | None = None

    @classmethod
    def begin(cls, request: Request, host: Host, *, check: bool) -> Exchange:
        """Parse the request and refuse what is not meant for this host, before anything is looked at."""
        identity = host.identity()
        require_environment(identity, request["environment"])
        if request.get("release_id") is not None:
            require_release_id(request["release_id"])
        application = Application.parse(request["application"]["name"], request["application"]["description"])
        places = Places(host, application.name)
        places.require_bootstrapped()
        run = Run.parse(request["run"])
        return cls(host, identity, application, places, run, check, witnessed_size(request))

    @property
    def store(self) -> Store:
        return Store(self.places)

    @property
    def evidence(self) -> Evidence:
        return Evidence(self.places)

    @property
    def history(self) -> History:
        return History(self.places.history)

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.places, self.application)

    def with_log(self, answer: Answer) -> Answer:
        """The answer with its part ``log``; what is not signed yet is signed first."""
        if not self.check:
            self.transactions.sign()
        return {**answer, "log": self.transactions.log.answer(self.witnessed)}

    @property
    def transactions(self) -> Transactions:
        return Transactions(self.places)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One exchange at a time; looking, as check mode does, needs no lock."""
        with nullcontext() if self.check else exclusive(self.places.lock, self.host.clock):
            yield

    def recover(self, *, forced: bool = False) -> bool:
        """Settle what a dead or expired run left open; a live run's is left alone unless ``forced``. True when it did."""
        if not forced and self.holder():
            return False
        if self.check:
            return self.transactions.journal.read() is not None
        return self.transactions.recover() is not None

    def current(self, *, recovered: bool = True) -> str | None:
        """What is active, or, in check mode, what will be once the open transaction is ``recovered``."""
        if self.check and recovered and not self.holder():
            return settled(self.store.current(), self.transactions.journal.read())
        return self.store.current()

    def is_own_to_recover(self) -> bool:
        """Staging settles this controller's dead runs, what is overdue and what lacks nothing but its record.

        Another's expired run waits for somebody who wants to switch.
        """
        lease, transaction = self.transactions.leases.read(), self.transactions.journal.read()
        is_over = transaction is not None and (
            has_outcome(transaction) or self.transactions.deadman.overdue(transaction) is not None
        )
        return lease is None or lease.controller_id == self.run.controller_id or is_over

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One exchange at a time, and no other run that lives: waits a moment for its end, then Refusal ``locked`` names it.

        The wait has gaps of random length in which the other may go on, and so that of many who wait not all come at once.
        """
        deadline = self.host.clock.elapsed() + LEASE_WAIT_SECONDS
        while True:
            with self.locked():
                holder = self.holder()
                if holder is None:
                    yield
                    return
                if self.check or self.host.clock.elapsed() >= deadline:
                    raise locked(holder)
            self.host.clock.sleep(0.1 + secrets.randbelow(400) / 1000)

    def holder(self) -> Lease | None:
        """The lease of another run that lives."""
        return self.transactions.holder(self.run)

    def require_passed(
        self, verified: Verified, view: View, current: str | None, request: Request, *, is_rollback: bool
    ) -> Passed:
        """Approvals, expiry and sequence are judged where somebody wants a switch, never where an unconfirmed one is taken back."""
        passed = require_passed(self.places, verified.manifest, view, current, request, is_rollback=is_rollback)
        if passed.judged.authorizations:  # they end soon: a clock that was set back must not revive one
            self.require_sane_clock()
        return passed

    def keep(self, passed: Passed, release_id: str) -> bool:
        """Keep what counted beside the release; True when something was not kept yet. In check mode, only say so."""
        if self.check:
            return any(passed.lacking(self.evidence, release_id).values())
        return passed.keep(self.evidence, release_id)

    def foreman(self, current: str | None) -> Foreman:
        """Who decides about hooks and migrations of a switch from the release ``current``."""
        return Foreman(self.evidence, self.identity.name, current)

    def require_sane_clock(self) -> None:
        newest = self.history.last()
        require_sane_clock(self.host.clock.now(), newest["timestamp"] if newest else None)

    def judge_once(self) -> Verdict:
        """Health of what is active already, without waiting for it to get better."""
        return self.transactions.judge(self.application, ONCE)

    def require_no_candidate(self, verified: Verified) -> None:
        if verified.manifest.promotion.candidate and not self.check:
            raise Refusal(
                "release_is_candidate",
                expected="a release; a candidate is there to be judged in check mode",
                found=f"the candidate {verified.manifest.release_id}",
                remedy="Make the release (make release-manifest, or playbooks/release.yml) and deploy that.",
            )
