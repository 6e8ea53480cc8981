# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects on their way from an artifact store: ``/srv/<application>/.incoming/<sha256>``, each whole or the beginning of it.

They stay when a fetch fails or dies, so that the next one, of any run, goes on where it ended; whatever is here is hashed
again then. Bounded by what one release lacks: a fetch removes what it does not want, a whole release leaves nothing here, and
pruning removes the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..base.errors import Refusal
from ..base.files import read_if_there, remove_tree
from .lease import Run, end_abandoned, exclusive
from .places import Places

LIMIT: Final = 1024
NOTED_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Incoming:
    """The directory of one application, beside its objects since these are renamed into place.

    `verified` are the objects that the fetch which has it reserved has brought, whole.
    """

    places: Places
    verified: frozenset[str] = frozenset()

    @contextmanager
    def reserved(self, run: Run) -> Iterator[None]:
        """One fetch at a time; Refusal ``busy`` when another one does not end soon. One of a run that ``run`` knows to be dead is ended.

        Its lock is not the application's: a store that is slow must not hold up a way back.
        """
        path, clock = self.places.fetching, self.places.host.clock
        if self._is_of(run.dead_runs):
            clock.sleep(NOTED_SECONDS)  # one that has just begun has not noted yet whose it is
            if self._is_of(run.dead_runs):
                end_abandoned(path)
        with exclusive(path, clock):
            with suppress(OSError):  # without the note a fetch is waited for
                path.write_text(run.run_id, encoding="utf-8")
            yield

    def _is_of(self, runs: Sequence[str]) -> bool:
        """Whether the fetch that began last is of one of these runs."""
        noted = read_if_there(self.places.fetching, limit=LIMIT, what="fetch")
        return noted is not None and noted.decode(errors="replace") in runs

    def path(self, sha256: str) -> Path:
        return self.places.incoming / sha256

    def begin(self, wanted: Mapping[str, int]) -> None:
        """Make the directory, and leave nothing in it but what is wanted (sizes by SHA-256)."""
        self.places.incoming.mkdir(mode=0o700, exist_ok=True)
        for path in self.places.incoming.iterdir():
            if path.name not in wanted:
                path.unlink()

    def held(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """How many bytes of each wanted object are here, at most its size; nothing of it is verified."""
        found = {}
        for sha256, size in wanted.items():
            with suppress(FileNotFoundError):
                found[sha256] = min(size, os.lstat(self.path(sha256)).st_size)
        return found

    def discard(self) -> None:
        """Remove all of it; whoever calls this has it reserved."""
        if self.places.incoming.is_dir():
            remove_tree(self.places.incoming)

    def clear(self) -> None:
        """Remove all of it, unless a fetch is at work."""
        if self.places.incoming.is_dir():
            with suppress(Refusal), exclusive(self.places.fetching, self.places.host.clock, wait_seconds=0):
                self.discard()
