# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command costs: the clock, the controller's processors, the lab's network, and how often each host was asked.

Processors: of everything that the command started, also of what it left running (shared ssh connections), which is why this
process adopts what its descendants leave behind. Bytes: what went over the lab's bridge, as its counters say. Sessions: what
each host's ssh server says that it began.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .hosts import Target, ask_all

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
SESSIONS = "sudo journalctl --sync && sudo journalctl --no-pager -q -o cat | grep -c '^Starting session'"


@dataclass(frozen=True)
class Figures:
    """Seconds of the clock and of the controller's processors, bytes to and from all hosts, ssh sessions of each host."""

    wall: float
    processor: float
    sent: int
    received: int
    sessions: tuple[int, ...]

    def as_data(self) -> dict[str, object]:
        return asdict(self)


def adopt() -> None:
    """Become the parent of what descendants leave behind, so that their processor time is found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def measured(hosts: Sequence[Target], action: Callable[[], None]) -> Figures:
    """Do it and say what it cost."""
    link = Path("/sys/class/net") / device(hosts[0]) / "statistics"
    sessions, moved = _sessions(hosts), _moved(link)
    wall, processor = timed(action)
    moved_then = _moved(link)
    counted = zip(_sessions(hosts), sessions, strict=True)
    return Figures(
        wall=wall,
        processor=processor,
        sent=moved_then[0] - moved[0],
        received=moved_then[1] - moved[1],
        sessions=tuple(after - before - 1 for after, before in counted),  # the count itself is one
    )


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Do it and say how many seconds of the clock and of the controller's processors that took."""
    processor, began = processor_seconds(), time.monotonic()
    action()
    wall = time.monotonic() - began
    return wall, processor_seconds() - processor


def device(host: Target) -> str:
    """The network device by which a host is reached: the bridge of the lab."""
    routes = subprocess.run(["ip", "-j", "route", "get", host.address], check=True, capture_output=True, text=True)
    return str(json.loads(routes.stdout)[0]["dev"])


def _moved(link: Path) -> tuple[int, int]:
    """Bytes to the hosts and from them."""
    return int((link / "tx_bytes").read_text()), int((link / "rx_bytes").read_text())


def _sessions(hosts: Sequence[Target]) -> list[int]:
    return [int(said) for said in ask_all(hosts, SESSIONS)]


def processor_seconds() -> float:
    """Of all descendants of this process so far, those that ended and those that still run."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    stats = dict(_stats())
    return used.ru_utime + used.ru_stime + sum(stats[each].ticks for each in _below(os.getpid(), stats)) / TICKS


def descendants() -> set[int]:
    """The processes below this one."""
    return _below(os.getpid(), dict(_stats()))


@dataclass(frozen=True)
class _Stat:
    parent: int
    ticks: int


def _stats() -> Iterator[tuple[int, _Stat]]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                members = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            yield int(path.name), _Stat(parent=int(members[1]), ticks=sum(map(int, members[11:15])))


def _below(ancestor: int, stats: Mapping[int, _Stat]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process, stat in stats.items():
        children.setdefault(stat.parent, []).append(process)
    found: set[int] = set()
    waiting = list(children.get(ancestor, ()))
    while waiting:
        process = waiting.pop()
        found.add(process)
        waiting.extend(children.get(process, ()))
    return found
