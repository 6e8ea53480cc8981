# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting what a JUnit XML file says: one `testcase` for each test, with what became of it inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn
from xml.parsers import expat


@dataclass(frozen=True)
class Counts:
    """How many tests there were and what became of them; one that both failed and broke counts as failed."""

    passed: int
    failed: int
    skipped: int

    def as_dict(self) -> dict[str, int]:
        """Return {"failed", "passed", "skipped"}."""
        return {"failed": self.failed, "passed": self.passed, "skipped": self.skipped}


def count(data: bytes) -> Counts:
    """Count the tests in `data`; ValueError says why it is no JUnit XML. A document type is refused: it could grow."""
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"no XML: {error}") from None
    return Counts(reader.tests - reader.failed - reader.skipped, reader.failed, reader.skipped)


class _Reader:
    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.tests = self.failed = self.skipped = 0
        self._depth = 0
        self._outcomes: set[str] | None = None

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if self._depth == 0 and name not in ("testsuites", "testsuite"):
            raise ValueError(f"no JUnit XML: its root is {name!r}")
        self._depth += 1
        if name == "testcase":
            self._outcomes = set()
        elif self._outcomes is not None:
            self._outcomes.add(name)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name != "testcase" or self._outcomes is None:
            return
        self.tests += 1
        if self._outcomes & {"failure", "error"}:
            self.failed += 1
        elif "skipped" in self._outcomes:
            self.skipped += 1
        self._outcomes = None

    def _doctype(self, *_declared: object) -> NoReturn:
        raise ValueError("a document type, which JUnit XML has not")
