# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup of a controller's state as one file, and that file put back: the same file for SQLite and PostgreSQL.

It is a SQLite file of the newest format, whichever database the state was in, with the access log in it. No key is in it, and nothing of the
catalogue: releases are signed and have their own backup.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.files import fsync_directory, write_durable
from ..secrets.access_log import AccessLog
from .access_table import AccessTable
from .memory import ControllerState
from .state_database import BATCH_ROWS, Session, StateDatabase
from .state_place import FILE_NAME, StatePlace
from .state_schema import COUNTED, SCHEMA_VERSION, TABLES

# What file(1) would know it by: "SWst". A state itself has none.
APPLICATION_ID: Final = 0x53577374
ACCESS_LOG: Final = "access.jsonl"
# Of runs that were put back. No controller has it: whether their processes live, nobody can know any more.
RESTORED: Final = "restored"
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Contents:
    """How much is in a state: the id of its controller, and the number of its runs, hosts, checkpoints and accesses."""

    controller_id: str
    runs: int
    hosts: int
    checkpoints: int
    accesses: int

    @classmethod
    def of(cls, rows: Rows) -> Contents:
        counts = {name: len(rows[name]) for name in ("runs", "hosts", "checkpoints", "accesses")}
        return cls(str(rows["controller"][0][0]), **counts)

    def __str__(self) -> str:
        return f"controller {self.controller_id}: {self.runs} runs, {self.hosts} hosts, {self.checkpoints} checkpoints, {self.accesses} accesses to secrets"


def access_log_of(place: StatePlace) -> AccessLog:
    """The access log that belongs to a state: in its database, or beside its file."""
    path = place.directory / ACCESS_LOG
    return AccessTable(path, place=place, announce=lambda _said: None) if place.is_shared else AccessLog(path)


def back_up(place: StatePlace, path: Path, *, check: bool = False) -> Contents:
    """Write all of a state, as it is at one moment, to a new file that only this user can read.

    Refusals ``state_backup_exists``, ``state_missing`` (nothing is made there) and ``state_backup_unwritable``; and whatever the state itself is refused for.
    """
    if path.exists():
        raise Refusal(
            "state_backup_exists",
            expected=f"no file yet at {path}",
            found="one",
            remedy="Name another file: a backup is never written over.",
        )
    rows = _rows_of(place, StateDatabase(place, is_there=True))
    if check:
        return Contents.of(rows)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            target = StatePlace(Path(scratch))
            _fill(StateDatabase(target), rows, counted=False)
            with closing(sqlite3.connect(target.path)) as connection:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.commit()
            target.path.chmod(0o600)
            with open(target.path, "rb") as made:
                os.fsync(made.fileno())
            os.link(target.path, path)
        fsync_directory(path.parent)
    except OSError as error:
        raise Refusal(
            "state_backup_unwritable",
            expected=f"a directory with room at {path.parent}",
            found=error.strerror or str(error),
            remedy="Name a file in a directory that this user may write to.",
        ) from error
    return Contents.of(rows)


