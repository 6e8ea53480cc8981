# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller needs for hundreds of hosts: `python -m tests.bench.fleet --hosts 50,100,200`.

Hosts are simulated: each is a set of directories of its own (/etc/slipway, /var/lib/slipway, /srv, /run/slipway and the timers of
systemd) in a mount namespace on one real host of the lab, reached over an ssh connection of its own and by sudo. The host's program,
its files and the whole way to it are real. Not real are systemd, which takes timers without starting them, and the hosts'
processors, which are the controller's too: so it is the controller's processor seconds that count, and the clock is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from . import meter, report
from .bundles import Bundle
from .hosts import Failed, Target, as_people_have_it, close, encoded, on_all, up
from .peers import PLACE, REPOSITORY, Bench
from .peers.slipway import Slipway

INSTANCE = "fleet"
RESULTS = PLACE / "fleet.jsonl"
PLOT = report.PAGE.with_name("benchmarks-fleet.svg")
BEGIN, END = "<!-- made by tests.bench.fleet -->", "<!-- end of what tests.bench.fleet made -->"
CASES = {"first": "first deploy", "unchanged": "no change"}
SAMPLE_SECONDS = 1.0
PLACE_THERE = "/var/tmp/fleet"

# A host's way to become root: into a name space where the host's directories lie over the machine's.
BECOME = """#!/bin/sh
exec sudo -n unshare --mount --propagation private /bin/sh -c '
here=$1; shift
for path in etc/slipway var/lib/slipway srv run/slipway run/systemd/system; do
    mount --bind "$here/$path" "/$path" || exit 1
done
mount --bind /usr/bin/true /usr/bin/systemctl || exit 1
exec sudo "$@"' sh "${0%/*}" "$@"
"""
# Makes COUNT hosts below PLACE of the one that was bootstrapped, each with an identity and a key of its own.
MAKE = """set -eu
systemctl -q stop slipway-standby.socket slipway-standby.service  # it would answer for all of them
mkdir -p /run/slipway
rm -rf "$PLACE"
for number in $(seq "$COUNT"); do
    here=$PLACE/$number
    mkdir -p "$here/etc" "$here/var/lib" "$here/run/slipway" "$here/run/systemd/system"
    cp -a /etc/slipway "$here/etc/"
    cp -a /var/lib/slipway "$here/var/lib/"
    cp -a /srv "$here/"
    id=$(cat /proc/sys/kernel/random/uuid)
    printf '{"environment":"prod","format":1,"id":"%s","name":"sim-%s-%s"}\\n' "$id" "$COUNT" "$number" > "$here/etc/slipway/host.json"
    key=$here/var/lib/slipway/history-key.pem
    rm -f "$key"
    (umask 077; openssl genpkey -algorithm ed25519 -out "$key")
    printf %s "$BECOME" > "$here/become"
    chmod 0755 "$here/become"
done
"""


@dataclass(frozen=True)
class Result:
    """One command: seconds of the clock and of the controller's processors; the most memory of Ansible's first process, and of all."""

    hosts: int
    case: str
    forks: int
    wall: float
    processor: float
    memory_first: int
    memory_all: int


class Simulated(Slipway):
    """Slipway with simulated hosts, once there is an inventory of them."""

    name = "fleet"
    inventory: Path | None = None

    def play(self, *arguments: str, hosts: Sequence[Target] = ()) -> None:
        given = ("-i", str(self.inventory)) if self.inventory else ()
        super().play(*given, *arguments)

    def simulate(self, machine: Target, count: int) -> None:
        """Make so many hosts on a machine that was bootstrapped, and an inventory of them."""
        given = {"COUNT": str(count), "PLACE": PLACE_THERE, "BECOME": BECOME}
        words = ["sudo", "env", *(f"{name}={value}" for name, value in given.items()), "sh", "-c", MAKE]
        on_all([machine], shlex.join(words))
        listing = [str(REPOSITORY / "inventories/lab/hosts"), "--list"]
        listed = json.loads(subprocess.run(listing, check=True, capture_output=True, text=True).stdout)
        variables = listed["_meta"]["hostvars"][machine.name]
        hosts = {
            f"sim-{count}-{number}": variables
            | {
                "ansible_control_path": f"%(directory)s/{count}-{number}",
                "ansible_become_exe": f"{PLACE_THERE}/{number}/become",
            }
            for number in range(1, count + 1)
        }
        self.inventory = self.place / "hosts.yml"
        self.inventory.write_text(encoded({"prod": {"hosts": hosts}}))


