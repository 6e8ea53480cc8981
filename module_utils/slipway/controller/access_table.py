# SPDX-License-Identifier: GPL-3.0-or-later
"""The access log of several controllers: the same chained lines as in a controller's own file, in the database that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..base import canonical
from ..base.clock import Clock
from ..base.errors import Refusal
from ..secrets.access_log import AccessLog, Caller
from ..trust.chain import EMPTY_TREE, Record, leaf_hash
from .state_database import UNUSABLE, StateDatabase
from .state_place import StatePlace


@dataclass(frozen=True)
class AccessTable(AccessLog):
    """The lines of everybody, in the order in which they were written.

    Where the database is not there and an operator said to go on without it, a line goes to the file at ``path``, which is said.
    """

    place: StatePlace = field(kw_only=True)
    announce: Callable[[str], object] = field(kw_only=True)

    @cached_property
    def database(self) -> StateDatabase:
        return StateDatabase(self.place)

    def content(self) -> bytes:
        with self.database.reading() as session:
            rows = session.execute("SELECT line FROM accesses ORDER BY seq").fetchall()
        return b"".join(str(row[0]).encode() + b"\n" for row in rows)

    def altered(self, where: str, found: str) -> Refusal:
        return Refusal(
            "access_log_altered",
            expected=f"{where} of the access log in {self.place} to be the record that Slipway wrote there",
            found=found,
            remedy="Keep a backup of the database as evidence (make state-backup) and find out who changed it.",
        )

    def note(self, caller: Caller, clock: Clock, **what: Any) -> Record:
        try:
            return self.append(self.record(caller, clock, **what))
        except Refusal as refusal:
            if self.place.is_required or refusal.reason not in UNUSABLE:
                raise
            self.announce(f"who asks for secrets is noted in {self.path} of this controller alone: {refusal.found}")
            return AccessLog(self.path).note(caller, clock, **what)

    def append(self, record: Record) -> Record:
        """Append one record and return it with its ``seq`` and ``prev_hash``; one writer of all controllers at a time."""
        with self.database.changing() as session:
            row = session.execute("SELECT line FROM accesses ORDER BY seq DESC LIMIT 1").fetchone()
            last = self._parsed(str(row[0]).encode(), "the last line") if row else None
            seq, prev_hash = (last["seq"] + 1, leaf_hash(canonical.encode(last))) if last else (0, EMPTY_TREE)
            complete = {**record, "seq": seq, "prev_hash": prev_hash}
            session.execute("INSERT INTO accesses VALUES (?, ?)", (seq, canonical.encode(complete).decode()))
        return complete

    def last(self) -> Record | None:
        """The newest record; its cost does not grow with the log."""
        with self.database.reading() as session:
            row = session.execute("SELECT line FROM accesses ORDER BY seq DESC LIMIT 1").fetchone()
        return self._parsed(str(row[0]).encode(), "the last line") if row else None
