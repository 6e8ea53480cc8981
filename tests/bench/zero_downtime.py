# SPDX-License-Identifier: GPL-3.0-or-later
"""How many requests deploys and rollbacks lose with blue_green under a constant load: `python -m tests.bench.zero_downtime`.

On a host of the lab of its own, made and removed here. Some deploys and rollbacks are whole playbook runs; the others are the
host's own exchanges one after the other, since those are what may lose a request. Every request is counted; the table says how
long answers took at rest and during each kind, and the host's records say how long a switch took.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))
sys.path[:0] = [str(REPOSITORY / "tests/e2e"), str(REPOSITORY / "tests")]

from deployments import CLEAN, Application, Operator
from load import Figures, Load

from lab import lifecycle
from lab.fleet import Fleet
from lab.names import Clone

INSTANCE = "zero-downtime"
HOST = "prod-1"
NAME = "pair"
PORT = 8091
FILES, FILE_SIZE = 2000, 16 * 1024
BOOTS = 5
AT_ONCE = 5  # rounds of exchanges for which a busy machine has time within one call
HELLO = REPOSITORY / "examples/hello"
# Deploy two and confirm it, take the host back to one, and every fifth time try a release that is ill. For less than no rounds: switch to two
# and leave it so.
EXCHANGES = """
import json, sys, time
sys.path.insert(0, "/usr/lib/slipway/slipway.pyz")
from slipway.host.handler import handle
description, rounds, first = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
times = {"deploy": [], "rollback": [], "failed deploy": []}
def ask(operation, number, **keys):
    run = {"run_id": f"bench-{first}-{number}", "controller_id": "bench", "deployed_by": "bench", "dead_runs": [], "lease_seconds": 900}
    application = {"name": "e2e-pair", "description": description}
    return handle({"operation": operation, "application": application, "environment": "prod", "run": run, **keys})
def went(answer, outcome):
    if answer.get("outcome") != outcome:
        sys.exit(json.dumps(answer))
if rounds < 0:
    went(ask("activate", "open", release_id="two", retry=True), "switched")
for number in range(rounds):
    began = time.monotonic()
    went(ask("activate", f"d{number}", release_id="two", retry=True), "switched")
    went(ask("confirm", f"d{number}", release_id="two", smoke_test_passed=None, keep_count=5), "confirmed")
    times["deploy"].append(time.monotonic() - began)
    began = time.monotonic()
    went(ask("activate", f"r{number}", release_id="one", rollback=True, keep=True), "confirmed")
    times["rollback"].append(time.monotonic() - began)
    if number % 5 == 4:
        began = time.monotonic()
        went(ask("activate", f"f{number}", release_id="ill", retry=True), "reverted")
        times["failed deploy"].append(time.monotonic() - began)
print(json.dumps(times))
"""


def application(operator: Operator) -> Application:
    """The example as two instances on the host."""
    pair = operator.application(
        NAME,
        hosts=[HOST],
        user=None,
        unit="e2e-pair@.service",
        strategy="blue_green",
        blue_green={"port": PORT, "instance_ports": {"blue": 18091, "green": 18092}, "drain_seconds": 30},
        check={"argv": ["bin/hello", "--check"]},
        service={"command": "bin/hello"},
        health=[{"type": "http", "url": "http://127.0.0.1:{port}/health", "contains": "ok"}],
        health_patience={"interval_seconds": 0, "retries": 10000, "deadline_seconds": 20},
    )
    played(pair, "playbooks/bootstrap.yml")
    for release_id in ("one", "two", "ill"):
        files: dict[str, str | bytes] = {
            path.relative_to(HELLO).as_posix(): path.read_bytes() for path in HELLO.glob("[bs]*/*") if path.is_file()
        }
        configuration = {"version": "1.0.0", "port": 1, "greeting": release_id, "healthy": release_id != "ill"}
        pair.make(release_id, {**files, **payload(release_id), "config.json": json.dumps(configuration)})
    return pair


def payload(release_id: str) -> dict[str, str | bytes]:
    """32 MiB in 2,000 files, one in a hundred of them this release's own."""
    return {
        f"data/{number:04}": random.Random(f"{number} {release_id if number % 100 == 0 else ''}").randbytes(FILE_SIZE)
        for number in range(FILES)
    }


def played(pair: Application, playbook: str, variables: str = "", code: int = 0) -> None:
    """Run a playbook on the host, however long a busy machine takes for it."""
    given = ["-e", variables] if variables else []
    pair.operator.start(*pair.words(playbook, HOST, given)).end(code, seconds=900)


def by_playbook(pair: Application, rounds: int) -> None:
    """Deploys of `two` and rollbacks to `one`, each as an operator types it."""
    for _ in range(rounds):
        played(pair, "deploy.yml", "release_id=two release_retry=true")
        played(pair, "rollback.yml", "release_id=one")


