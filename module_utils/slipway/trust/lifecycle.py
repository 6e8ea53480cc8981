# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release brings to be run on hosts beside its service: hooks at named moments, and migrations.

    hooks: {before_switch: [{argv: [bin/warm, cache], timeout_seconds: 60}]}
    migrations: [{name: add_users, argv: [bin/migrate, up], timeout_seconds: 600, reversible: true, back: [bin/migrate, down]}]

Commands are lists of words, run without a shell as the application's user in the release. Both are signed in the release
manifest, where they stand even when they are empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import normpath
from typing import Any, Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.fields import Fields
from .promotion import DEFAULT_STEP_SECONDS, MAX_TIMEOUT_SECONDS, Step, read_argv

# The moments that a host has; an operator's task files have before_stage and after_stage too.
MOMENTS: Final = (
    "before_switch",
    "after_switch",
    "before_confirm",
    "after_confirm",
    "before_rollback",
    "after_rollback",
)

MAX_HOOKS: Final = 20
MAX_HOOKS_BYTES: Final = 32 * 1024
MAX_HOOK_SECONDS: Final = 3600
MAX_SECONDS_BEFORE_ROLLBACK: Final = 60
MAX_MIGRATIONS: Final = 5000
DEFAULT_MIGRATION_SECONDS: Final = 600

MIGRATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


@dataclass(frozen=True)
class Hooks:
    """The commands of a release by moment, in their order; a moment without one is not there."""

    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    @classmethod
    def take(cls, fields: Fields) -> Hooks:
        """Read the whole object `fields`. What stands before a way back has little time: it must not hold it up."""
        steps = {moment: _steps(fields, moment) for moment in MOMENTS if moment in fields}
        fields.end()
        hooks = cls({moment: found for moment, found in steps.items() if found})
        if (
            len(canonical.encode(hooks.as_dict())) > MAX_HOOKS_BYTES
        ):  # they stand in the journal, for which room is kept
            raise fields.refusal("", f"hooks of at most {MAX_HOOKS_BYTES} bytes", "more")
        seconds = hooks.seconds("before_rollback")
        if seconds > MAX_SECONDS_BEFORE_ROLLBACK:
            expected = f"at most {MAX_SECONDS_BEFORE_ROLLBACK} seconds together"
            raise fields.refusal("before_rollback", expected, f"{seconds} seconds")
        return hooks

    def at(self, moment: str) -> tuple[Step, ...]:
        """The commands of a moment, in their order."""
        return self.steps.get(moment, ())

    def seconds(self, *moments: str) -> int:
        """The most that the commands of these moments may take together."""
        return sum(step.timeout_seconds for moment in moments for step in self.at(moment))

    def as_dict(self) -> dict[str, Any]:
        """Return the member `hooks`."""
        return {moment: [step.as_dict() for step in steps] for moment, steps in self.steps.items()}


@dataclass(frozen=True)
class Migration:
    """A change of data that outlives a release. `back` takes it back, and is there if and only if it is reversible.

    `timeout_seconds` is for each of the two directions.
    """

    name: str
    argv: tuple[str, ...]
    timeout_seconds: int = DEFAULT_MIGRATION_SECONDS
    back: tuple[str, ...] | None = None

    @property
    def reversible(self) -> bool:
        return self.back is not None

    @classmethod
    def take(cls, fields: Fields) -> Migration:
        """Read the whole object `fields`; whether it is reversible must be said."""
        name, argv = fields.text("name", MIGRATION), read_argv(fields)
        seconds = DEFAULT_MIGRATION_SECONDS
        if "timeout_seconds" in fields:
            seconds = fields.integer("timeout_seconds", minimum=1, maximum=MAX_TIMEOUT_SECONDS)
        back = read_argv(fields, "back") if fields.boolean("reversible") else None
        fields.end()
        return cls(name, argv, seconds, back)

    def as_dict(self) -> dict[str, Any]:
        """Return the migration as it stands in the manifest."""
        value: dict[str, Any] = {
            "argv": list(self.argv),
            "name": self.name,
            "reversible": self.reversible,
            "timeout_seconds": self.timeout_seconds,
        }
        return value if self.back is None else {**value, "back": list(self.back)}


def take_migrations(fields: Fields) -> tuple[Migration, ...]:
    """Take `migrations`: all that ever led to this release, oldest first, each name once."""
    migrations: dict[str, Migration] = {}
    for item in fields.objects("migrations", maximum=MAX_MIGRATIONS):
        migration = Migration.take(item)
        if migration.name in migrations:
            raise item.refusal("name", "each name once", migration.name)
        migrations[migration.name] = migration
    return tuple(migrations.values())


def pending(migrations: Sequence[Migration], before: Iterable[Migration]) -> tuple[Migration, ...]:
    """Those of ``migrations`` that the release ``before`` does not name, in their order."""
    known = {migration.name for migration in before}
    return tuple(migration for migration in migrations if migration.name not in known)


def require_programs(hooks: Hooks, migrations: Iterable[Migration], modes: Mapping[str, int]) -> None:
    """Refuse a program named by a path in the release that is no executable file there; ``modes`` are the files' by path.

    A name without a slash is looked up in PATH; one that is a file at the top of the release was meant as that.
    """
    programs = [(moment, step.argv[0]) for moment in MOMENTS for step in hooks.at(moment)]
    for migration in migrations:
        programs += [(migration.name, argv[0]) for argv in (migration.argv, migration.back) if argv]
    lacking = [f"{where}: {word}" for where, word in programs if not _can_be_run(word, modes)]
    if lacking:
        raise Refusal(
            "program_missing",
            expected="every program of hooks and migrations as an executable file of the release",
            found="; ".join(lacking),
            remedy="Add the file and make it executable (chmod +x), name one at the top of the release as ./name, or correct slipway.yml.",
        )


def _can_be_run(word: str, modes: Mapping[str, int]) -> bool:
    if "/" not in word:
        return word not in modes
    return word.startswith("/") or bool(modes.get(normpath(word), 0) & 0o111)


def _steps(fields: Fields, moment: str) -> tuple[Step, ...]:
    steps = []
    for item in fields.objects(moment, maximum=MAX_HOOKS):
        step = Step.take(item, DEFAULT_STEP_SECONDS)
        if step.timeout_seconds > MAX_HOOK_SECONDS:
            raise item.refusal("timeout_seconds", f"an integer from 1 to {MAX_HOOK_SECONDS}", step.timeout_seconds)
        steps.append(step)
    return tuple(steps)
