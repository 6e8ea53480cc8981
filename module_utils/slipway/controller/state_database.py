# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to talk to the database of a controller's state, be it a SQLite file or PostgreSQL (docs/adr/0032-state-that-outlives-the-job.md).

Statements are SQL that both speak, with ``?`` where a value goes. Every wait has an end: for a lock, for an answer, for a connection.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..base.errors import Refusal
from .state_place import StatePlace
from .state_schema import SCHEMA_VERSION, statements, translated

if TYPE_CHECKING:
    import psycopg

BUSY_SECONDS: Final = 30
# How long a server may take for one answer, with its wait for another one's lock, before the connection is cut.
ANSWER_SECONDS: Final = 20
# Rows for which one answer is waited for: what a slow server puts down, and a slow line carries, in much less than that time.
BATCH_ROWS: Final = 500
LOCK_SECONDS: Final = 15
# The advisory lock of PostgreSQL that changes of the state take: a number of our own.
LOCK_KEY: Final = 0x736C6970776179
# Without these there is no state to be had, now; what else is refused would be as wrong tomorrow.
UNUSABLE: Final = ("controller_memory_unusable", "controller_memory_read_only")
READ_ONLY: Final = "25006"
VERSION_TABLE: Final = "slipway_schema"
MEND: Final = "Mend that, or go on without it on purpose: -e slipway_state_required=false (docs/howto/shared-state.md)."
MEND_LIBRARY: Final = "Install what requirements/controller.lock has (make venv), or build the execution environment anew (make execution-environment)."
MEND_FILE: Final = "Mend the disk, or put the file back from a backup. Without it, moved away, every host is seen as if for the first time."


