# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs what a release brings beside its service: hooks at the moments of a host, migrations, and what takes them back.

A command runs without a shell, as the application's user, in the release that brings it, for as long as its time-out; then
its whole process group is killed. It is told where it is by SLIPWAY_MOMENT, SLIPWAY_APPLICATION, SLIPWAY_RELEASE_ID (the release
that brings it), SLIPWAY_PREVIOUS_RELEASE_ID (the one that was active before it, or is again; empty for none), SLIPWAY_RUN_ID
and, for a migration, SLIPWAY_MIGRATION. What it writes is not kept: records have its digest, messages the end of it after a failure.

Hooks are run once, but for those of a way back: recovery, which does all that again, runs them again too. A migration that
was cut off is run again by the next deployment, for nobody knows how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..application.description import Application
from ..base.command import Finished, OutputDigest
from ..base.errors import shown
from ..trust.chain import Record
from ..trust.lifecycle import Migration
from ..trust.promotion import Step
from .journal import Transaction
from .places import Places
from .store import Store

# A failure at these moments ends the switch; at the others it is told and recorded.
DECISIVE = ("before_switch", "after_switch", "before_confirm")
MIGRATE, TAKE_BACK = "migrate", "migrate_back"
SHOWN_OUTPUT = 300
RUNBOOK = "docs/runbooks/irreversible-migration.md"


@dataclass(frozen=True)
class Failure:
    """What ended a switch: ``reason`` is a stable code, ``message`` for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Commands:
    """What one transaction runs. ``reach`` notes a step durably in its journal, as `Transactions` does it.

    Everything is in the intent, so that recovery needs nothing else: hooks {moment: [{argv, timeout_seconds}]}, migrations
    [as in the manifest] (of a deployment those that the release before does not name, of a rollback those that this host ran
    and the release that is gone back to does not name) and migrate (whether this host runs them, or takes them back).
    """

    places: Places
    reach: Callable[..., Transaction]

    def hooks(self, transaction: Transaction, moment: str) -> tuple[Transaction, str | None]:
        """Run the hooks of a moment and note how they ended; returns what failed, None when nothing did.

        After a failure at a decisive moment the rest is not run: what they prepare for does not happen.
        """
        results, failures = [], []
        for step in transaction.intent.get("hooks", {}).get(moment, ()):
            finished, result = self._run(transaction, moment, Step(tuple(step["argv"]), step["timeout_seconds"]), {})
            results.append({"moment": moment, **result})
            if not finished.succeeded:
                failures.append(f"{moment} {_ending(step['argv'], finished)}")
                if moment in DECISIVE:
                    break
        if results:
            transaction = self.reach(transaction, "hooked", hooks=results)
        return transaction, "; ".join(failures) or None

    def has_passed(self, transaction: Transaction, moment: str) -> bool:
        """Whether every hook of the moment was run already, with success."""
        results = [result for result in hooks_of(transaction) if result["moment"] == moment]
        wanted = transaction.intent.get("hooks", {}).get(moment, ())
        return len(results) == len(wanted) and all(result["passed"] for result in results)

    def migrate(self, transaction: Transaction) -> tuple[Transaction, str | None]:
        """Run the migrations in their order; returns the one that failed, after which no other is run."""
        for migration in _migrations(transaction) if transaction.intent.get("migrate") else ():
            transaction = self.reach(transaction, "migrating", name=migration.name)
            step = Step(migration.argv, migration.timeout_seconds)
            finished, result = self._run(transaction, MIGRATE, step, {"SLIPWAY_MIGRATION": migration.name})
            transaction = self.reach(transaction, "migrated", name=migration.name, **_without_argv(result))
            if not finished.succeeded:
                return transaction, f"{migration.name}: {_ending(migration.argv, finished)}"
        return transaction, None

    def take_back(self, transaction: Transaction) -> Transaction:
        """Take back, newest first, what this transaction ran, or, of a rollback, what earlier ones ran here.

        It ends at the first that cannot be taken back, or is not: nobody knows what those before it would meet.
        """
        if not transaction.intent.get("migrate"):
            return transaction
        is_rollback, ran = transaction.intent["rollback"], applied(migrations_of(transaction))
        for migration in reversed(_migrations(transaction)):
            if not is_rollback and migration.name not in ran:
                continue
            if migration.back is None:
                break
            transaction = self.reach(transaction, "migrating_back", name=migration.name)
            step = Step(migration.back, migration.timeout_seconds)
            finished, result = self._run(transaction, TAKE_BACK, step, {"SLIPWAY_MIGRATION": migration.name})
            transaction = self.reach(transaction, "migrated_back", name=migration.name, **_without_argv(result))
            if not finished.succeeded:
                break
        return transaction

    def _run(
        self, transaction: Transaction, moment: str, step: Step, more: Mapping[str, str]
    ) -> tuple[Finished, dict[str, Any]]:
        """Run one command of the release that brings it: of a rollback, of the release that is left."""
        intent, clock = transaction.intent, self.places.host.clock
        before, after = intent["previous_release_id"], intent["release_id"]
        release, other = (before, after) if intent["rollback"] else (after, before)
        application = Application.parse(**intent["application"])
        digest, began = OutputDigest(), clock.elapsed()
        finished = self.places.host.run(
            step.argv,
            timeout_seconds=step.timeout_seconds,
            user=application.user,
            directory=Store(self.places).release(str(release)),
            environment={
                "SLIPWAY_MOMENT": moment,
                "SLIPWAY_APPLICATION": application.name,
                "SLIPWAY_RELEASE_ID": str(release),
                "SLIPWAY_PREVIOUS_RELEASE_ID": other or "",
                "SLIPWAY_RUN_ID": transaction.run_id,
                **more,
            },
            take=digest.take,
        )
        return finished, {
            "argv": list(step.argv),
            "exit_code": finished.exit_code,
            "output_sha256": digest.sha256(),
            "passed": finished.succeeded,
            "milliseconds": round((clock.elapsed() - began) * 1000),
        }


def hooks_of(transaction: Transaction) -> list[dict[str, Any]]:
    """How the hooks of a transaction ended: [{moment, argv, exit_code (null: killed), output_sha256, passed, milliseconds}]."""
    return [dict(result) for entry in transaction.steps if entry["step"] == "hooked" for result in entry["hooks"]]


def migrations_of(transaction: Transaction) -> list[dict[str, Any]]:
    """What was run of migrations: [{name, direction (forward, back), exit_code, output_sha256, passed, milliseconds}].

    One that was cut off has null for all but the first two: it may have had its effect or not.
    """
    found: list[dict[str, Any]] = []
    for entry in transaction.steps:
        if entry["step"] in ("migrating", "migrating_back"):
            direction = "forward" if entry["step"] == "migrating" else "back"
            unknown = dict.fromkeys(("exit_code", "output_sha256", "passed", "milliseconds"))
            found.append({"name": entry["name"], "direction": direction, **unknown})
        elif entry["step"] in ("migrated", "migrated_back"):
            found[-1].update((key, entry[key]) for key in found[-1] if key in entry)
    return found


def applied(results: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The names of the migrations that have been run and not been taken back since, after ``results`` in their order."""
    names: dict[str, None] = {}
    for result in results:
        if result["passed"] and result["direction"] == "forward":
            names[result["name"]] = None
        elif result["passed"]:
            names.pop(result["name"], None)
    return tuple(names)


