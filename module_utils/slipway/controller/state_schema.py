# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of a controller's state: what each version adds to the one before, in SQL that SQLite and PostgreSQL share.

A database is brought from its version to the newest when it is opened, by one process at a time. Times are Unix seconds. What differs
between the two is the type of whole numbers, and how a key counts by itself (`translated`).
"""

from __future__ import annotations

from typing import Final

SCHEMAS: Final = (
    """
CREATE TABLE controller (id TEXT NOT NULL);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, operation TEXT NOT NULL, application TEXT NOT NULL, environment TEXT NOT NULL,
    deployed_by TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, outcome TEXT,
    boot_id TEXT NOT NULL, namespace TEXT NOT NULL, pid INTEGER NOT NULL, pid_started TEXT NOT NULL
);
""",
    """
CREATE TABLE hosts (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, history_key TEXT NOT NULL, first_seen INTEGER NOT NULL,
    named INTEGER NOT NULL
);
CREATE TABLE checkpoints (
    number INTEGER PRIMARY KEY, host_id TEXT NOT NULL, application TEXT NOT NULL, era INTEGER NOT NULL,
    size INTEGER NOT NULL, root TEXT NOT NULL, note TEXT NOT NULL, kept INTEGER NOT NULL,
    UNIQUE (host_id, application, era, size)
);
CREATE TABLE acceptances (
    number INTEGER PRIMARY KEY, host_id TEXT NOT NULL, application TEXT NOT NULL, size INTEGER NOT NULL,
    outcome TEXT NOT NULL, detail TEXT NOT NULL, previous_key TEXT, accepted_by TEXT NOT NULL, accepted INTEGER NOT NULL
);
CREATE TABLE run_hosts (
    run_id TEXT NOT NULL, host_id TEXT NOT NULL, outcome TEXT NOT NULL, recorded INTEGER NOT NULL, noted INTEGER NOT NULL,
    PRIMARY KEY (run_id, host_id)
);
""",
    """
CREATE TABLE gates (
    run_id TEXT NOT NULL, wave INTEGER NOT NULL, why TEXT NOT NULL, opened INTEGER NOT NULL, closes INTEGER NOT NULL,
    decision TEXT, decided_by TEXT, decided INTEGER, PRIMARY KEY (run_id, wave)
);
""",
    # A number that runs are counted by, since two of one second have no order else and only SQLite has a rowid; what a report of
    # deliveries asks of a run; whose process it was; and who asked for which secret, where several controllers write that down.
    """
ALTER TABLE runs RENAME TO runs_before;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, operation TEXT NOT NULL, application TEXT NOT NULL,
    environment TEXT NOT NULL, deployed_by TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, outcome TEXT,
    boot_id TEXT NOT NULL, namespace TEXT NOT NULL, pid INTEGER NOT NULL, pid_started TEXT NOT NULL,
    installation TEXT NOT NULL, release_id TEXT NOT NULL, release_type TEXT NOT NULL, release_created INTEGER,
    takes_back TEXT NOT NULL, is_check INTEGER NOT NULL
);
INSERT INTO runs (
    run_id, operation, application, environment, deployed_by, began, ended, outcome, boot_id, namespace, pid, pid_started,
    installation, release_id, release_type, takes_back, is_check
) SELECT run_id, operation, application, environment, deployed_by, began, ended, outcome, boot_id, namespace, pid, pid_started,
    '', '', '', '', 0 FROM runs_before ORDER BY began, run_id;
DROP TABLE runs_before;
ALTER TABLE run_hosts ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE run_hosts ADD COLUMN region TEXT NOT NULL DEFAULT '';
CREATE TABLE accesses (seq INTEGER PRIMARY KEY, line TEXT NOT NULL);
""",
    # What runs are joined by that belong together; and when a run itself has read what was decided: a decision that nobody reads lets
    # nothing go on.
    """
ALTER TABLE runs ADD COLUMN run_group TEXT NOT NULL DEFAULT '';
ALTER TABLE gates ADD COLUMN heard INTEGER;
""",
)
SCHEMA_VERSION: Final = len(SCHEMAS)
# The tables of the newest version with their columns, in an order in which they can be filled.
TABLES: Final = {
    "controller": ("id",),
    "hosts": ("id", "name", "history_key", "first_seen", "named"),
    "runs": (
        "number", "run_id", "operation", "application", "environment", "deployed_by", "began", "ended", "outcome", "boot_id", "namespace",
        "pid", "pid_started", "installation", "release_id", "release_type", "release_created", "takes_back", "is_check", "run_group",
    ),
    "run_hosts": ("run_id", "host_id", "outcome", "recorded", "noted", "name", "region"),
    "checkpoints": ("number", "host_id", "application", "era", "size", "root", "note", "kept"),
    "acceptances": ("number", "host_id", "application", "size", "outcome", "detail", "previous_key", "accepted_by", "accepted"),
    "gates": ("run_id", "wave", "why", "opened", "closes", "decision", "decided_by", "decided", "heard"),
    "accesses": ("seq", "line"),
}  # fmt: skip
# Those whose first column counts by itself.
COUNTED: Final = ("runs", "checkpoints", "acceptances")


def statements(before: int) -> list[str]:
    """What brings a database of version ``before`` (0: an empty one) to the newest, one statement each."""
    return [each.strip() for each in "".join(SCHEMAS[before:]).split(";") if each.strip()]


def translated(statement: str) -> str:
    """A statement of SCHEMAS for PostgreSQL, whose INTEGER ends in 2038."""
    counted = "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
    return statement.replace("INTEGER PRIMARY KEY", counted).replace("INTEGER", "BIGINT")
