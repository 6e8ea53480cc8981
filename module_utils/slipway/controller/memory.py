# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps for itself: who it is, and which runs it began. One SQLite file behind one class.

The truth about releases is on the hosts; losing this file loses nothing but the right to take over from one's own dead
runs before their leases end.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..base.errors import Refusal

SCHEMA_VERSION = 1
BUSY_SECONDS = 30
SCHEMA = """
CREATE TABLE controller (id TEXT NOT NULL);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, operation TEXT NOT NULL, application TEXT NOT NULL, environment TEXT NOT NULL,
    deployed_by TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, outcome TEXT,
    boot_id TEXT NOT NULL, namespace TEXT NOT NULL, pid INTEGER NOT NULL, pid_started TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Process:
    """A process that is recognised again, also after its number was given to another one."""

    boot_id: str
    namespace: str
    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(_boot_id(), _namespace(), pid, _started(pid))

    def is_alive(self) -> bool:
        """False only when it is known: a process of another container (PID namespace) may well be alive."""
        if self.boot_id != _boot_id():
            return False
        return self.namespace != _namespace() or (bool(self.started) and _started(self.pid) == self.started)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _started(pid: int) -> str:
    """Field 22 of proc(5) stat; the command name in field 2 may contain anything, so count from its last bracket."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


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
            if version == 0:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO controller VALUES (?)", (str(uuid.uuid4()),))
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
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with connection:
                yield connection
        finally:
            connection.close()

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
