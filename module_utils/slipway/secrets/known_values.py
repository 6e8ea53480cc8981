# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values a run has handed out, told by the processes that got them to the one that prints: lines of a file in memory, for this run alone.

The process that prints knows neither variables nor settings, so it looks where such a file may be. Without memory that only this user can read there is none, and each
process knows its own values only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ..base.files import open_regular, write_all
from .redaction import Redactor
from .secret import Secret
from .secret_kind import KINDS
from .volatile import SHARED, Volatile, directories

FILE: Final = "handed-out"
# Of a secret of a kind, what need not be kept: host names and the like stand in every output.
PUBLIC: Final = frozenset(
    (
        "host",
        "port",
        "username",
        "database",
        "bucket",
        "region",
        "endpoint",
        "url",
        "algorithm",
        "issuer",
        "access_key_id",
    )
)


def confidential(kind: str | None, fields: Mapping[str, str]) -> list[str]:
    """The values of a secret that nobody may see; without a kind that is all of them."""
    return [value for name, value in fields.items() if kind not in KINDS or name not in PUBLIC]


def tell(place: Volatile | None, secret: Secret, kind: str | None) -> None:
    """Let every process of the run know."""
    values = confidential(kind, secret.fields)
    HERE.add(values)
    if place is None or not values:
        return
    descriptor = open_regular(
        place.directory / place.of_run(FILE), what="list of values", flags=os.O_WRONLY | os.O_APPEND | os.O_CREAT
    )
    try:
        write_all(descriptor, json.dumps(values).encode() + b"\n")
    finally:
        os.close(descriptor)


class Listener:
    """What is known of a run so far. ``redactor`` is up to date with every file that the run's processes have written."""

    def __init__(self, environment: Mapping[str, str], run: str, shared: Path = SHARED) -> None:
        self._files = {directory / run / FILE: 0 for directory in directories(environment, shared)}

    def redactor(self) -> Redactor:
        for path, read in self._files.items():
            try:
                status = os.stat(path)
                if status.st_size > read and status.st_uid == os.geteuid():
                    self._files[path] = read + self._take(path, read)
            except OSError:  # none yet
                continue
        return HERE

    def _take(self, path: Path, start: int) -> int:
        with open(path, "rb") as stream:
            stream.seek(start)
            whole = stream.read().rpartition(b"\n")[0]
        HERE.add(value for line in whole.splitlines() for value in _values(line))
        return len(whole) + 1 if whole else 0


def _values(line: bytes) -> Iterable[str]:
    try:
        return [value for value in json.loads(line) if isinstance(value, str)]
    except (ValueError, TypeError):
        return []


HERE: Final = Redactor()
