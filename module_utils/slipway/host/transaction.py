# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch of an application from one release to another, as a transaction that any crash leaves whole.

1. *intent*: room is reserved, replaced files are kept, the link back is made, the lease is taken, the dead-man is armed, the
   intent is durable; then the release's hooks of before_switch and its migrations are run.
2. *switched*: one rename of ``current``, one of the link to the credentials; then files outside the tree; then the unit restarts and is asked
   for its health.
3. *confirmed* or *reverted*: noted in the journal, then one record in the history and a checkpoint over it, then the
   journal is removed.

Whoever comes next finds either no journal, or one that says what to finish: an outcome that was noted is completed, and
anything else goes back. Recovery does the same things again in the same order, so it may itself be interrupted.
Everything here runs under ``lease.exclusive``.
"""

from __future__ import annotations

import errno
import glob
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..application.description import Application, Patience
from ..application.health import Verdict
from ..application.rollback_plan import failed_steps, verify_way_back
from ..base.clock import seconds_of, timestamp
from ..base.errors import Refusal
from ..base.files import (
    fsync_directory,
    full_disk_is_a_refusal,
    point_link,
    read_link,
    remove_durable,
    remove_temporary,
    remove_tree,
    write_durable,
)
from ..trust.chain import Record
from ..trust.promotion import Step
from .backup import Backups, Replacement
from .credentials import Credentials, Turnover
from .deadman import DEFAULT_SECONDS, Deadman, deadline_of, has_outcome
from .evidence import Evidence
from .history import History
from .hooks import (
    Commands,
    Failure,
    failed_hooks,
    failed_migrations,
    hooks_of,
    migrations_of,
    stands_in_the_way,
    told_of_way_back,
)
from .journal import Journal, Transaction
from .lease import Lease, LeaseFile, Run
from .log import Log
from .places import FORMAT, Identity, Places
from .store import RELEASES, Store
from .strategy import Strategy, strategy_of
from .work import Work

RESERVE_BYTES = 256 * 1024
BEFORE_SWITCH = (
    "hooked",
    "migrating",
    "migrated",
    "migrating_back",
    "migrated_back",
    "renewed",
)  # steps that may come before the link moves
JUDGED = ("sequence", "policy", "approvals", "authorizations")  # absent in the journal of an older version
UNASKED = Verdict("inconclusive", 0, "nothing was asked: at boot units start later")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Judged:
    """By what a release was let pass, as records name it: its sequence, the policy {version, digest}, and who agreed."""

    sequence: int
    policy: Mapping[str, Any]
    approvals: Sequence[Mapping[str, str]] = ()
    authorizations: Sequence[Mapping[str, str]] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "policy": dict(self.policy),
            "approvals": [dict(each) for each in self.approvals],
            "authorizations": [dict(each) for each in self.authorizations],
        }


@dataclass(frozen=True)
class Intent:
    """What a transaction is to do.

    ``artifacts`` are [{path, sha256}] of the release's declared members; ``watch_hours`` is for how long the release is
    watched once it is confirmed; ``verification_steps`` are for after the way back: from the release that is left.
    ``share`` is the percentage of its work that the application takes on until the rollout says otherwise, None for all;
    ``confirm_within_seconds`` is the dead-man's time; ``work`` is what is run beside the unit; ``turnover`` is about the credentials of the
    service, None where it has none.
    """

    release_id: str
    manifest_digest: str
    previous_release_id: str | None
    rollback: bool
    takes_back: str | None
    artifacts: Sequence[Mapping[str, str]]
    judged: Judged
    watch_hours: int = 0
    verification_steps: Sequence[Step] = ()
    share: int | None = None
    confirm_within_seconds: int = DEFAULT_SECONDS
    work: Work = field(default_factory=Work)
    turnover: Turnover | None = None


@dataclass(frozen=True)
class TakenBack:
    """How going back ended: the record, and how the application is now."""

    record: Record
    verdict: Verdict


def outliving(run: Run, seconds: int) -> Run:
    """The run with a lease that ends no earlier than a deadline so many seconds from now."""
    return replace(run, lease_seconds=max(run.lease_seconds, seconds + 1))


def status_of_failure(transaction: Transaction) -> str:
    """A release that was active before is still active after its failure."""
    return "failed" if transaction.intent["previous_release_id"] == transaction.intent["release_id"] else "rolled_back"


def settled(active: str | None, transaction: Transaction | None) -> str | None:
    """What is active once the open transaction, if any, is settled: one without an outcome goes back."""
    if transaction is None or transaction.reached("confirmed") or transaction.reached("reverted"):
        return active
    previous: str | None = transaction.intent["previous_release_id"]
    return previous


class Transactions:
    """All changes of what one application serves on this host.

    ``at_boot`` moves links and files only: units start later, so none is talked to, and nothing is waited for.
    """

    def __init__(self, places: Places, *, at_boot: bool = False) -> None:
        self.places = places
        self.at_boot = at_boot
        self.clock = places.host.clock
        self.store = Store(places)
        self.history = History(places.history)
        self.log = Log(places)
        self.journal = Journal(places.journal)
        self.leases = LeaseFile(places.lease)
        self.backups = Backups(places)
        self.credentials = Credentials(places)
        self.deadman = Deadman(places)

    def open(
        self,
        intent: Intent,
        run: Run,
        identity: Identity,
        application: Application,
        replacements: Sequence[Replacement],
    ) -> Transaction:
        """Prepare everything that going back needs, then make the intent durable. Until that, nothing is changed."""
        transaction = uuid.uuid4().hex
        reason = "rollback" if intent.rollback else "deploy"
        begun = self.deadman.deadline(intent.confirm_within_seconds)
        try:
            with full_disk_is_a_refusal(self.places.state, what="journal a transaction and keep its history"):
                self._reserve_room()
                if not intent.rollback:  # a history that is not as it was signed must not stand in the way back
                    self.log.require_sound()
                holder = outliving(run, intent.confirm_within_seconds)
                lease = self.leases.take(holder, reason=f"{reason} of {intent.release_id}", now=self.clock.now())
                kept = self.backups.keep(replacements, transaction)
            with full_disk_is_a_refusal(self.places.base, what="make what going back needs"):
                self._prepare_way_back(intent.previous_release_id)
                planned = self.strategy(application).plan()
            deadline = self._armed(transaction, begun, required=not intent.rollback)
            with full_disk_is_a_refusal(self.places.state, what="journal a transaction"):
                return self.journal.open(
                    {
                        "id": transaction,
                        "run": run.identity(),
                        "lease_token": lease.token,
                        "release_id": intent.release_id,
                        "manifest_digest": intent.manifest_digest,
                        "previous_release_id": intent.previous_release_id,
                        "rollback": intent.rollback,
                        "takes_back": intent.takes_back,
                        "environment": identity.environment,
                        "host_id": identity.id,
                        "application": {"name": application.name, "description": dict(application.raw)},
                        "files": [dict(entry) for entry in kept],
                        "artifacts": [dict(artifact) for artifact in intent.artifacts],
                        **intent.judged.as_dict(),
                        "watch_hours": intent.watch_hours,
                        "verification_steps": [step.as_dict() for step in intent.verification_steps],
                        **intent.work.as_dict(),
                        "share": intent.share,
                        "started": self.clock.now(),
                        "deadline": deadline,
                        **({"credentials": intent.turnover.as_dict()} if intent.turnover else {}),
                        **planned,
                    }
                )
        except BaseException:
            self._abandon(transaction, run)
            raise

    def _armed(self, transaction: str, deadline: int, *, required: bool) -> int | None:
        """The deadline once its dead-man is armed; None where it cannot be and is not ``required``: a rollback goes on without."""
        try:
            self.deadman.arm(transaction, deadline)
        except Refusal:
            if required:
                raise
            self.deadman.disarm()
            return None
        return deadline

    def _abandon(self, transaction: str, run: Run) -> None:
        self.journal.close()
        remove_durable(self.places.way_back)
        if (kept := self.places.backups / transaction).is_dir():
            remove_tree(kept)
        self.leases.release(run.run_id)
        self.deadman.disarm()

    @property
    def commands(self) -> Commands:
        """What is run beside the unit."""
        return Commands(self.places, self._reach)

    def prepare(self, transaction: Transaction, run: Run, seconds: int) -> tuple[Transaction, Failure | None]:
        """Run what stands before the switch; returns what failed, None when nothing did.

        Before a rollback that are the hooks of the release that is left: whatever they say, it is left. When anything was run,
        the dead-man has its ``seconds`` anew: they count from the switch.
        """
        before = len(transaction.steps)
        if transaction.intent["rollback"]:
            transaction, _ = self.commands.hooks(transaction, "before_rollback")
        else:
            transaction, failure = self.commands.hooks(transaction, "before_switch")
            if failure:
                return transaction, Failure(reason="hook_failed", message=failure)
            transaction, failure = self.commands.migrate(transaction)
            if failure:
                return transaction, Failure(reason="migration_failed", message=failure)
        if len(transaction.steps) > before:
            transaction = self.renew(transaction, run, seconds)
        return transaction, None

    def switch(self, transaction: Transaction, replacements: Sequence[Replacement]) -> Transaction:
        """The renames. After them the new release is active, with its credentials; before them nothing was."""
        began = self.clock.elapsed()
        self.tell_share(transaction.intent["share"])
        point_link(self.places.current, RELEASES + transaction.intent["release_id"])
        if turnover := Turnover.of(transaction.intent):
            self.credentials.point(turnover.after)
        self.backups.replace(replacements)
        return self._reach(transaction, "switched", switch_ms=self._milliseconds_since(began))

    def tell_share(self, share: int | None) -> None:
        """Let the application know that it is to take on ``share`` percent of its work; None or 100 for all of it."""
        if share in (None, 100):
            remove_durable(self.places.share)
        else:
            write_durable(self.places.share, f"{share}\n".encode(), mode=0o644)

    def start(
        self, transaction: Transaction, application: Application, *, in_time: bool = True
    ) -> tuple[Transaction, Verdict]:
        """Let the unit run the new release and judge its health; ``in_time`` gives up on it at the dead-man's deadline."""
        began = self.clock.elapsed()
        places = self.places
        if in_time:
            places, application = self.deadman.in_time(transaction, application)
        strategy = strategy_of(application, places, transaction.intent)
        verdict = strategy.run()
        if verdict.is_failure:
            return transaction, verdict
        startup = strategy.startup_milliseconds()
        durations = {
            "health_ms": self._milliseconds_since(began),
            **({} if startup is None else {"startup_ms": startup}),
        }
        return self._reach(transaction, "healthy", **durations), verdict

    def strategy(self, application: Application, transaction: Transaction | None = None) -> Strategy:
        """How what runs of the application takes a release, in an open transaction or only to be looked at."""
        return strategy_of(application, self.places, transaction.intent if transaction else {})

    def judge(self, application: Application, patience: Patience | None = None) -> Verdict:
        """The application's health now, with the patience that it declares unless another is given."""
        return self.strategy(application).judge(patience)

    def renew(self, transaction: Transaction, run: Run, seconds: int) -> Transaction:
        """Another deadline, so many seconds from now; the lease ends no earlier. Refusal ``deadman_not_armed``: the old one stays."""
        deadline = self.deadman.deadline(seconds)
        timer = self.deadman.arm(transaction.id, deadline)
        self.leases.take(
            outliving(run, seconds), reason=f"deploy of {transaction.intent['release_id']}", now=self.clock.now()
        )
        transaction = self._reach(transaction, "renewed", deadline=deadline)
        self.deadman.keep_only(timer)
        return transaction

    def confirm(self, transaction: Transaction, *, smoke_test_passed: bool | None, confirmed_by: str) -> Record:
        """The release stays: one record of success. After a rollback the plan of the release that was left is verified.

        What is run after that cannot undo it; what failed of it is in the record.
        """
        transaction = self._reach(
            transaction, "confirmed", smoke_test_passed=smoke_test_passed, confirmed_by=confirmed_by
        )
        if not transaction.intent["rollback"]:
            transaction, _ = self.commands.hooks(transaction, "after_confirm")
            return self._finish(transaction)
        transaction = self._verify_way_back(transaction, Application.parse(**transaction.intent["application"]))
        transaction = self.commands.take_back(transaction)
        transaction, _ = self.commands.hooks(transaction, "after_rollback")
        return self._finish(transaction)

    def take_back(
        self, transaction: Transaction, *, status: str, reason: str, message: str, alone: bool = False
    ) -> TakenBack:
        """Go back to what was active before, or, after a first deploy, to nothing.

        Where the release before cannot be trusted any more, or lies behind an irreversible migration, there is no way back: the
        new one stays, the record says ``failed``. A backup that was altered is not restored; the record says so and the release
        still goes back. ``alone``: no run that knows of the other hosts asked for it, so that migrations, which are theirs too, stay.
        """
        application = Application.parse(**transaction.intent["application"])
        previous = transaction.intent["previous_release_id"]
        moved = self.has_moved(transaction)
        if moved and previous is not None:
            irreversible = stands_in_the_way(transaction)
            if obstacle := irreversible or self._obstacle(previous) or self._lacking(transaction):
                message, verdict = self._stay(
                    transaction, application, f"{message} | no way back to {previous}: {obstacle}"
                )
                reason = "migration_irreversible" if irreversible else reason
                transaction = self._reach(transaction, "reverted", status="failed", reason=reason, message=message)
                return TakenBack(self._finish(transaction), verdict)
        transaction = self._reach(transaction, "reverting", status=status, reason=reason, message=message, moved=moved)
        self.tell_share(None)
        is_left = moved and not transaction.intent["rollback"]
        if is_left and not self.at_boot:
            transaction, _ = self.commands.hooks(transaction, "before_rollback")
        # A crash between two files and the next step shows in no step, nor in the link of a release deployed again.
        message = self._restore_files(transaction, message)
        if turnover := Turnover.of(transaction.intent):
            self._with_reserve(lambda: self.credentials.point(turnover.before))
        if moved:
            self._link_back(previous)
            application, verdict = self._run_again(transaction, previous, application)
        else:
            verdict = Verdict("inconclusive", 0, "the link had not moved")
        transaction = self._reach(transaction, "reverted", status=status, reason=reason, message=message)
        if is_left and previous is not None and not self.at_boot:
            transaction = self._verify_way_back(transaction, application)
        if not transaction.intent["rollback"] and not alone:
            transaction = self.commands.take_back(transaction)
        if is_left and not self.at_boot:
            transaction, _ = self.commands.hooks(transaction, "after_rollback")
        return TakenBack(self._finish(transaction), verdict)

    def has_moved(self, transaction: Transaction) -> bool:
        """Whether the switch of an open transaction was begun; of a release that is deployed again its link says nothing."""
        began = transaction.details("reverting")
        if "moved" in began:
            return bool(began["moved"])
        steps = [entry for entry in transaction.steps if entry["step"] not in BEFORE_SWITCH]
        turnover = Turnover.of(transaction.intent)
        turned = turnover is not None and self.credentials.current() != turnover.before
        return bool(steps) or turned or self.store.current() != transaction.intent["previous_release_id"]

    def _verify_way_back(self, transaction: Transaction, application: Application) -> Transaction:
        """Run the rollback plan's steps; the outcome is durable by now, so whatever comes of them cannot change it."""
        steps, active = transaction.intent.get("verification_steps", ()), self.store.current()
        if not steps or active is None:
            return transaction
        results = verify_way_back(steps, self.places.host.run, application.user, self.store.release(active))
        return self._reach(transaction, "verified", verification=results)

    def _stay(self, transaction: Transaction, application: Application, message: str) -> tuple[str, Verdict]:
        """Bring all of the new release in place: a crash may have come between its link, its files and its unit.

        Returns the message, with what could not be brought in place, and the health.
        """
        release_id = transaction.intent["release_id"]
        if self.store.current() != release_id:
            point_link(self.places.current, RELEASES + release_id)
        if turnover := Turnover.of(transaction.intent):
            self._with_reserve(lambda: self.credentials.point(turnover.after))
        try:
            release, records = self.store.release(release_id), self.history.records()
            replacements = self.backups.replacements(application.files, release, release_id, records)
            self._with_reserve(lambda: self.backups.replace(self.backups.outdated(replacements)))
        except (Refusal, OSError) as error:
            message = f"{message} | files outside the release were not replaced: {error}"
        if self.at_boot:
            return message, UNASKED
        if transaction.reached("healthy") and not transaction.reached("reverting"):
            return message, self.judge(application)
        return message, self.strategy(application, transaction).stay()

    def _obstacle(self, previous: str) -> str | None:
        """Why the release before must not run again, None when it may: its bytes are verified before it does."""
        evidence = Evidence(self.places)
        try:
            evidence.verify_tree(evidence.verify(previous))
        except Refusal as refusal:
            return str(refusal)
        return None

    def _lacking(self, transaction: Transaction) -> str | None:
        """Why the service cannot get the credentials that it had before, None when it can."""
        turnover = Turnover.of(transaction.intent)
        flaw = self.credentials.flaw(turnover.before) if turnover is not None and turnover.changes else None
        return f"its credentials cannot be loaded again: {flaw}" if flaw else None

    def _run_again(
        self, transaction: Transaction, previous: str | None, application: Application
    ) -> tuple[Application, Verdict]:
        """Let the unit run what is active again; returns the description that goes for it, and its health."""
        if self.at_boot:
            return application, UNASKED
        if previous is None:
            return application, self.strategy(application, transaction).stop()
        before = self._as_before(previous, application)
        return before, self.strategy(before, transaction).run_again()

    def _as_before(self, previous: str, application: Application) -> Application:
        """The description that the release before was staged under; a unit that only the new one has is stopped."""
        before = Evidence(self.places).application(previous)
        if before.unit != application.unit:
            self.strategy(application).stop()
        return before

    def _restore_files(self, transaction: Transaction, message: str) -> str:
        try:
            self._with_reserve(lambda: self.backups.restore(transaction.intent["files"]))
        except (Refusal, OSError) as error:
            return f"{message} | files outside the release were not restored: {error}"
        return message

    def _link_back(self, previous: str | None) -> None:
        if previous is None:
            remove_durable(self.places.current)
        elif read_link(self.places.way_back) == RELEASES + previous:
            os.rename(self.places.way_back, self.places.current)
            fsync_directory(self.places.base)
        else:
            point_link(self.places.current, RELEASES + previous)

    def holder(self, run: Run) -> Lease | None:
        """The lease of another run that lives.

        Where a dead-man is armed it says how long a run may live, whatever becomes of the wall clock that leases end by. An
        outcome that was noted is anybody's to complete: the exchange that noted it is gone, or we had not got the lock.
        """
        transaction, lease = self.journal.read(), self.leases.read()
        if lease is None or self.deadman.overdue(transaction):
            return None
        if transaction is not None and has_outcome(transaction):
            return None
        is_armed = transaction is not None and deadline_of(transaction) is not None
        return None if lease.yields_to(run, None if is_armed else self.clock.now()) else lease

    def recover(self) -> Record | None:
        """Finish or take back what an earlier exchange left open, and sweep up; None when nothing was open."""
        transaction = self.journal.read()
        self._sweep(transaction)
        if transaction is None:
            return None
        if transaction.reached("confirmed") or transaction.reached("reverted"):
            return self._finish(transaction)
        return self.take_back(transaction, **self._outcome_of(transaction), alone=True).record

    def _outcome_of(self, transaction: Transaction) -> dict[str, str]:
        """Status, reason and message of a transaction that goes back without having been asked to."""
        if began := transaction.details("reverting"):
            return {key: began[key] for key in ("status", "reason", "message")}
        overdue = self.deadman.overdue(transaction)
        if overdue is None:
            message = f"run {transaction.run_id} did not end; recovery went back"
            outcome = {"status": "interrupted", "reason": "interrupted", "message": message}
            return {**outcome, "reason": "interrupted_by_reboot"} if self.at_boot else outcome
        has_run = (
            overdue.reason == "not_confirmed" and self.has_moved(transaction) and not transaction.intent["rollback"]
        )
        return {
            "status": status_of_failure(transaction) if has_run else "interrupted",
            "reason": overdue.reason,
            "message": overdue.message,
        }

    def _sweep(self, transaction: Transaction | None) -> None:
        """Remove what an interrupted exchange left. Without a transaction, a lease is one whose switch never began."""
        self.store.sweep()
        self.credentials.sweep()
        self.deadman.disarm(keep=transaction.id if transaction else None, quiet=self.at_boot)
        for directory in (
            self.places.base,
            self.places.instances,
            self.places.state,
            *self.places.manifests.glob("*/"),
        ):
            remove_temporary(directory)
        if transaction is not None:
            for kept in transaction.intent["files"]:
                replaced = self.places.host.root / kept["path"].lstrip("/")
                remove_temporary(replaced.parent, glob.escape(replaced.name))
            return
        self.journal.close()
        self.tell_share(None)
        remove_durable(self.places.way_back)
        if self.places.lease.exists():
            recorded = {record["transaction"] for record in self.history.records()}
            for directory in self.places.backups.glob("*/"):
                if directory.name not in recorded:
                    remove_tree(directory)
            remove_durable(self.places.lease)

    def _finish(self, transaction: Transaction) -> Record:
        """Append the record of a noted outcome, then forget the transaction. Once: a crash may have come between, and records of others."""
        record = self.history.of_transaction(transaction.id)
        if record is None:
            record = self._with_reserve(lambda: self.history.append(self._record(transaction)))
        self.sign()
        self.tell_share(None)
        self._settle(transaction)
        remove_durable(self.places.way_back)
        self.leases.release(transaction.run_id)
        self.journal.close()
        self.deadman.disarm(quiet=self.at_boot)
        return record

    def _settle(self, transaction: Transaction) -> None:
        """Let end what only another outcome would have needed."""
        is_new = self.store.current() == transaction.intent["release_id"]
        is_same = transaction.intent["previous_release_id"] == transaction.intent["release_id"]
        turnover = Turnover.of(transaction.intent)
        if is_same and turnover is not None and turnover.changes:
            kept = is_new and self.credentials.current() == turnover.after
        else:
            kept = is_new and not (is_same and transaction.reached("reverting"))
        application = Application.parse(**transaction.intent["application"])
        self.strategy(application, transaction).settle(kept=kept, boot=self.at_boot)

    def _record(self, transaction: Transaction) -> Record:
        intent, confirmed = transaction.intent, transaction.details("confirmed")
        verification = transaction.details("verified").get("verification", [])
        hooks, migrations = hooks_of(transaction), migrations_of(transaction)
        outcome = transaction.details("reverted") or {"status": "success", "reason": None, "message": "confirmed"}
        if outcome["status"] == "success":
            failures = [
                failure
                for failure in (
                    Failure(reason="rollback_unverified", message=failed_steps(verification) or ""),
                    Failure(reason="migration_left", message=failed_migrations(migrations) or ""),
                    Failure(reason="hook_failed", message=failed_hooks(hooks) or ""),
                )
                if failure.message
            ]
            if failures:
                message = f"confirmed; {'; '.join(failure.message for failure in failures)}"
                outcome = {"status": "success", "reason": failures[0].reason, "message": message}
        else:
            outcome = {**outcome, "message": " | ".join([outcome["message"], *told_of_way_back(transaction)])}
        durations = {
            key: value for entry in transaction.steps for key, value in entry.items() if key.endswith("_ms")
        }  # fmt: skip
        common = self._common(intent["run"], intent["environment"], intent["host_id"], intent["application"]["name"])
        return {
            **common,
            "transaction": transaction.id,
            "operation": "rollback" if intent["rollback"] else "deploy",
            "release_id": intent["release_id"],
            "previous_release_id": intent["previous_release_id"],
            "active_release_id": self.store.current(),
            "manifest_digest": intent["manifest_digest"],
            "status": outcome["status"],
            "rollback": intent["rollback"] or outcome["status"] != "success",
            "takes_back": intent["takes_back"],
            "reason": outcome["reason"],
            "message": outcome["message"],
            "artifacts": intent["artifacts"],
            "backups": list(intent["files"]),
            "smoke_test_passed": confirmed.get("smoke_test_passed"),
            **{key: intent[key] for key in JUDGED if key in intent},
            "window": _window(transaction, common["timestamp"]),
            "verification": verification,
            "hooks": hooks,
            "migrations": migrations,
            "irreversible_accepted": intent.get("irreversible_accepted", []),
            "shared_links": Application.parse(**intent["application"]).shared_links(),
            "credentials": self._credentials(transaction),
            "durations": {**durations, "total_seconds": max(0, self.clock.now() - intent["started"])},
        }

    def _credentials(self, transaction: Transaction) -> dict[str, Any] | None:
        """For the record: the generation that the service got before, the one that it gets now, and whether older ones are done with."""
        turnover = Turnover.of(transaction.intent)
        return None if turnover is None else {**turnover.as_dict(), "after": self.credentials.current()}

    def record_failure(
        self, run: Run, identity: Identity, *, application: str, release_id: str, manifest_digest: str, reason: str, message: str,
        artifacts: Sequence[Mapping[str, str]], judged: Judged,
    ) -> Record:  # fmt: skip
        """A deployment that ended before its switch: nothing had changed, and the history says why."""
        current = self.store.current()
        record = self.history.append(
            {
                **self._common(run.identity(), identity.environment, identity.id, application),
                "transaction": uuid.uuid4().hex,
                "operation": "deploy",
                "release_id": release_id,
                "previous_release_id": current,
                "active_release_id": current,
                "manifest_digest": manifest_digest,
                "status": "failed",
                "rollback": False,
                "takes_back": None,
                "reason": reason,
                "message": message,
                "artifacts": [dict(artifact) for artifact in artifacts],
                "backups": [],
                "smoke_test_passed": None,
                **judged.as_dict(),
                "window": None,
                "verification": [],
                "hooks": [],
                "migrations": [],
                "irreversible_accepted": [],
                "shared_links": {},
                "credentials": None,
                "durations": {},
            }
        )
        self.sign()
        return record

    def sign(self) -> None:
        """Sign what the history has now. What stands against that cannot undo what was recorded: the next exchange tries again."""
        with suppress(Refusal, OSError):
            self._with_reserve(self.log.sign)

    def _common(self, run: Mapping[str, Any], environment: str, host_id: str, application: str) -> dict[str, Any]:
        return {
            **run, "application": application, "environment": environment, "host_id": host_id,
            "timestamp": timestamp(self.clock.now()),
        }  # fmt: skip

    def _reserve_room(self) -> None:
        """Take the room that going back may need while there still is some."""
        if not self.places.format.exists():
            write_durable(self.places.format, f"{FORMAT}\n".encode(), mode=0o644)
        descriptor = os.open(self.places.reserve, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _prepare_way_back(self, previous: str | None) -> None:
        remove_durable(self.places.way_back)
        if previous is not None:
            point_link(self.places.way_back, RELEASES + previous)

    def _reach(self, transaction: Transaction, step: str, **details: Any) -> Transaction:
        return self._with_reserve(lambda: self.journal.reach(transaction, step, **details))

    def _with_reserve(self, write: Callable[[], Result]) -> Result:
        """Write; on a full disk, free the reserve and write again."""
        try:
            return write()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            remove_durable(self.places.reserve)
            return write()

    def _milliseconds_since(self, began: float) -> int:
        return round((self.clock.elapsed() - began) * 1000)


def _window(transaction: Transaction, start: str) -> dict[str, str] | None:
    """For how long a release that was deployed is watched more sharply, None where none was."""
    hours = transaction.intent.get("watch_hours", 0)
    if not hours or not transaction.reached("confirmed") or transaction.intent["rollback"]:
        return None
    return {"start": start, "end": timestamp(seconds_of(start) + hours * 3600)}
