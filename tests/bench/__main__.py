# SPDX-License-Identifier: GPL-3.0-or-later
"""`make bench`: how long deploys and rollbacks take, beside the tools that people use instead, on the same hosts in the same run.

Every figure is a whole command, as an operator types it. The tools take turns within each case and each round; what was
measured is kept line by line, and the report is made of all that is kept.

    python -m tests.bench --fresh                                     everything: what `make bench` does
    python -m tests.bench --hosts 8 --rounds 3                        adds to what is kept
    python -m tests.bench --hosts 8 --cases first,changed --rounds 1 --peers pyinfra
    python -m tests.bench --bundle large --hosts 1 --peers rsync,pyinfra
    python -m tests.bench --report                                    writes the report of what is kept and measures nothing
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import meter, report
from .bundles import BUNDLES
from .hosts import VERBOSE, Failed, Target, as_people_have_it, close, on_all, up
from .peers import PLACE, Bench, Tool, Unavailable
from .peers.ansistrano import Ansistrano
from .peers.capistrano import Capistrano
from .peers.deploy_helper import DeployHelper
from .peers.pyinfra import Pyinfra
from .peers.rsync import Rsync
from .peers.slipway import Slipway
from .results import CASES, Result, append, read

PEERS: dict[str, type[Tool]] = {each.name: each for each in (Rsync, Pyinfra, Capistrano, DeployHelper, Ansistrano)}
INSTANCE = "bench"
RESULTS = PLACE / "results.jsonl"


@dataclass(frozen=True)
class Run:
    """One run of the command: what is the same for all its results."""

    began: str
    bench: Bench
    cases: tuple[str, ...]
    tools: dict[Tool, str]

    def measure(self, hosts: Sequence[Target], rounds: int) -> None:
        """All cases with all tools on these hosts, again and again."""
        tools = list(self.tools)
        for tool in tools:
            tool.prepare(hosts)
        for number in range(rounds):
            turn = number % len(tools)
            self._round(hosts, number, tools[turn:] + tools[:turn])
        for tool in tools:
            tool.forget(hosts)

    def _round(self, hosts: Sequence[Target], number: int, tools: list[Tool]) -> None:
        for tool in tools:
            tool.forget(hosts)
        for case in CASES:
            needed = case in self.cases or case == "first" or (case == "changed" and "rollback" in self.cases)
            for tool in list(tools) if needed else []:
                result = self._one(hosts, number, tool, case)
                if result.failed:
                    tools.remove(tool)
                if result.failed or case in self.cases:
                    append(RESULTS, result)
                    print(_said(result), flush=True)
                if result.failed and isinstance(tool, Slipway):
                    raise Failed(result.failed, 1)

    def _one(self, hosts: Sequence[Target], number: int, tool: Tool, case: str) -> Result:
        os.sync()  # what others have written is not waited for by this one
        members = {
            "run": self.began,
            "round": number,
            "bundle": self.bench.bundle.name,
            "has_service": self.bench.has_service,
            "hosts": len(hosts),
            "tool": tool.name,
            "version": self.tools[tool],
            "case": case,
            "machine": machine(),
        }
        try:
            figures = meter.measured(hosts, ACTIONS[case](tool, hosts))
        except Failed as failure:
            return Result(**members, failed=str(failure))
        promised = tool.promised_bytes() if isinstance(tool, Slipway) else 0
        return Result(**members, **figures.as_data(), promised_bytes=promised)


ACTIONS: dict[str, Callable[[Tool, Sequence[Target]], Callable[[], None]]] = {
    "first": lambda tool, hosts: lambda: tool.deploy(hosts, "one"),
    "unchanged": lambda tool, hosts: lambda: tool.deploy(hosts, "one"),
    "changed": lambda tool, hosts: lambda: tool.deploy(hosts, "two"),
    "rollback": lambda tool, hosts: lambda: tool.rollback(hosts),
}


def _said(result: Result) -> str:
    where = f"{result.bundle}, {result.hosts} hosts, round {result.round + 1}: {result.tool}, {CASES[result.case]}"
    if result.failed:
        return f"{where}: failed: {result.failed}"
    sessions = "/".join(map(str, sorted(set(result.sessions))))
    megabytes = result.sent / result.hosts / 1e6
    return f"{where}: {result.wall:.1f} s, {result.processor:.1f} processor s, {megabytes:.2f} MB and {sessions} sessions a host"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return {
        "processors": f"{os.cpu_count()} processors ({names[0] if names else platform.machine()})",
        "memory": f"{memory / 2**20:.0f} GiB of memory",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        "python": f"Python {platform.python_version()}",
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def usable(bench: Bench, names: Sequence[str], began: str) -> dict[Tool, str]:
    """The tools that can be had here, with their versions; the others are noted for the report."""
    tools: dict[Tool, str] = {}
    for kind in (Slipway, *(PEERS[name] for name in names)):
        tool = kind(bench)
        try:
            tools[tool] = tool.version()
        except Unavailable as reason:
            print(f"{tool.name} is left out: {reason}", flush=True)
            members = {"bundle": bench.bundle.name, "has_service": bench.has_service, "tool": tool.name, "version": ""}
            append(RESULTS, Result(run=began, round=0, hosts=0, case="", failed=str(reason), **members))
    return tools


def words(choices: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """A type for options that take some of these, with commas between them."""

    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name)
        for name in names:
            if name not in choices:
                raise argparse.ArgumentTypeError(f"expected some of {', '.join(choices)}, found {name}")
        return names

    return chosen


def numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--hosts", type=numbers, default=(1, 8, 32), help="numbers of hosts (default: 1,8,32)")
    made.add_argument("--rounds", type=int, default=3, help="repetitions (default: 3)")
    made.add_argument("--cases", type=words(list(CASES)), default=tuple(CASES), help=", ".join(CASES))
    made.add_argument("--peers", type=words(list(PEERS)), default=tuple(PEERS), help=", ".join(PEERS))
    made.add_argument("--bundle", choices=list(BUNDLES), default="small", help="2,000 small files, or one of 2 GB")
    made.add_argument("--files-only", action="store_true", help="no unit is restarted and asked")
    made.add_argument("--forks", type=int, default=50, help="on how many hosts Ansible works at a time (default: 50)")
    made.add_argument("--fresh", action="store_true", help="forget what earlier runs measured")
    made.add_argument("--report", action="store_true", help="measure nothing")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    as_people_have_it()
    PLACE.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    code = 0 if options.report else measure(options)
    kept = read(RESULTS)
    if not any(each.case for each in kept):
        print("nothing was measured yet", file=sys.stderr)
        return 1
    print(report.write(kept))
    return code


def measure(options: argparse.Namespace) -> int:
    began = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Sockets of shared connections have short names; a directory below the repository may be too long.
    control = Path(tempfile.mkdtemp(prefix="slipway-bench-"))
    try:
        hosts = up(INSTANCE, max(options.hosts), control)
        on_all(hosts, VERBOSE)
        close(control)  # what begins on a connection that is older is not in the journal
        meter.adopt()  # from here on: what made the hosts is none of the controller's work
        bench = Bench(BUNDLES[options.bundle], not options.files_only, options.forks, control)
        bench.bundle.make(bench.source("one").parent)
        run = Run(began, bench, options.cases, usable(bench, options.peers, began))
        for count in options.hosts:
            run.measure(hosts[:count], options.rounds)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cut off; what was measured is kept", file=sys.stderr)
        return 130
    finally:
        close(control)
        shutil.rmtree(control, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
