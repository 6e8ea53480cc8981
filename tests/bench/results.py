# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, kept line by line, so that a run that is cut off loses nothing and several runs make one report."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

CASES = {
    "first": "first deploy",
    "unchanged": "no change",
    "changed": "1 % changed",
    "rollback": "rollback",
}


@dataclass(frozen=True)
class Result:
    """One command of one tool, or (`failed`) why there is none. `round` counts within the run that began at `run`."""

    run: str
    round: int
    bundle: str
    has_service: bool
    hosts: int
    tool: str
    version: str
    case: str
    wall: float = 0.0
    processor: float = 0.0
    sent: int = 0
    received: int = 0
    sessions: tuple[int, ...] = ()
    failed: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    promised_bytes: int = 0


def append(path: Path, result: Result) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def read(path: Path) -> list[Result]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Result(**(members | {"sessions": tuple(members["sessions"])})) for members in map(json.loads, lines)]


@dataclass(frozen=True)
class Results:
    """Those of one bundle."""

    every: Sequence[Result]

    def of(self, hosts: int, tool: str, case: str) -> list[Result]:
        return [
            each for each in self.every if (each.hosts, each.tool, each.case, each.failed) == (hosts, tool, case, "")
        ]

    def median(self, hosts: int, tool: str, case: str, figure: Callable[[Result], float]) -> float | None:
        values = [figure(each) for each in self.of(hosts, tool, case)]
        return statistics.median(values) if values else None

    def counts(self) -> list[int]:
        return sorted({each.hosts for each in self.every if each.case})

    def tools(self, hosts: int) -> list[str]:
        return list(dict.fromkeys(each.tool for each in self.every if each.hosts == hosts and each.case))

    def pairs(
        self, hosts: int, one: tuple[str, str], other: tuple[str, str], figure: Callable[[Result], float]
    ) -> Iterator[float]:
        """The ratios of two commands (tool, case) that were measured in the same round of the same run."""
        beside = {(each.run, each.round): figure(each) for each in self.of(hosts, *other)}
        for each in self.of(hosts, *one):
            if (each.run, each.round) in beside:
                yield figure(each) / beside[each.run, each.round]
