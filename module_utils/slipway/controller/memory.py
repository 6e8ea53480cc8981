# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps for itself: who it is, which runs it began, and what it saw of hosts. One SQLite file behind one class.

The truth about releases is on the hosts; losing this file loses the right to take over from one's own dead runs before
their leases end, and the memory that a host's history is judged by (witness.py): after that each host is seen for the
first time again.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..base.errors import Refusal
from ..base.process import Process

BUSY_SECONDS = 30
# What each version adds to the one before. A file is brought from its version to the newest when it is opened.
SCHEMAS = (
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
)
SCHEMA_VERSION = len(SCHEMAS)


@dataclass(frozen=True)
class KnownHost:
    """A host as this controller first saw it; the public history key is 64 hex digits and pinned since then."""

    id: str
    name: str
    history_key: str


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint that this controller cosigned: ``size`` lines with this ``root`` (64 hex digits), the signed ``note``."""

    size: int
    root: str
    note: str
    kept: int


@dataclass(frozen=True)
class Acceptance:
    """From when on (Unix seconds) a history is judged anew, since somebody said so of what was ``outcome``: it had ``size`` lines."""

    size: int = 0
    accepted: int = 0
    outcome: str = ""
    accepted_by: str = ""


@dataclass(frozen=True)
class Gate:
    """A run that is held after a wave, for a reason (``why``) and until a time; times are Unix seconds.

    ``decision`` is promoted, aborted or expired, and None while somebody may still say how to go on.
    """

    run_id: str
    wave: int
    why: str
    opened: int
    closes: int
    decision: str | None = None
    decided_by: str | None = None
    decided: int | None = None


def new_run_id(now: int) -> str:
    """Sorts by time and is unique over controllers: run_20261121T031256Z_9f3a1c."""
    return f"run_{datetime.fromtimestamp(now, UTC).strftime('%Y%m%dT%H%M%SZ')}_{secrets.token_hex(3)}"


class ControllerState:
    """The controller's own memory below its state directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / "state.sqlite"
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for statement in "".join(SCHEMAS[version:]).split(";"):
                connection.execute(statement)
            if version == 0:
                connection.execute("INSERT INTO controller VALUES (?)", (str(uuid.uuid4()),))
            if version < SCHEMA_VERSION:
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version > SCHEMA_VERSION:
                raise Refusal(
                    "format_unknown",
                    expected=f"format {SCHEMA_VERSION} or older in {self.path}",
                    found=str(version),
                    remedy="Use the Slipway release that wrote it, or a newer one.",
                )

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with (
                closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection,
                connection,
            ):
                yield connection
        except sqlite3.Error as error:
            raise Refusal(
                "controller_memory_unusable",
                expected=f"this controller's memory in {self.path}",
                found=str(error),
                remedy="Mend the disk, or put the file back from a backup. Without it, moved away, every host is seen as if for the first time.",
            ) from error

    def controller_id(self) -> str:
        with self._connection() as connection:
            return str(connection.execute("SELECT id FROM controller").fetchone()[0])

    def begin_run(
        self,
        *,
        operation: str,
        application: str,
        environment: str,
        deployed_by: str,
        now: int,
        process: Process | None = None,
    ) -> str:
        """Note a run before it touches a host, and return its id; ``process`` is the one that dies with the run."""
        run_id, runner = new_run_id(now), process or Process.of(os.getpid())
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?)",
                (
                    run_id, operation, application, environment, deployed_by, now,
                    runner.boot_id, runner.namespace, runner.pid, runner.started,
                ),
            )  # fmt: skip
        return run_id

    def end_run(self, run_id: str, *, outcome: str, now: int) -> None:
        """Note that a run settled every host that it reached."""
        with self._connection() as connection:
            connection.execute("UPDATE runs SET ended = ?, outcome = ? WHERE run_id = ?", (now, outcome, run_id))

    def dead_runs(self, application: str, *, limit: int = 100) -> list[str]:
        """This controller's runs of an application whose process is gone, newest first.

        Ended ones belong to them: a host that was cut off when its run ended still holds that run's lease.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT run_id, boot_id, namespace, pid, pid_started FROM runs WHERE application = ? ORDER BY began DESC, rowid DESC LIMIT ?",
                (application, limit),
            ).fetchall()
        return [run_id for run_id, *process in rows if not Process(*process).is_alive()]

    def hold(self, gate: Gate) -> None:
        """Let a run be held; whoever decides on it is another process of this controller."""
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO gates VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL)",
                (gate.run_id, gate.wave, gate.why, gate.opened, gate.closes),
            )

    def gate(self, run_id: str, wave: int) -> Gate | None:
        """The gate of a run after a wave, None where it was never held there."""
        with self._connection() as connection:
            row = connection.execute("SELECT * FROM gates WHERE run_id = ? AND wave = ?", (run_id, wave)).fetchone()
        return Gate(*row) if row else None

    def held(self) -> list[Gate]:
        """The gates that nobody has decided on, of runs that are still there to go on, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT gates.*, boot_id, namespace, pid, pid_started FROM gates JOIN runs USING (run_id) "
                "WHERE decision IS NULL ORDER BY opened, run_id, wave"
            ).fetchall()
        return [Gate(*row[:8]) for row in rows if Process(*row[8:]).is_alive()]

    def decide(self, run_id: str, wave: int, *, decision: str, decided_by: str, now: int) -> Gate | None:
        """Decide on a gate, once: the gate as it is decided now, by whoever came first. None where there is none."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE gates SET decision = ?, decided_by = ?, decided = ? WHERE run_id = ? AND wave = ? AND decision IS NULL",
                (decision, decided_by, now, run_id, wave),
            )
        return self.gate(run_id, wave)

    def newest_run(self, application: str) -> str | None:
        """The run of an application that this controller began last, None where there was none."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT run_id FROM runs WHERE application = ? ORDER BY began DESC, rowid DESC LIMIT 1", (application,)
            ).fetchone()
        return str(row[0]) if row else None

    def hosts_of(self, application: str, environment: str) -> set[str]:
        """The names of the hosts that said they recorded a run of an application in an environment."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT name FROM run_hosts JOIN runs USING (run_id) JOIN hosts ON hosts.id = host_id "
                "WHERE application = ? AND environment = ? AND recorded",
                (application, environment),
            ).fetchall()
        return {str(row[0]) for row in rows}

    def run_ids(self, application: str) -> set[str]:
        """Every run of an application that this controller ever began."""
        with self._connection() as connection:
            return {
                row[0] for row in connection.execute("SELECT run_id FROM runs WHERE application = ?", (application,))
            }

    def note_host_of_run(self, run_id: str, *, host_id: str, outcome: str, recorded: bool, now: int) -> None:
        """Note how a run ended on a host, and whether the host said that it ``recorded`` something under it."""
        with self._connection() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO run_hosts VALUES (?, ?, ?, ?, ?)",
                (run_id, host_id, outcome, int(recorded), now),
            )

    def recorded_runs(self, host_id: str, application: str, *, since: int) -> list[str]:
        """The runs of an application that the host said it recorded, noted after ``since`` (Unix seconds), oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT run_id FROM run_hosts JOIN runs USING (run_id) "
                "WHERE host_id = ? AND application = ? AND recorded AND noted > ? ORDER BY began, run_id",
                (host_id, application, since),
            ).fetchall()
        return [row[0] for row in rows]

    def pin(self, host: KnownHost, *, now: int) -> KnownHost:
        """Remember a host by its history key, and return what is remembered: a key that is pinned stays.

        The name may change: it is the inventory's. The host that got a name last is the one that has it.
        """
        with self._connection() as connection:
            connection.execute(
                "INSERT INTO hosts SELECT ?, ?, ?, ?, coalesce(max(named), 0) + 1 FROM hosts WHERE true "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, named = excluded.named WHERE name != excluded.name",
                (host.id, host.name, host.history_key, now),
            )
            row = connection.execute("SELECT id, name, history_key FROM hosts WHERE id = ?", (host.id,)).fetchone()
        return KnownHost(*row)

    def hosts(self) -> list[KnownHost]:
        """Every host that this controller ever saw; of several with one name the last is the one that has it now."""
        with self._connection() as connection:
            rows = connection.execute("SELECT id, name, history_key FROM hosts ORDER BY named").fetchall()
        return [KnownHost(*row) for row in rows]

    def checkpoints(self, host_id: str, application: str) -> list[KeptCheckpoint]:
        """The checkpoints that a history is judged by, the oldest first: those since the last acceptance."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT size, root, note, kept FROM checkpoints WHERE host_id = ? AND application = ? AND era = ? ORDER BY size",
                (host_id, application, _era(connection, host_id, application)),
            ).fetchall()
        return [KeptCheckpoint(*row) for row in rows]

    def keep_checkpoint(
        self, host_id: str, application: str, checkpoint: KeptCheckpoint, *, after: KeptCheckpoint | None
    ) -> bool:
        """Keep a checkpoint for ever, if the newest one is still the one that it was proven ``after``; False when it is not.

        Another run of this controller may have been there in between: what it kept, this one was not proven against.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            era = _era(connection, host_id, application)
            newest = connection.execute(
                "SELECT max(size) FROM checkpoints WHERE host_id = ? AND application = ? AND era = ?",
                (host_id, application, era),
            ).fetchone()[0]
            if newest != (after.size if after else None):
                return False
            connection.execute(
                "INSERT INTO checkpoints (host_id, application, era, size, root, note, kept) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (host_id, application, era, checkpoint.size, checkpoint.root, checkpoint.note, checkpoint.kept),
            )
        return True

    def accept(
        self, host: KnownHost, application: str, *, size: int, outcome: str, detail: str, accepted_by: str, now: int
    ) -> None:
        """Judge a history anew from what the host has now; what was kept before stays, and why it no longer counts."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            pinned = connection.execute("SELECT history_key FROM hosts WHERE id = ?", (host.id,)).fetchone()
            previous = pinned[0] if pinned and pinned[0] != host.history_key else None
            connection.execute(
                "INSERT INTO hosts SELECT ?, ?, ?, ?, coalesce(max(named), 0) + 1 FROM hosts WHERE true "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, history_key = excluded.history_key, named = excluded.named",
                (host.id, host.name, host.history_key, now),
            )
            connection.execute(
                "INSERT INTO acceptances (host_id, application, size, outcome, detail, previous_key, accepted_by, accepted) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (host.id, application, size, outcome, detail, previous, accepted_by, now),
            )

    def acceptance(self, host_id: str, application: str) -> Acceptance:
        """The newest acceptance of a history; one of nothing at the beginning of time where there is none."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT size, accepted, outcome, accepted_by FROM acceptances WHERE host_id = ? AND application = ? ORDER BY number DESC",
                (host_id, application),
            ).fetchone()
        return Acceptance(*row) if row else Acceptance()


def _era(connection: sqlite3.Connection, host_id: str, application: str) -> int:
    """How often a history was accepted: checkpoints of an earlier era judge nothing any more."""
    count = connection.execute(
        "SELECT count(*) FROM acceptances WHERE host_id = ? AND application = ?", (host_id, application)
    ).fetchone()
    return int(count[0])