class Cursor(Protocol):
    """What a statement has found, as both libraries have it."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Session(Protocol):
    """An open transaction, or a connection on which each statement is one."""

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor: ...
    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> object: ...


@dataclass(frozen=True)
class _PostgresSession:
    connection: psycopg.Connection[Any]
    deadline: _Deadline

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor:
        found = self.connection.execute(_of_psycopg(statement), values)
        self.deadline.restart()
        return found

    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> object:
        """The statement for each row of values. Work that goes on may take as long as it needs: the time is one for each batch."""
        with self.connection.cursor() as cursor:
            for start in range(0, len(values), BATCH_ROWS):
                cursor.executemany(_of_psycopg(statement), values[start : start + BATCH_ROWS])
                self.deadline.restart()
        return None


def _of_psycopg(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()


@dataclass
class StateDatabase:
    """The database at a place, brought to this code's version when it is opened.

    Where there is none yet, it is made; with ``is_there`` that is the refusal ``state_missing``, and nothing is made.
    """

    place: StatePlace
    is_there: bool = False
    _opened: tuple[int, psycopg.Connection[Any]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.place.is_shared:
            if self.is_there and not self.place.path.is_file():
                raise self._missing("no such file")
            self.place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.reading() as session:
            version = self._version(session)
        if version == 0 and self.is_there:
            raise self._missing("no table of it")
        if version < SCHEMA_VERSION:
            with self.changing() as session:
                self._migrate(session, self._version(session))
        elif version > SCHEMA_VERSION:
            raise Refusal(
                "format_unknown",
                expected=f"format {SCHEMA_VERSION} or older in {self.place}",
                found=str(version),
                remedy="Use the Slipway release that wrote it, or a newer one.",
            )

    def reading(self) -> Any:
        """A session that changes at most one row: ``with database.reading() as session``."""
        return self._in_postgres(locked=False) if self.place.is_shared else self._in_sqlite(locked=False)

    def changing(self) -> Any:
        """A session in which no other process changes anything: all of it is kept at its end, or nothing."""
        return self._in_postgres(locked=True) if self.place.is_shared else self._in_sqlite(locked=True)

    def require_writable(self) -> None:
        """Refuse a state that could only be read, such as a standby's."""
        with self.changing() as session:
            session.execute("UPDATE controller SET id = id")

    def _version(self, session: Session) -> int:
        if not self.place.is_shared:
            return int(session.execute("PRAGMA user_version").fetchone()[0])
        if VERSION_TABLE not in self._tables(session):
            return 0
        row = session.execute("SELECT version FROM slipway_schema").fetchone()
        return int(row[0]) if row else 0

    def _migrate(self, session: Session, version: int) -> None:
        if version >= SCHEMA_VERSION:  # another process was faster
            return
        shared = self.place.is_shared
        if version == 0:
            self._require_empty(session)
        for statement in statements(version):
            session.execute(translated(statement) if shared else statement)
        if version == 0:
            session.execute("INSERT INTO controller VALUES (?)", (str(uuid.uuid4()),))
        if not shared:
            session.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            return
        if version == 0:
            session.execute("CREATE TABLE slipway_schema (version BIGINT NOT NULL)")
            session.execute("INSERT INTO slipway_schema VALUES (0)")
        session.execute("UPDATE slipway_schema SET version = ?", (SCHEMA_VERSION,))

    def _require_empty(self, session: Session) -> None:
        if found := self._tables(session):
            raise Refusal(
                "controller_memory_foreign",
                expected=f"the state of Slipway, or nothing yet, in {self.place}",
                found=f"tables of something else: {', '.join(found[:5])}{', …' if len(found) > 5 else ''}",
                remedy="Give Slipway a database, or a schema, of its own, and name that in slipway_state_url.",
            )

    def _tables(self, session: Session) -> list[str]:
        """The tables that are there. PostgreSQL's to_regclass would answer from what this connection has seen before it had the lock."""
        names = (
            "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() ORDER BY 1"
            if self.place.is_shared
            else "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1"
        )
        return [str(row[0]) for row in session.execute(names).fetchall()]

    @contextmanager
    def _in_sqlite(self, *, locked: bool) -> Iterator[Session]:
        try:
            with (
                closing(sqlite3.connect(self.place.path, timeout=BUSY_SECONDS, isolation_level=None)) as connection,
                connection,
            ):
                if locked:
                    connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            if "READONLY" in (getattr(error, "sqlite_errorname", None) or ""):
                raise self._read_only(str(error)) from error
            raise self._unusable(str(error), MEND_FILE) from error

    @contextmanager
    def _in_postgres(self, *, locked: bool) -> Iterator[Session]:
        try:
            import psycopg
        except ImportError as error:
            raise self._unusable(f"no library for it: {error}", MEND_LIBRARY) from None
        silent = threading.Event()
        try:
            connection = self._connection(silent)
            with _answers_within(connection, ANSWER_SECONDS, silent) as deadline, connection.transaction():
                session = _PostgresSession(connection, deadline)
                if locked:
                    session.execute("SELECT pg_advisory_xact_lock(?)", (LOCK_KEY,))
                yield session
        except psycopg.Error as error:
            if error.sqlstate == READ_ONLY:
                raise self._read_only(_first_line(error)) from None
            found = f"no answer in {ANSWER_SECONDS} s" if silent.is_set() else _first_line(error)
            raise self._unusable(found, MEND) from None

    def _connection(self, silent: threading.Event) -> psycopg.Connection[Any]:
        """The open connection of this process. One that was opened before a fork is its parent's."""
        import psycopg

        if self._opened and self._opened[0] == os.getpid() and not self._opened[1].closed:
            return self._opened[1]
        given: dict[str, Any] = {"application_name": "slipway"} if "application_name=" not in self.place.url else {}
        if (password := self._password()) is not None:
            given["password"] = password
        connection = psycopg.connect(
            self.place.url, autocommit=True, connect_timeout=self.place.connect_seconds, keepalives_idle=30, prepare_threshold=None, **given,
        )  # fmt: skip
        with _answers_within(connection, ANSWER_SECONDS, silent):
            connection.execute(
                f"SET lock_timeout = '{LOCK_SECONDS}s'; SET statement_timeout = '{ANSWER_SECONDS}s'".encode()
            )
        self._opened = (os.getpid(), connection)
        return connection

    def _password(self) -> str | None:
        try:
            return self.place.password()
        except Refusal as refusal:
            raise self._unusable(f"no password for it: {refusal}", MEND) from None

    def _missing(self, found: str) -> Refusal:
        return Refusal(
            "state_missing",
            expected=f"the state of a controller in {self.place}",
            found=found,
            remedy="Correct slipway_state_directory or slipway_state_url. Before the first run there is no state yet.",
        )

    def _unusable(self, found: str, remedy: str) -> Refusal:
        return Refusal(
            "controller_memory_unusable",
            expected=f"this controller's memory in {self.place}",
            found=found,
            remedy=remedy,
        )

    def _read_only(self, found: str) -> Refusal:
        return Refusal(
            "controller_memory_read_only",
            expected=f"this controller's memory in {self.place}, to write to",
            found=found,
            remedy=f"Where several servers are named, add target_session_attrs=read-write to slipway_state_url. {MEND}"
            if self.place.is_shared
            else MEND_FILE,
        )


def _first_line(error: Exception) -> str:
    """What a library says of what went wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


class _Deadline:
    """When the next answer of a server has to be there. It is watched by another thread, which waits in `passed`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self.restart()

    def restart(self) -> None:
        """Give the next answer its time, after one that came."""
        self._end = time.monotonic() + self._seconds

    def lift(self) -> None:
        """No answer is waited for any more."""
        self._over.set()

    def passed(self) -> bool:
        """Wait until it has passed (True) or is lifted."""
        while (left := self._end - time.monotonic()) > 0:
            if self._over.wait(left):
                return False
        return not self._over.is_set()


@contextmanager
def _answers_within(
    connection: psycopg.Connection[Any], seconds: float, silent: threading.Event
) -> Iterator[_Deadline]:
    """Cut a connection whose server does not answer, and say so in ``silent``: its own time limits mean nothing where it hangs."""
    deadline = _Deadline(seconds)
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        watch = threading.Thread(target=_watch, args=(deadline, line, silent), daemon=True)
        watch.start()
        try:
            yield deadline
        finally:
            deadline.lift()
            watch.join()


def _watch(deadline: _Deadline, line: socket.socket, silent: threading.Event) -> None:
    if deadline.passed():
        silent.set()
        with suppress(OSError):  # the server was faster
            line.shutdown(socket.SHUT_RDWR)
