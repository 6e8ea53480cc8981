# SPDX-License-Identifier: GPL-3.0-or-later
"""The plots beside the reports: `python -m tests.bench.plot tools|fleet RESULTS SVG`, run where matplotlib is."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "slipway", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot
from matplotlib.figure import Figure

from .results import CASES, Result, Results, read

TOOLS = ("slipway", "rsync", "pyinfra", "capistrano", "deploy_helper", "ansistrano")
COLOURS = dict(zip(TOOLS, ("#d62728", "#7f7f7f", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd"), strict=True))


def main(kind: str, source: str, target: str) -> None:
    figure = {"tools": draw_tools, "fleet": draw_fleet}[kind](Path(source))
    figure.savefig(target, format="svg", metadata={"Date": None})
    written = Path(target)
    written.write_text("".join(f"{line.rstrip()}\n" for line in written.read_text().splitlines()))


def draw_tools(source: Path) -> Figure:
    found = Results([each for each in read(source) if each.bundle == "small"])
    figure, (bars, growth) = pyplot.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2), layout="constrained")
    counts = found.counts()
    if counts:
        hosts = min(counts, key=lambda count: abs(count - 8))
        draw_bars(bars, found, hosts)
        draw_growth(growth, found, counts)
        handles, names = bars.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def draw_fleet(source: Path) -> Figure:
    """Processor seconds and memory of the controller by the number of hosts, with the lines that fit best."""
    results = [json.loads(line) for line in source.read_text().splitlines()]
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    shown = (("processor", "controller's processors, s", 1), ("memory_all", "controller's memory, MiB", 1 << 20))
    for axes, (key, title, unit) in zip(panels, shown, strict=True):
        for case, colour in (("first", "#d62728"), ("unchanged", "#1f77b4")):
            points = sorted((each["hosts"], each[key] / unit) for each in results if each["case"] == case)
            hosts, values = [x for x, _ in points], [y for _, y in points]
            axes.scatter(hosts, values, color=colour, label=CASES[case])
            if len(set(hosts)) > 1:
                line = statistics.linear_regression(hosts, values)
                ends = [0, max(hosts)]
                axes.plot(ends, [line.intercept + line.slope * end for end in ends], color=colour, linewidth=0.8)
        axes.set_xlabel("hosts")
        axes.set_ylabel(title)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return figure


def draw_bars(axes: pyplot.Axes, found: Results, hosts: int) -> None:
    """Medians by case and tool, with the least and the most as whiskers."""
    tools = [tool for tool in TOOLS if tool in found.tools(hosts)]
    width = 0.8 / max(1, len(tools))
    for number, tool in enumerate(tools):
        for place, case in enumerate(CASES):
            walls = [each.wall for each in found.of(hosts, tool, case)]
            if walls:
                middle = statistics.median(walls)
                axes.bar(
                    place + (number - (len(tools) - 1) / 2) * width,
                    middle,
                    width,
                    yerr=[[middle - min(walls)], [max(walls) - middle]],
                    color=COLOURS[tool],
                    label=tool if place == 0 else None,
                    error_kw={"linewidth": 0.8},
                )
    axes.set_xticks(range(len(CASES)), list(CASES.values()))
    axes.set_ylabel("seconds")
    axes.set_title(f"{hosts} {'host' if hosts == 1 else 'hosts'}")
    axes.spines[["top", "right"]].set_visible(False)


def draw_growth(axes: pyplot.Axes, found: Results, counts: list[int]) -> None:
    """A change of 1 % by the number of hosts."""
    for tool in TOOLS:
        points = [(count, found.median(count, tool, "changed", _wall)) for count in counts]
        there = [(count, seconds) for count, seconds in points if seconds is not None]
        if there:
            axes.plot(*zip(*there, strict=True), marker="o", color=COLOURS[tool])
    axes.set_xlabel("hosts")
    axes.set_ylabel("seconds")
    axes.set_ylim(bottom=0)
    axes.set_xticks(counts)
    axes.set_title(CASES["changed"])
    axes.spines[["top", "right"]].set_visible(False)


def _wall(result: Result) -> float:
    return result.wall


if __name__ == "__main__":
    main(*sys.argv[1:])
