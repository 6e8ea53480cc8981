# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine for each test, and at the end a table of how many points were hit and survived.

SLIPWAY_FAULTS=all strikes at every point; without it a sample is struck.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from faults.machine import Machine

IS_ALL = os.environ.get("SLIPWAY_FAULTS") == "all"
Point = TypeVar("Point")
Tell = Callable[[str, str, int], None]


@pytest.fixture
def machine(in_memory: Path) -> Machine:
    """Return one whose host serves v1 and has v2 staged."""
    return Machine.with_releases(in_memory / "machine", in_memory / "desk")


@pytest.fixture
def sample() -> Callable[[Sequence[Point], int], Sequence[Point]]:
    """Return a function that picks some points of many, evenly; all of them where all are asked for."""

    def sampled(points: Sequence[Point], count: int) -> Sequence[Point]:
        if IS_ALL or len(points) <= count:
            return points
        return [points[number * len(points) // count] for number in range(count)]

    return sampled


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Return a function that adds a row to the table: what was struck, by which fault, at how many points."""

    def told(what: str, fault: str, points: int) -> None:
        request.node.user_properties.append(("faults", (what, fault, points)))

    return told


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table: an operation a row, a fault a column. A point counts when its test passed: all were survived."""
    rows: dict[str, dict[str, int]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "faults":
                what, fault, points = value
                row = rows.setdefault(what, {})
                row[fault] = row.get(fault, 0) + points
    if not rows:
        return
    faults = list(dict.fromkeys(fault for row in rows.values() for fault in row))
    total = {fault: sum(row.get(fault, 0) for row in rows.values()) for fault in faults}
    write = terminalreporter.write_line
    write("")
    write("Points that a fault hit, all survived:")
    write(f"| what was struck | {' | '.join(faults)} |")
    write(f"|---|{'---|' * len(faults)}")
    for what, row in sorted(rows.items()):
        write(f"| {what} | {' | '.join(str(row.get(fault, '-')) for fault in faults)} |")
    write(f"| **all** ({sum(total.values())}) | {' | '.join(str(total[fault]) for fault in faults)} |")
