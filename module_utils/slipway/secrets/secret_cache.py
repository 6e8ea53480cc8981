# SPDX-License-Identifier: GPL-3.0-or-later
"""What providers answered, for a few minutes: one read of a secret serves all processes and hosts of a run, and the next run.

What is handed to hosts is taken from what its own run has read, and never from an earlier one: meanwhile somebody may have set another
value, and the old one may have ended. An entry is found by provider, address, namespace, path, name, version and identity, so that nobody gets what another identity read.
It ends when its time is over on CLOCK_BOOTTIME, which nobody sets, or with its lease, whichever is first. That a provider has no such name is
kept for the run only: whoever sets the secret then finds it with the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from ..base import canonical
from ..base.clock import Clock
from ..base.errors import Refusal
from .secret import Secret
from .volatile import ENTRY_LIMIT, Volatile, hashed, tidy

DIRECTORY: Final = "cache"


class Absent:
    """In place of a secret: the provider said that there is none."""


ABSENT: Final = Absent()


@dataclass
class SecretCache:
    """The cache in ``place``; without a place only what this process itself read in this run."""

    place: Volatile | None
    seconds: int
    clock: Clock
    _own: dict[str, bytes] = field(default_factory=dict, repr=False)

    def get(
        self, origin: Sequence[str], name: str, version: str | None, *, of_this_run: bool = False
    ) -> Secret | Absent | None:
        """What was answered, None where nothing is kept or its time is over; with ``of_this_run`` only what this run was answered."""
        for entry in self._entries(origin, name, version):
            data = self._data(entry)
            if data is None:
                continue
            kept = _parsed(data)
            if kept is None or kept["until"] <= self._now() or kept["name"] != name:
                self._remove(entry)
                continue
            if of_this_run and kept.get("run") != self._run:
                continue
            return ABSENT if kept["secret"] is None else _secret(name, kept["secret"])
        return None

    def put(self, origin: Sequence[str], name: str, version: str | None, answer: Secret | Absent) -> None:
        """Keep an answer for as long as is allowed, which may be not at all; what is over is removed."""
        seconds = self.seconds
        if isinstance(answer, Secret) and answer.lease_seconds is not None:
            seconds = min(seconds, answer.lease_seconds)
        if seconds <= 0:
            return
        self._sweep()
        kept, absent = self._entries(origin, name, version)
        secret = None
        if isinstance(answer, Secret):
            secret = {
                "description": answer.description, "fields": dict(answer.fields), "kind": answer.kind,
                "version": answer.version,
            }  # fmt: skip
        data = canonical.encode(
            {"name": name, "run": self._run, "secret": secret, "until": self._now() + seconds * 1000}
        )
        entry = absent if secret is None else kept
        if len(data) > ENTRY_LIMIT:
            self._remove(entry)  # an older answer is no better than none
        elif self.place:
            self.place.write(entry, data)
        else:
            self._own[entry] = data

    @contextmanager
    def asked_once(self, origin: Sequence[str], name: str, version: str | None) -> Iterator[None]:
        """Let one process ask for a secret while the others that want it wait for its answer."""
        entry = self._entries(origin, name, version)[0]
        with self.place.locked(entry) if self.place and self.seconds > 0 else nullcontext():
            yield

    def __len__(self) -> int:
        return len(self._all())

    def forget(self, name: str) -> int:
        """Remove all that is kept of a name; returns how much that was."""
        return self._flush(f"{hashed(name)}-")

    def flush(self) -> int:
        """Remove all that is kept."""
        return self._flush("")

    def _flush(self, beginning: str) -> int:
        entries = [entry for entry in self._all() if entry.rpartition("/")[2].startswith(beginning)]
        for entry in entries:
            self._remove(entry)
        return len(entries)

    def _entries(self, origin: Sequence[str], name: str, version: str | None) -> tuple[str, str]:
        """Where a secret is kept, and where that there is none."""
        entry = f"{hashed(name)}-{hashed(*origin, name, version or '')}"
        return f"{DIRECTORY}/{entry}", self.place.of_run(f"{entry}-absent") if self.place else f"{entry}-absent"

    def _all(self) -> list[str]:
        if self.place is None:
            return list(self._own)
        absent = [entry for entry in self.place.names(self.place.run) if entry.endswith("-absent")]
        return self.place.names(DIRECTORY) + absent

    def _sweep(self) -> None:
        if self.place is None:
            return
        tidy_up = False
        for entry in self._all():
            data = self._data(entry)
            kept = _parsed(data) if data is not None else None
            if data is not None and (kept is None or kept["until"] <= self._now()):
                self._remove(entry)
                tidy_up = True
        if tidy_up:
            tidy(self.place)

    def _data(self, entry: str) -> bytes | None:
        """What is in an entry; what can be none of ours is removed, so that it keeps nobody from asking."""
        if self.place is None:
            return self._own.get(entry)
        try:
            return self.place.read(entry)
        except Refusal:
            self._remove(entry)
            return None

    @property
    def _run(self) -> str:
        return self.place.run if self.place else ""

    def _remove(self, entry: str) -> None:
        if self.place:
            self.place.remove(entry)
        else:
            self._own.pop(entry, None)

    def _now(self) -> int:
        return int(self.clock.elapsed() * 1000)


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        kept: dict[str, Any] = canonical.parse_canonical(data, what="entry of the secrets cache", limit=ENTRY_LIMIT)
    except Refusal:
        return None
    return kept


def _secret(name: str, kept: dict[str, Any]) -> Secret:
    return Secret(name, kept["fields"], kept["kind"], kept["description"], kept["version"])
