# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of `make bench`, between two markers of docs/benchmarks.md, and the plot beside it."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from .bundles import BUNDLES
from .peers import PLACE, REPOSITORY, environment
from .results import CASES, Result, Results

PAGE = REPOSITORY / "docs" / "benchmarks.md"
PLOT = REPOSITORY / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- made by make bench -->", "<!-- end of what make bench made -->"
SLIPWAY = "slipway"
FLEET = 8  # hosts at which the figures to reach are stated
TASKS = 41  # of a deployment with Ansistrano


def wall(result: Result) -> float:
    return result.wall


def sent_per_host(result: Result) -> float:
    return result.sent / result.hosts


def sessions(result: Result) -> float:
    return statistics.median(result.sessions)


def write(results: Sequence[Result]) -> str:
    """Put the report into the page, draw the plot, and return the report."""
    text = compose(results)
    replace(BEGIN, END, text)
    draw("tools", PLACE / "results.jsonl", PLOT)
    return text


def replace(begin: str, end: str, text: str) -> None:
    """Put a text between two markers of the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{PAGE.name} has no place for this report: {begin}")
    PAGE.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")


def draw(kind: str, source: Path, target: Path) -> None:
    """Draw `tools` or a `fleet` from the results that a file has, where matplotlib is."""
    python = environment.python_environment() / "bin/python"
    subprocess.run([python, "-m", "tests.bench.plot", kind, str(source), str(target)], cwd=REPOSITORY, check=True)


def compose(results: Sequence[Result]) -> str:
    """The whole report as Markdown."""
    blocks = ["\n".join(_about(results)), f"![Seconds by case and tool]({PLOT.name})"]
    for bundle, every in _by_bundle(results):
        found = Results(every)
        for hosts in found.counts():
            blocks.append(f"### {_described(bundle)}, {hosts} {'host' if hosts == 1 else 'hosts'}")
            blocks.append("\n".join(_table(found, hosts)))
        targets = list(figures_to_reach(found)) if bundle == "small" else []
        if targets:
            blocks += ["### Figures to reach", "\n".join(_targets(targets))]
    return "\n\n".join(blocks) + "\n"


def _by_bundle(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    cases = sorted((each for each in results if each.case), key=lambda each: list(BUNDLES).index(each.bundle))
    for bundle, every in groupby(cases, key=lambda each: each.bundle):
        yield bundle, list(every)


def _described(bundle: str) -> str:
    return BUNDLES[bundle].described


def _about(results: Sequence[Result]) -> Iterator[str]:
    machines = list(dict.fromkeys(tuple(each.machine.items()) for each in results if each.machine))
    for machine in machines:
        yield "Machine: " + ", ".join(f"{value}" for _, value in machine) + "."
    yield "Hosts are containers with systemd and ssh on that machine; the controller is the machine itself."
    days = sorted({each.run[:10] for each in results})
    yield f"Measured on {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "") + "."
    versions = dict.fromkeys((each.tool, each.version) for each in results if each.version)
    yield "Versions: " + ", ".join(f"{tool} {version}" for tool, version in versions) + "."
    services = {each.has_service for each in results if each.case}
    served = {True: "restart a unit and ask it for the release", False: "serve nothing: they have files only"}
    yield "Deployments " + " or ".join(served[each] for each in sorted(services)) + "."
    failures = dict.fromkeys((each.tool, each.case, each.failed) for each in results if each.failed)
    for tool, case, failed in failures:
        what = f"failed at {CASES[case]}" if case else "left out"
        yield f"**{tool}** {what}: {' '.join(failed.split())[-300:]}."


def _table(found: Results, hosts: int) -> Iterator[str]:
    yield "| tool | case | rounds | median s | min - max | of Slipway | controller's processors s | MB sent per host | sessions per host |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case, title in CASES.items():
        for tool in found.tools(hosts):
            every = found.of(hosts, tool, case)
            if every:
                yield _row(found, hosts, tool, case, title, every)


def _row(found: Results, hosts: int, tool: str, case: str, title: str, every: Sequence[Result]) -> str:
    walls = [each.wall for each in every]
    ratios = list(found.pairs(hosts, (tool, case), (SLIPWAY, case), wall))
    cells = [
        f"**{tool}**" if tool == SLIPWAY else tool,
        title,
        str(len(every)),
        f"{statistics.median(walls):.1f}",
        f"{min(walls):.1f} - {max(walls):.1f}",
        f"{statistics.median(ratios):.2f} x" if ratios and tool != SLIPWAY else "-",
        f"{statistics.median(each.processor for each in every):.1f}",
        f"{statistics.median(each.sent / hosts for each in every) / 1e6:.2f}",
        f"{statistics.median(sessions(each) for each in every):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def figures_to_reach(found: Results) -> Iterator[tuple[str, float, float, float]]:
    """What, what was found, what it should be at most, above what it counts as not done."""
    ours = Paired(found)
    yield from ours.against("1 % changed, of pyinfra's", "changed", ("pyinfra", "changed"), 0.9, 1.3)
    yield from ours.against("no change, of pyinfra's", "unchanged", ("pyinfra", "unchanged"), 0.7, 1.0)
    yield from ours.against("rollback, of pyinfra's 1 % changed", "rollback", ("pyinfra", "changed"), 0.6, 0.9)
    yield from ours.against("first deploy, of the rsync floor", "first", ("rsync", "first"), 1.3, 1.3)
    name = f"1 % changed, of a role of {TASKS} tasks"
    yield from ours.against(name, "changed", ("ansistrano", "changed"), 1 / 8, 1 / 8)
    yield from ours.bytes()
    asked = found.median(FLEET, SLIPWAY, "unchanged", sessions)
    if asked is not None:
        yield "no change, exchanges with each host", asked, 5, 5
    yield from ours.growth()


class Paired:
    """Ratios of the same round."""

    def __init__(self, found: Results) -> None:
        self.found = found

    def against(
        self, name: str, case: str, other: tuple[str, str], target: float, limit: float
    ) -> Iterator[tuple[str, float, float, float]]:
        ratios = list(self.found.pairs(FLEET, (SLIPWAY, case), other, wall))
        if ratios:
            yield f"{name} time", statistics.median(ratios), target, limit

    def bytes(self) -> Iterator[tuple[str, float, float, float]]:
        every = self.found.of(FLEET, SLIPWAY, "changed")
        if every:
            share = statistics.median(sent_per_host(each) / each.promised_bytes for each in every)
            yield "1 % changed, bytes sent to a host, of 1.2 % of the bundle, manifest and file list", share, 1, 1

    def growth(self) -> Iterator[tuple[str, float, float, float]]:
        for case, title in CASES.items():
            few = self.found.median(FLEET, SLIPWAY, case, wall)
            many = self.found.median(4 * FLEET, SLIPWAY, case, wall)
            if few and many:
                yield f"{title}, time at {4 * FLEET} hosts of that at {FLEET}", many / few, 4, 4


def _targets(targets: Sequence[tuple[str, float, float, float]]) -> Iterator[str]:
    yield f"At {FLEET} hosts, 2,000 files; medians of the ratios of each round."
    yield ""
    yield "| figure | found | at most | |"
    yield "|---|---|---|---|"
    for name, value, target, limit in targets:
        verdict = "reached" if value <= target else "not reached" if value <= limit else "**not done**"
        yield f"| {name} | {value:.2f} | {target:.3g} | {verdict} |"