def read_backup(path: Path) -> Rows:
    """All rows of a backup that is whole, brought to the newest format. Refusals ``state_backup_missing``, ``state_backup_damaged``
    and ``format_unknown``. The file itself is not changed.
    """
    if not path.is_file():
        raise Refusal(
            "state_backup_missing", expected=f"a backup at {path}", found="no file", remedy="Name another file."
        )
    damaged = "the file is not as it was written"
    try:
        with tempfile.TemporaryDirectory(prefix="slipway-state-") as scratch:
            copy = Path(scratch) / FILE_NAME
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source:
                if source.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                    raise _damaged(path, "a file that is no backup of a state")
                with closing(sqlite3.connect(copy)) as target:
                    source.backup(target)
                    # Of the copy: constraints are not checked on a connection that may only read.
                    if (found := target.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                        raise _damaged(path, f"{damaged}: {found}")
            rows = _rows_in(StateDatabase(StatePlace(Path(scratch)), is_there=True))
    except sqlite3.Error as error:
        raise _damaged(path, f"{damaged}: {error}") from error
    except Refusal as refusal:
        raise _of_backup(path, refusal) from refusal
    if len(rows["controller"]) != 1:
        raise _damaged(path, f"{len(rows['controller'])} controllers in it")
    lines = [str(line).encode() for _seq, line in rows["accesses"]]
    try:
        for _record in AccessLog(path).parsed(lines):  # whose chain is checked as it is read
            pass
    except Refusal as refusal:
        raise _damaged(path, f"an access log that was altered: {refusal.found}") from refusal
    return rows


def _of_backup(path: Path, refusal: Refusal) -> Refusal:
    """What the copy of a backup was refused for, said of its file."""
    if refusal.reason == "state_backup_damaged":
        return refusal
    if refusal.reason != "format_unknown":
        return _damaged(path, f"the file is not as it was written: {refusal.found}")
    return Refusal(
        "format_unknown",
        expected=f"format {SCHEMA_VERSION} or older in the backup {path}",
        found=refusal.found,
        remedy="Restore it with the Slipway release that wrote it, or a newer one. Nothing was changed.",
    )


def _damaged(path: Path, found: str) -> Refusal:
    return Refusal(
        "state_backup_damaged",
        expected=f"a whole backup of a controller's state at {path}",
        found=found,
        remedy="Take an older backup. Nothing was changed.",
    )


def restore(place: StatePlace, path: Path, *, is_confirmed: bool, check: bool = False) -> Contents:
    """Put a backup back, all of it or nothing. Refusals ``state_not_empty`` where something would be lost and nobody confirmed that, and
    ``state_in_use`` while a run goes on there, confirmed or not.
    """
    rows = read_backup(path)
    database = StateDatabase(place)
    log = access_log_of(place)
    there = Contents.of(_rows_of(place, database))
    is_used = bool(there.runs or there.hosts or there.checkpoints or there.accesses)
    if is_used and not is_confirmed:
        unended = ", ".join(run.run_id for run in ControllerState(place).runs() if run.ended is None)
        raise Refusal(
            "state_not_empty",
            expected=f"nothing yet in {place}, or a yes to losing what is there",
            found=f"{there}{unended and '; without an end: '}{unended}",
            remedy="Back that up first (make state-backup), then say CONFIRM=yes (-e state_confirmed=yes).",
        )
    if living := ControllerState(place).living_runs():
        raise Refusal(
            "state_in_use",
            expected=f"no run in {place} that goes on",
            found=", ".join(living),
            remedy="Wait for its end, or stop it: what it notes would be lost. A yes does not help. Nothing was changed.",
        )
    if check:
        return Contents.of(rows)
    database.require_writable()
    installation = TABLES["runs"].index("installation")
    rows["runs"] = [(*row[:installation], RESTORED, *row[installation + 1 :]) for row in rows["runs"]]
    if place.is_shared:
        _fill(database, rows, counted=True)
    else:  # the log is a file of its own, as this controller writes it
        _fill(database, {**rows, "accesses": []}, counted=False)
        _write_log(log.path, [str(line) for _seq, line in rows["accesses"]])
    return Contents.of(_rows_of(place, database))


def _write_log(path: Path, lines: Sequence[str]) -> None:
    """The file of an access log, where there is anything to be in it. What was there stays beside it."""
    if path.exists():
        moved = path.with_name(f"{path.name}.before-{timestamp(int(path.stat().st_mtime)).replace(':', '')}")
        with suppress(FileExistsError):
            os.link(path, moved)
    if lines or path.exists():
        write_durable(path, "".join(f"{line}\n" for line in lines).encode(), mode=0o600)


def _rows_of(place: StatePlace, database: StateDatabase) -> Rows:
    """All rows of a state with its access log, as they are at one moment."""
    rows = _rows_in(database)
    if not place.is_shared:
        whole, _torn = access_log_of(place).lines()
        rows["accesses"] = [(number, line.decode()) for number, line in enumerate(whole)]
    return rows


def _rows_in(database: StateDatabase) -> Rows:
    with database.changing() as session:  # nobody writes meanwhile, so that tables fit each other
        return {
            name: _selected(session, f"SELECT {', '.join(columns)} FROM {name} ORDER BY 1{', 2' if len(columns) > 1 else ''}", by_parts=database.place.is_shared)  # noqa: S608 - names of TABLES
            for name, columns in TABLES.items()
        }  # fmt: skip


def _selected(session: Session, select: str, *, by_parts: bool) -> list[tuple[Any, ...]]:
    """All rows of a SELECT; ``by_parts`` where a server has a time for each answer, which all of them may not come in."""
    if not by_parts:
        return [tuple(row) for row in session.execute(select).fetchall()]
    session.execute(f"DECLARE selected CURSOR FOR {select}")
    found: list[tuple[Any, ...]] = []
    while rows := session.execute(f"FETCH {BATCH_ROWS} FROM selected").fetchall():
        found += rows
    session.execute("CLOSE selected")
    return found


def _fill(database: StateDatabase, rows: Rows, *, counted: bool) -> None:
    """Let the tables have these rows and no others; ``counted`` where a server has to be told by which numbers it goes on."""
    with database.changing() as session:
        for name in reversed(TABLES):
            session.execute(f"DELETE FROM {name}")  # noqa: S608 - names of TABLES
        for name, columns in TABLES.items():
            marks = ", ".join("?" * len(columns))
            session.executemany(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", rows[name])  # noqa: S608 - the same
        if counted:
            _count_on(session)


def _count_on(session: Session) -> None:
    """Let PostgreSQL number new rows after those that came with numbers, as SQLite does by itself."""
    for name in COUNTED:
        highest = session.execute(f"SELECT coalesce(max(number), 0) FROM {name}").fetchone()[0]  # noqa: S608 - names of TABLES
        session.execute("SELECT setval(pg_get_serial_sequence(?, 'number'), ?, false)", (name, highest + 1))


def described(contents: Contents, path: Path, *, is_restored: bool, check: bool) -> str:
    """What was done, for people."""
    if is_restored:
        done = "would be put back from" if check else "put back from"
        return (
            f"{contents}, {done} {path} (format {SCHEMA_VERSION})\n"
            "Histories are judged by what was known then: playbooks/verify.yml says of each host what is proven since."
        )
    return f"{contents}, {'would be written to' if check else 'written to'} {path}\nNo key is in it: back .slipway/keys and witness.pem up apart."