class Memory:
    """Looks once a second how much memory the descendants of this process have, shared pages counted once."""

    def __init__(self) -> None:
        self.first = self.every = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            sizes = dict(_sizes())
            self.every = max(self.every, sum(sizes.values()))
            self.first = max(self.first, *(_resident(process) for process in _children()), 0)


def _sizes() -> Iterator[tuple[int, int]]:
    for process in meter.descendants():
        with suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            yield process, next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _resident(process: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
    return 0


def _children() -> list[int]:
    text = "".join(path.read_text() for path in Path("/proc/self/task").glob("*/children"))
    return [int(word) for word in text.split()]


def measured(action: Callable[[], None], hosts: int, case: str, forks: int) -> Result:
    """Do it and say what it cost the controller."""
    with Memory() as memory:
        wall, processor = meter.timed(action)
    return Result(hosts, case, forks, wall, processor, memory.first, memory.every)


def run(counts: Sequence[int], forks: int, control: Path) -> None:
    (machine,) = up(INSTANCE, 1, control)
    meter.adopt()
    bench = Bench(Bundle("tiny", 100, 1024), has_service=False, forks=forks, control=control)
    bench.bundle.make(bench.source("one").parent)
    tool = Simulated(bench)
    tool.prepare([machine])
    on_all([machine], "sudo rm -rf /srv/bench /var/lib/slipway/bench")
    tool.play("playbooks/bootstrap.yml")
    for count in counts:
        tool.simulate(machine, count)
        tool.play("playbooks/verify.yml", "-e", "release_history_accepted=true", "-l", "prod")  # opens connections
        for case in CASES:
            result = measured(lambda: tool.deploy([], "one"), count, case, forks)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(result, flush=True)
        close(control)
        tool.inventory = None


def compose(results: Sequence[Result]) -> str:
    """The table and the slopes as Markdown."""
    lines = [
        f"{os.cpu_count()} processors for the controller and all simulated hosts; {results[-1].forks} forks; 100 files.",
        "",
        f"![The controller's processors and memory by the number of hosts]({PLOT.name})",
        "",
        "| case | hosts | s | controller's processors s | most memory of the first process | of all, with the ssh clients |",
        "|---|---|---|---|---|---|",
    ]
    for case, title in CASES.items():
        for each in sorted((each for each in results if each.case == case), key=lambda each: each.hosts):
            lines.append(
                f"| {title} | {each.hosts} | {each.wall:.0f} | {each.processor:.1f} | {each.memory_first >> 20} MiB | {each.memory_all >> 20} MiB |"
            )
    lines += ["", "Each further host costs (least squares; r² says how straight the line is):", ""]
    lines += ["| case | of the clock | of the controller's processors | of its memory |", "|---|---|---|---|"]
    for case, title in CASES.items():
        every = [each for each in results if each.case == case]
        if len({each.hosts for each in every}) > 1:
            cells = [
                _slope(every, lambda each: each.wall * 1000, "ms"),
                _slope(every, lambda each: each.processor * 1000, "ms"),
                _slope(every, lambda each: each.memory_all / 2**20, "MiB"),
            ]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _slope(results: Sequence[Result], figure: Callable[[Result], float], unit: str) -> str:
    hosts, values = [float(each.hosts) for each in results], [figure(each) for each in results]
    line = statistics.linear_regression(hosts, values)
    straight = statistics.correlation(hosts, values) ** 2
    return f"{line.slope:.{0 if unit == 'ms' else 1}f} {unit} (r² {straight:.3f})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", default="50,100,200", help="numbers of simulated hosts (default: 50,100,200)")
    parser.add_argument("--forks", type=int, default=20, help="on how many hosts Ansible works at a time (default: 20)")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs measured")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    as_people_have_it()
    PLACE.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        RESULTS.unlink(missing_ok=True)
    control = Path(tempfile.mkdtemp(prefix="slipway-fleet-"))
    try:
        if not options.report:
            run([int(text) for text in options.hosts.split(",")], options.forks, control)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    finally:
        close(control)
        shutil.rmtree(control, ignore_errors=True)
    results = [Result(**json.loads(line)) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    text = compose(results)
    report.replace(BEGIN, END, text)
    report.draw("fleet", RESULTS, PLOT)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
