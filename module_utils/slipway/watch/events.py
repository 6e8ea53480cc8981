# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured logs: one line of JSON for each event, in the journal, security events in a stream of their own.

``journalctl -t slipway -o cat`` shows them, ``-t slipway-security`` those of security alone. Type, run, release and application
are fields of the journal as well (``SLIPWAY_RUN_ID=…``), so that all that belongs to a run is found in one question.

A run's id is its trace id as W3C Trace Context wants it (32 hex digits, not all zero); one that comes along in ``traceparent`` goes on.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base.clock import Clock, timestamp
from .alert import Redactor, encoded

USER_ACTION: Final = "USER_ACTION"
SYSTEM_EVENT: Final = "SYSTEM_EVENT"
ERROR_EVENT: Final = "ERROR_EVENT"
PERFORMANCE_EVENT: Final = "PERFORMANCE_EVENT"
SECURITY_EVENT: Final = "SECURITY_EVENT"
TYPES: Final = (USER_ACTION, SYSTEM_EVENT, ERROR_EVENT, PERFORMANCE_EVENT, SECURITY_EVENT)
# As syslog(3) has them; an error of ours is no error of the kernel's.
PRIORITIES: Final = {USER_ACTION: 5, SYSTEM_EVENT: 6, ERROR_EVENT: 3, PERFORMANCE_EVENT: 6, SECURITY_EVENT: 4}
STREAM: Final = "slipway"
SECURITY_STREAM: Final = "slipway-security"
SOCKET: Final = "run/systemd/journal/socket"
TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})\Z")


@dataclass(frozen=True)
class Trace:
    """Where an event belongs: ``trace_id`` joins all of a run, ``span_id`` is this process's part, ``parent_id`` who asked for it."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: str = "01"

    @classmethod
    def begin(cls, traceparent: str | None = None, run_id: str = "") -> Trace:
        """Go on with the trace that came along; else with that of the run, if its id can be one; else begin one."""
        found = TRACEPARENT.match(traceparent or "")
        span = secrets.token_hex(8)
        if found:
            return cls(found[1], span, found[2], found[3])
        of_run = run_id.replace("-", "").lower()
        is_one = re.fullmatch(r"(?!0{32})[0-9a-f]{32}", of_run)
        return cls(of_run if is_one else secrets.token_hex(16), span)

    @property
    def traceparent(self) -> str:
        """What goes along with requests that this process makes."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


@dataclass
class Events:
    """Writes events of one process. ``counts`` says how many of each type, ``security`` of each security event."""

    root: Path
    clock: Clock
    trace: Trace
    redactor: Redactor = field(default_factory=Redactor)
    run_id: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    security: dict[str, int] = field(default_factory=dict)

    def write(
        self, kind: str, event: str, message: str, *, application: str = "", release: str = "", **details: Any
    ) -> None:
        """One event. What is said is said without secrets; a journal that cannot be reached is no reason to fail: standard error gets it."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind == SECURITY_EVENT:
            self.security[event] = self.security.get(event, 0) + 1
        line = self.line(kind, event, message, application=application, release=release, **details)
        fields = {
            "MESSAGE": line, "PRIORITY": str(PRIORITIES[kind]), "SYSLOG_IDENTIFIER": SECURITY_STREAM if kind == SECURITY_EVENT else STREAM,
            "SLIPWAY_TYPE": kind, "SLIPWAY_EVENT": event, "SLIPWAY_RUN_ID": self.run_id or self.trace.trace_id, "SLIPWAY_RELEASE_ID": release,
            "SLIPWAY_APPLICATION": application,
        }  # fmt: skip
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.settimeout(1)
                journal.sendto(_datagram(fields), str(self.root / SOCKET))
        except OSError:
            with suppress(OSError, ValueError):
                print(line, file=sys.stderr)

    def line(
        self, kind: str, event: str, message: str, *, application: str = "", release: str = "", **details: Any
    ) -> str:
        """The event as one line of JSON."""
        told = {
            "timestamp": timestamp(self.clock.now()), "type": kind, "event": event, "message": self.redactor.text(message),
            "application": application, "release_id": release, "run_id": self.run_id or self.trace.trace_id,
            "trace_id": self.trace.trace_id, "span_id": self.trace.span_id, "parent_id": self.trace.parent_id,
            **self.redactor.context(details),
        }  # fmt: skip
        return json.dumps({name: value for name, value in told.items() if value not in ("", None)}, ensure_ascii=False)


def _datagram(fields: Mapping[str, str]) -> bytes:
    """systemd's native protocol: NAME=value lines. No value has a line's end in it, since JSON writes it otherwise."""
    return b"".join(encoded(f"{name}={' '.join(value.splitlines())}\n") for name, value in fields.items() if value)
