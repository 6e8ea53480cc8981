# SPDX-License-Identifier: GPL-3.0-or-later
"""The alerts of a host, as they were raised, and who took them: lines of JSON, the newest last.

It is for looking things up, not evidence: a line that cannot be written or read is left out. When the file has grown large, it becomes
``alerts.jsonl.1``, and the one before that goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.files import open_regular, read_if_there, write_all
from .alert import FIRING, RESOLVED, Alert, encoded

LIMIT: Final = 4 << 20
LINE_LIMIT: Final = 64 * 1024
MOST_UNFINISHED: Final = 1000


@dataclass(frozen=True)
class AlertHistory:
    """The file ``alerts.jsonl`` of a host."""

    path: Path

    @property
    def before(self) -> Path:
        return self.path.with_name(f"{self.path.name}.1")

    def raised(self, alert: Alert, number: str) -> None:
        """Note an alert, under the number that the notes of its deliveries name."""
        self._append({"number": number, "key": alert.key, **alert.as_dict()})

    def delivered(self, number: str, channel: str, at: int) -> None:
        """Note that a channel took it."""
        self._append({"number": number, "channel": channel, "at": at})

    def given_up(self, number: str, at: int) -> None:
        """Note that nobody took it for as long as it was kept."""
        self._append({"number": number, "channel": "", "at": at})

    def find(
        self,
        *,
        severities: Sequence[str] = (),
        rule: str = "",
        since: int | None = None,
        until: int | None = None,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """Alerts, newest first, that have one of the severities, this rule, and a time in between; each with ``delivered`` {channel: at}.

        OSError or Refusal when the history is there and cannot be read.
        """
        found: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            number = str(line.get("number"))
            if "severity" in line:
                found[number] = {**line, "delivered": {}}
            elif number in found and isinstance(line.get("channel"), str):
                found[number]["delivered"][line["channel"] or "nobody"] = line.get("at")
        chosen = [
            each
            for each in found.values()
            if (not severities or each["severity"] in severities)
            and (not rule or each["rule"] == rule)
            and (since is None or each["at"] >= since)
            and (until is None or each["at"] <= until)
        ]
        return chosen[::-1][:limit]

    def unfinished(self, since: int) -> tuple[list[tuple[str, Alert]], list[Alert]]:
        """Of the alerts since a time, oldest first: those that nobody took, with their numbers, and those that still fire."""
        waiting, firing = [], {}
        for line in reversed(self.find(since=since, limit=MOST_UNFINISHED)):
            try:
                alert = Alert.of({name: line[name] for name in Alert.__dataclass_fields__ if name in line})
            except (TypeError, ValueError):
                continue
            if not line["delivered"]:
                waiting.append((str(line["number"]), alert))
            if alert.state == FIRING:
                firing[alert.key] = alert
            elif alert.state == RESOLVED:  # with the highest severity the others are over as well
                of = (alert.application, alert.check)
                firing = {key: each for key, each in firing.items() if (each.application, each.check) != of}
        return waiting, list(firing.values())

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        for path in (self.before, self.path):
            data = read_if_there(path, limit=2 * LIMIT, what="alert history") or b""
            for line in data.splitlines():
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):  # cut off by a crash or a full disk
                    continue
                if isinstance(value, dict):
                    yield value

    def _append(self, value: Mapping[str, Any]) -> None:
        data = encoded(json.dumps(value, ensure_ascii=False, sort_keys=True))
        if len(data) > LINE_LIMIT:
            return
        descriptor = open_regular(
            self.path, what="alert history", flags=os.O_RDWR | os.O_APPEND | os.O_CREAT, mode=0o640
        )
        try:
            size = os.fstat(descriptor).st_size
            # What a crash cut off must not swallow this line as well.
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            write_all(descriptor, (b"\n" if is_torn else b"") + data + b"\n")
        finally:
            os.close(descriptor)
        if size > LIMIT:
            os.rename(self.path, self.before)
