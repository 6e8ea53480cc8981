# SPDX-License-Identifier: GPL-3.0-or-later
"""The open transaction of an application: what was about to happen, and how far it came.

The file is there from the intent to the outcome and holds one canonical JSON object a line: first the intent, then a
line ``{"step": …}`` for each step that was *reached*. Steps: ``switched`` (the link says the new release), ``healthy``,
``renewed`` (with another deadline), ``reverting``, ``confirmed``, ``reverted``, ``verified`` (after a way back); anywhere among them
``hooked`` (hooks ended), ``migrating``, ``migrated``, ``migrating_back`` and ``migrated_back`` (a migration begins, has ended). Each line is
fsynced before the next thing is done. A line without LF was
never acknowledged and does not count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import open_regular, read_if_there, remove_durable, write_all, write_durable
from .places import refuse_newer_format

FORMAT = 1
LINE_LIMIT = 4 << 20
JOURNAL_LIMIT = 64 << 20


@dataclass(frozen=True)
class Transaction:
    """An intent and the steps reached since.

    ``intent``: format, id, run (the request's run), release_id, manifest_digest, previous_release_id, rollback, takes_back,
    environment, host_id, application (the description, plain), files [{path, existed, sha256, mode, uid, gid, backup}],
    artifacts, watch_hours, verification_steps [{argv, timeout_seconds}], share (percent or null), hooks {moment: [{argv,
    timeout_seconds}]}, migrations [as in the manifest], migrate, irreversible_accepted [names], started, deadline (of the dead-man,
    milliseconds of CLOCK_BOOTTIME), with blue_green instances {before, after}, and where the service has credentials those {before,
    after (generations), replaced}.
    """

    intent: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...] = ()

    @property
    def id(self) -> str:
        return str(self.intent["id"])

    @property
    def run_id(self) -> str:
        return str(self.intent["run"]["run_id"])

    def reached(self, step: str) -> bool:
        return any(entry["step"] == step for entry in self.steps)

    def details(self, step: str) -> Mapping[str, Any]:
        """What was written down with the newest such step, nothing where it was not reached."""
        return next((entry for entry in reversed(self.steps) if entry["step"] == step), {})


@dataclass(frozen=True)
class Journal:
    """The journal file of one application."""

    path: Path

    def open(self, intent: Mapping[str, Any]) -> Transaction:
        """Make the intent durable; from here on a crash is recovered from."""
        complete = {**intent, "format": FORMAT}
        write_durable(self.path, canonical.encode(complete) + b"\n", mode=0o600)
        return Transaction(complete)

    def reach(self, transaction: Transaction, step: str, **details: Any) -> Transaction:
        """Note durably that a step was reached; a failed write leaves the journal as it was.

        A line that an earlier crash tore goes first: appended to, it would make one unreadable line with this one.
        """
        entry = {"step": step, **details}
        descriptor = open_regular(self.path, what="journal", flags=os.O_RDWR | os.O_APPEND)
        try:
            end = _end_of_whole_lines(descriptor)
            os.ftruncate(descriptor, end)
            try:
                write_all(descriptor, canonical.encode(entry) + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
        return Transaction(transaction.intent, (*transaction.steps, entry))

    def close(self) -> None:
        """Forget the transaction: its outcome is in the history."""
        remove_durable(self.path)

    def read(self) -> Transaction | None:
        """The open transaction, None when there is none.

        A journal that is empty or torn in its first line was never acknowledged: nothing was done under it, so there
        is no transaction. Refusal ``format_unknown`` for a newer format.
        """
        data = read_if_there(self.path, limit=JOURNAL_LIMIT, what="journal") or b""
        lines = data.split(b"\n")[:-1]
        if not lines:
            return None
        intent, *steps = (self._parsed(line) for line in lines)
        refuse_newer_format(intent.get("format"), self.path)
        if not all("step" in step for step in steps):
            raise self._unreadable("a line that names no step")
        return Transaction(intent, tuple(steps))

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            value = canonical.parse_canonical(line, what="journal line", limit=LINE_LIMIT)
        except Refusal as refusal:
            raise self._unreadable(str(refusal)) from refusal
        if not isinstance(value, dict):
            raise self._unreadable("a line that is no object")
        return value

    def _unreadable(self, found: str) -> Refusal:
        return Refusal(
            "journal_unreadable",
            expected=f"the lines that Slipway wrote to {self.path}",
            found=found,
            remedy="Compare the link with the history (slipway status), then move the journal away by hand.",
        )


def _end_of_whole_lines(descriptor: int) -> int:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).rfind(b"\n") + 1
