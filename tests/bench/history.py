# SPDX-License-Identifier: GPL-3.0-or-later
"""What a long history costs: `python -m tests.bench.history`.

Beside each other in one run, so that the machine's speed cancels out: a record and its checkpoint appended to a history of
100,000 records and to an empty one; and, in seconds of one processor, the tree over those records and a strict parse of all
of them, beside what the standard library needs to read the same lines without a question.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))

from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.host.log import Log, tree_of
from ansible.module_utils.slipway.host.places import Host, Places
from ansible.module_utils.slipway.trust.chain import EMPTY_TREE, leaf_hash

HOST_ID = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"


def record(number: int) -> dict[str, object]:
    """A record as a deployment leaves it: some 1,100 bytes."""
    release, time_ = f"v1.{number}.0", "2026-11-21T03:12:56Z"
    approval = {
        "role": "engineering-lead",
        "holder": "a-holder",
        "digest": "ef" * 32,
        "created": time_,
        "expires": time_,
    }
    return {
        "application": "shop", "environment": "prod", "host_id": HOST_ID, "timestamp": time_, "transaction": f"{number:032x}",
        "run_id": f"20261121T031256Z-{number:08x}", "controller_id": "c" * 32, "deployed_by": "alice", "operation": "deploy",
        "release_id": release, "previous_release_id": f"v1.{number - 1}.0", "active_release_id": release, "manifest_digest": "ab" * 32,
        "status": "success", "rollback": False, "takes_back": None, "reason": None, "message": "confirmed",
        "artifacts": [{"path": "model.pt", "sha256": "cd" * 32}], "backups": [], "smoke_test_passed": True, "approvals": [approval],
        "window": {"start": time_, "end": time_}, "verification": [], "durations": {"switch_ms": 3, "health_ms": 20, "total_seconds": 2},
    }  # fmt: skip


def prepared(root: Path, application: str, size: int) -> Log:
    """A signed history of so many records, written at once."""
    places = Places(Host(root=root, uid=os.geteuid()), application)
    places.state.mkdir(parents=True)
    before = EMPTY_TREE
    with open(places.history, "wb") as stream:
        for number in range(size):
            line = canonical.encode({**record(number), "seq": number, "prev_hash": before})
            stream.write(line + b"\n")
            before = leaf_hash(line)
    log = Log(places)
    log.sign()
    return log


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def computed(action: Callable[[], object]) -> float:
    """Processor time, which other processes disturb less than the clock on the wall."""
    began = time.process_time()
    action()
    return time.process_time() - began


def append(log: Log) -> None:
    log.history.append(record(0))
    log.sign()


def measure(size: int, rounds: int) -> dict[str, float]:
    with TemporaryDirectory(dir=REPOSITORY) as directory:
        root = Path(directory)
        configuration = root / "etc/slipway"
        configuration.mkdir(parents=True)
        configuration.chmod(0o755)
        identity = {"format": 1, "id": HOST_ID, "name": "bench", "environment": "prod"}
        (configuration / "host.json").write_text(json.dumps(identity))
        (configuration / "host.json").chmod(0o644)
        long, short = prepared(root, "long", size), prepared(root, "short", 0)
        pairs = [(timed(lambda: append(long)), timed(lambda: append(short))) for _ in range(rounds)]
        lines, _torn = long.history.lines()
        return {
            "appended_to_long_ms": statistics.median(pair[0] for pair in pairs) * 1000,
            "appended_to_empty_ms": statistics.median(pair[1] for pair in pairs) * 1000,
            "ratio": statistics.median(pair[0] / pair[1] for pair in pairs),
            "hashes_and_tree_cpu_seconds": min(computed(lambda: tree_of(lines).root()) for _ in range(3)),
            "strict_parse_cpu_seconds": min(computed(long.history.records) for _ in range(3)),
            "json_loads_alone_cpu_seconds": min(
                computed(lambda: [json.loads(line) for line in lines]) for _ in range(3)
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.history", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    found = measure(options.records, options.rounds)
    print(json.dumps({"records": options.records, **{key: round(value, 3) for key, value in found.items()}}, indent=2))
    sys.exit(found["ratio"] > 1.25)


if __name__ == "__main__":
    main()