def by_exchange(pair: Application, rounds: int, name: str) -> dict[str, list[float]]:
    """The same by the host's own exchanges; returns the seconds of each."""
    description = json.loads(pair.variables.read_text())["slipway_applications"][pair.name]
    script = "/root/exchanges.py"
    pair.fleet.inside(HOST, f"cat > {script} <<'END'\n{EXCHANGES}\nEND")
    given = json.dumps(description).replace("'", "'\\''")
    times: dict[str, list[float]] = {}
    for number in range(0, rounds, AT_ONCE):
        done = pair.fleet.inside(
            HOST, f"/usr/bin/python3 {script} '{given}' {min(AT_ONCE, rounds - number)} {name}-{number}"
        )
        for kind, seconds in json.loads(done.stdout).items():
            times.setdefault(kind, []).extend(seconds)
    return times


def boots(pair: Application, rounds: int) -> list[float]:
    """Restart the host with a release that nobody confirmed; returns the seconds that going back took, before anything ordinary started."""
    description = json.loads(pair.variables.read_text())["slipway_applications"][pair.name]
    given = json.dumps(description).replace("'", "'\\''")
    seconds = []
    for number in range(rounds):
        pair.fleet.inside(HOST, f"/usr/bin/python3 /root/exchanges.py '{given}' -1 boot-{time.time():.0f}-{number}")
        pair.fleet.reboot(HOST)
        pair.fleet.inside(HOST, f'test "$(basename "$(readlink /srv/{pair.name}/current)")" = one')
        shown = pair.fleet.inside(
            HOST,
            "systemctl show slipway-recover.service -p ExecMainStartTimestampMonotonic -p ExecMainExitTimestampMonotonic --value",
        )
        began, ended = (int(line) for line in shown.stdout.split())
        seconds.append((ended - began) / 1e6)
    return seconds


def measured(load: Load, work: Callable[[], Any]) -> tuple[Figures, Any]:
    """What became of the requests while something was done."""
    load.taken()
    result = work()
    return load.taken(), result


def row(name: str, count: int, figures: Figures) -> str:
    shares = " | ".join(f"{figures.percentile(share):.0f}" for share in (0.5, 0.99, 0.999))
    longest = max(figures.milliseconds, default=0)
    return f"| {name} | {count or '-'} | {figures.sent} | {figures.failed} | {shares} | {longest:.0f} |"


def switch_times(pair: Application) -> str:
    """From the records: the rename and all up to `healthy`, without the application's own start."""
    lines = pair.fleet.inside(HOST, f"cat /var/lib/slipway/{pair.name}/history.jsonl").stdout.splitlines()
    durations = [record["durations"] for record in map(json.loads, lines) if record["status"] == "success"]
    for name in ("switch_ms", "health_ms", "startup_ms"):
        values = sorted(each[name] for each in durations if name in each)
        print(f"| {name} | {statistics.median(values):.0f} | {values[int(len(values) * 0.99)]} | {values[-1]} |")
    return f"{len(durations)} records"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--per-second", type=float, default=100.0)
    parser.add_argument("--playbooks", type=int, default=5, help="deploys and as many rollbacks by playbook")
    parser.add_argument(
        "--exchanges", type=int, default=50, help="deploys and as many rollbacks by the host's exchanges"
    )
    parser.add_argument("--rest-seconds", type=float, default=20.0)
    options = parser.parse_args(arguments)
    clone = Clone.here()
    fleet = Fleet(clone, lifecycle.up(clone, INSTANCE, "prod=1"))
    try:
        with tempfile.TemporaryDirectory() as directory:
            return run(Operator(fleet, Path(directory)), options)
    finally:
        lifecycle.down(clone, INSTANCE)


def run(operator: Operator, options: argparse.Namespace) -> int:
    operator.fleet.inside(HOST, CLEAN)
    operator.play("playbooks/keys.yml")
    pair = application(operator)
    for release_id in ("one", "two"):
        played(pair, "deploy.yml", f"release_id={release_id}")
    played(pair, "rollback.yml", "release_id=one")
    played(pair, "deploy.yml", "release_id=ill", code=2)  # staged now, so that the exchanges find it
    load = Load(operator.fleet.host(HOST).address, PORT, per_second=options.per_second)
    rest, _ = measured(load, lambda: time.sleep(options.rest_seconds))
    plays, _ = measured(load, lambda: by_playbook(pair, options.playbooks))
    exchanges, times = measured(load, lambda: by_exchange(pair, options.exchanges, str(int(time.time()))))
    figures = {"at rest": (0, rest), "by playbook": (2 * options.playbooks, plays)}
    figures["by the host's exchanges"] = (sum(map(len, times.values())), exchanges)
    last = load.stop()
    restarts = boots(pair, BOOTS)
    print("| when | deploys and rollbacks | requests | failed | p50 ms | p99 ms | p99.9 ms | longest ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (count, each) in figures.items():
        print(row(name, count, each))
    print("\n| exchange | number | median s | longest s |\n|---|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {len(seconds)} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")
    print(f"| back at boot | {len(restarts)} | {statistics.median(restarts):.2f} | {max(restarts):.2f} |")
    print("\n| from the records | median ms | p99 ms | longest ms |\n|---|---|---|---|")
    print(switch_times(pair))
    failed = sum(each.failed + each.reconnected for _count, each in figures.values()) + last.failed
    errors = [each.errors + each.statuses for _count, each in figures.values()]
    print(f"failed requests: {failed}" + (f" {errors}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