def applied_here(records: Iterable[Record]) -> tuple[str, ...]:
    """The same of all that this host ever ran, by its history."""
    return applied(result for record in records for result in record.get("migrations", ()))


def left_in_place(transaction: Transaction) -> str | None:
    """The migrations of a transaction that goes back which stay, as people are told; None where none does."""
    results = migrations_of(transaction)
    names = list(applied(results))
    doubtful = [each["name"] for each in results if each["passed"] is None]
    told = [f"left in place: {', '.join(names)}"] if names else []
    told += [f"cut off: {', '.join(doubtful)}"] if doubtful else []
    return f"migrations {'; '.join(told)}" if told else None


def irreversible(migrations: Iterable[Migration]) -> tuple[str, ...]:
    """The names of those that cannot be taken back."""
    return tuple(migration.name for migration in migrations if not migration.reversible)


def stands_in_the_way(transaction: Transaction) -> str | None:
    """Why what was active before must not run again, None where migrations say nothing against that.

    Whoever ran them, they have been run: no host switches to a release before. A rollback that goes back to where it came from
    has taken nothing back yet.
    """
    if transaction.intent["rollback"]:
        return None
    names = irreversible(_migrations(transaction))
    return f"it lies behind the irreversible migration {', '.join(names)}; see {RUNBOOK}" if names else None


def failed_hooks(results: Sequence[Mapping[str, Any]]) -> str | None:
    """The hooks of a record that did not pass, as operators are told; None where all did."""
    failed = [
        f"{result['moment']} {' '.join(result['argv'])}: {_how(result['exit_code'])}"
        for result in results
        if not result["passed"]
    ]
    return f"hook_failed: {'; '.join(failed)}" if failed else None


def told_of_way_back(transaction: Transaction) -> list[str]:
    """What did not go as it should beside the way back of a deployment, a sentence each."""
    hooks = [result for result in hooks_of(transaction) if result["moment"] in ("before_rollback", "after_rollback")]
    told = (failed_hooks(hooks), failed_migrations(migrations_of(transaction)), left_in_place(transaction))
    return [sentence for sentence in told if sentence]


def failed_migrations(results: Sequence[Mapping[str, Any]]) -> str | None:
    """The migrations that a rollback could not take back, as operators are told; None where there is none."""
    failed = [
        f"{result['name']}: {_how(result['exit_code'])}"
        for result in results
        if result["direction"] == "back" and not result["passed"]
    ]
    return f"migration_left: {'; '.join(failed)}" if failed else None


def _migrations(transaction: Transaction) -> tuple[Migration, ...]:
    return tuple(
        Migration(each["name"], tuple(each["argv"]), each["timeout_seconds"], tuple(each["back"]) if each.get("back") else None)
        for each in transaction.intent.get("migrations", ())
    )  # fmt: skip


def _without_argv(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a migration: its name says which command that was, in the manifest."""
    return {key: value for key, value in result.items() if key != "argv"}


def _ending(argv: Sequence[str], finished: Finished) -> str:
    output = " ".join(finished.output.split())[-SHOWN_OUTPUT:]
    return f"{' '.join(argv)}: {_how(finished.exit_code)}" + (f", {shown(output, SHOWN_OUTPUT)}" if output else "")


def _how(exit_code: int | None) -> str:
    return "killed at its time-out" if exit_code is None else f"exit code {exit_code}"
