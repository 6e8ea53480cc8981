# SPDX-License-Identifier: GPL-3.0-or-later
"""What a switch runs beside the unit, decided before anything is changed: which hooks, which migrations, and whether it may.

Migrations are cumulative: a release names all that ever led to it. So those that a switch needs are those that the release
before does not name, and those that it leaves behind are those that the new one does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..base.errors import Refusal
from ..trust.chain import Record
from ..trust.lifecycle import MOMENTS, Hooks, Migration, pending
from ..trust.manifest import ReleaseManifest
from .evidence import Evidence, Verified
from .hooks import RUNBOOK, applied_here, irreversible

OF_WAY_BACK = ("before_rollback", "after_rollback")


@dataclass(frozen=True)
class Work:
    """What a transaction runs: ``migrations`` forward in a deployment, back in a rollback, and on this host only with ``migrate``.

    ``accepted`` are the irreversible migrations that an operator goes back over on purpose; ``lines`` say it all to people.
    """

    hooks: Hooks = field(default_factory=Hooks)
    migrations: Sequence[Migration] = ()
    migrate: bool = False
    accepted: Sequence[str] = ()
    lines: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """The members of the journal's intent."""
        return {
            "hooks": self.hooks.as_dict(),
            "migrations": [migration.as_dict() for migration in self.migrations],
            "migrate": self.migrate,
            "irreversible_accepted": list(self.accepted),
        }


@dataclass(frozen=True)
class Foreman:
    """Decides about the work of a switch from the release ``current``; ``name`` is the host's, for refusals."""

    evidence: Evidence
    name: str
    current: str | None

    def of_deployment(self, target: ReleaseManifest, request: Mapping[str, Any]) -> Work:
        """Refusals ``migration_irreversible``, and ``migrations_not_run`` where nobody in this run has run them, or will."""
        accepted = self._passed_over(target, request)
        migrations = pending(target.migrations, self._named())
        if migrations and not (request.get("migrate") or request.get("migrated")):
            raise Refusal(
                "migrations_not_run",
                expected=f"the migrations that {target.release_id} needs on {self.name} to have been run by this run",
                found=f"nobody ran {', '.join(migration.name for migration in migrations)}",
                remedy="See what became of the first host of the run, then run the same command again.",
            )
        return Work(target.hooks, migrations, bool(request.get("migrate")), accepted, self.lines(target))

    def of_rollback(self, target: ReleaseManifest, request: Mapping[str, Any], records: Sequence[Record]) -> Work:
        """The release that is left is asked, where it is still what was signed: one that cannot be trusted has no say.

        Taken back is what this host ran, by its history, and nobody took back. Refusal ``migration_irreversible``.
        """
        accepted = self._passed_over(target, request)
        left = self._left()
        if left is None:
            return Work(accepted=accepted)
        hooks = Hooks({moment: left.hooks.at(moment) for moment in OF_WAY_BACK if left.hooks.at(moment)})
        here, migrate = applied_here(records), bool(request.get("migrate"))
        migrations = [each for each in pending(left.migrations, target.migrations) if each.name in here]
        lines = [f"takes back migration {each.name}" for each in reversed(migrations) if migrate]
        return Work(hooks, migrations, migrate, accepted, (*lines, *_lines_of(hooks)))

    def lines(self, target: ReleaseManifest) -> list[str]:
        """What a deployment of ``target`` would run, a line each."""
        if target.release_id == self.current:
            return []
        migrations = [
            f"migration {each.name}{'' if each.reversible else ' (irreversible)'}: {' '.join(each.argv)}"
            for each in pending(target.migrations, self._named())
        ]
        return migrations + _lines_of(target.hooks)

    def _passed_over(self, target: ReleaseManifest, request: Mapping[str, Any]) -> tuple[str, ...]:
        """The irreversible migrations of what is active that the target does not know, where that was accepted."""
        names = irreversible(pending(self._named(), target.migrations))
        if names and not request.get("irreversible_accepted"):
            raise Refusal(
                "migration_irreversible",
                expected=f"no irreversible migration between {target.release_id} and {self.current}, which is active on {self.name}",
                found=", ".join(names),
                remedy=f"See {RUNBOOK}. On purpose: -e release_irreversible_accepted=true.",
            )
        return names

    def _named(self) -> tuple[Migration, ...]:
        """The migrations of what is active, none where nothing can be read of it; trusted or not, it was switched to."""
        try:
            return self.evidence.manifest(self.current).migrations if self.current else ()
        except Refusal:
            return ()

    def _left(self) -> ReleaseManifest | None:
        if self.current is None:
            return None
        try:
            verified: Verified = self.evidence.verify(self.current)
            if verified.manifest.hooks.steps or verified.manifest.migrations:
                self.evidence.verify_tree(verified)
        except Refusal:
            return None
        return verified.manifest


def _lines_of(hooks: Hooks) -> list[str]:
    return [f"{moment}: {' '.join(step.argv)}" for moment in MOMENTS for step in hooks.at(moment)]
