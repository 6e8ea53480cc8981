# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked for which secret, when, and what came of it: one line for each access, chained by hashes, and never a value.

A record: seq, prev_hash (see trust/chain.py), timestamp (RFC 3339 Z), operation (read | write | list | flush | rekey | rotate; seal | open | shut of the emergency
access; issue | receive of a role's secret id), name (of the secret; * for all; break-glass; approle/<role>), field (null where all fields were meant), provider (null where none
was asked), version (null where unknown), cached (whether no provider was asked), outcome (read | written | unchanged | default | listed | flushed | rekeyed | unavailable |
refused; begun | sealed | opened | shut | issued | received; of a rotation its state, see rotation_record.py), reason (the code of the refusal, why a provider did not answer, what
somebody said who opened the emergency access, or null), run_id, by (who ran it), environment, host (the inventory's name of the host that it was for).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..base.clock import Clock, seconds_of, timestamp
from ..base.errors import Refusal, shown
from ..base.files import full_disk_is_a_refusal, open_regular, read_if_there
from ..trust.chain import Chain, Record

LOG_LIMIT: Final = 256 << 20
EVERYTHING: Final = "*"


def require_time(text: str | None) -> str | None:
    """A time as the log writes it, or none."""
    if text is not None:
        try:
            seconds_of(text)
        except ValueError:
            raise Refusal(
                "access_time_invalid",
                expected="a time such as 2026-11-22T00:00:00Z",
                found=shown(text),
                remedy="Correct SINCE= or UNTIL=.",
            ) from None
    return text


@dataclass(frozen=True)
class Caller:
    """Who asks, for what: the same for all accesses of a lookup or a command."""

    by: str
    run_id: str
    environment: str
    host: str


@dataclass(frozen=True)
class AccessLog(Chain):
    """The access log of a controller."""

    def opened(self, flags: int) -> int:
        return open_regular(self.path, what="access log", flags=flags, mode=0o600)

    def content(self) -> bytes:
        return read_if_there(self.path, limit=LOG_LIMIT, what="access log") or b""

    def altered(self, where: str, found: str) -> Refusal:
        return Refusal(
            "access_log_altered",
            expected=f"{where} of {self.path} to be the record that Slipway wrote there",
            found=found,
            remedy="Keep the file as evidence and find out who changed it; then move it away, so that a new one begins.",
        )

    def note(self, caller: Caller, clock: Clock, **what: Any) -> Record:
        """Add a line, durably. One process at a time: no access without its line, so one that cannot be written ends it."""
        with self._locked():
            return self.append(self.record(caller, clock, **what))

    def record(self, caller: Caller, clock: Clock, **what: Any) -> Record:
        """What a line says, without its place in the chain."""
        return {
            "by": caller.by, "cached": False, "environment": caller.environment, "field": None, "host": caller.host, "provider": None,
            "reason": None, "run_id": caller.run_id, "timestamp": timestamp(clock.now()), "version": None, **what,
        }  # fmt: skip

    @contextmanager
    def _locked(self) -> Iterator[None]:
        directory = self.path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with full_disk_is_a_refusal(directory, what="note who asked for a secret"):
            descriptor = open_regular(
                self.path.with_name(f".{self.path.name}.lock"), what="access log lock", flags=os.O_RDWR | os.O_CREAT
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)

    def found(
        self, *, name: str | None = None, by: str | None = None, since: str | None = None, until: str | None = None
    ) -> list[Record]:
        """The records of a secret, a person and a time (RFC 3339 Z, both ends included), oldest first, with the chain checked."""
        return [
            record
            for record in self.records()
            if name in (None, record["name"])
            and by in (None, record["by"])
            and (since is None or record["timestamp"] >= since)
            and (until is None or record["timestamp"] <= until)
        ]
