# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to a fleet: the records of its hosts joined by run, newest first. Controller only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..application.rollback_plan import has_passed
from ..base.table import table
from ..trust.chain import Record

# The worst first: a run is as good as its worst host.
SEVERITY = ("failed", "interrupted", "rolled_back", "success")
OF_RUN = ("run_id", "application", "environment", "operation", "release_id", "rollback", "artifacts", "deployed_by")
OF_HOST = (
    "status", "timestamp", "release_id", "previous_release_id", "active_release_id", "smoke_test_passed", "reason",
)  # fmt: skip


def newest_runs(histories: Mapping[str, Iterable[Record]], limit: int) -> list[dict[str, Any]]:
    """The newest ``limit`` runs, newest first; ``histories`` maps each host to its records in any order.

    A run: run_id, application, environment, operation, release_id, rollback, artifacts [{path, sha256}], deployed_by,
    timestamp (its newest record's), status (its worst host's), smoke_test_passed (false when it failed anywhere, null when nobody
    was asked), rollback_verified (the same of the rollback plan's steps), hosts {name: its newest record in short}.
    """
    by_run: dict[str, dict[str, Record]] = {}
    for host, records in sorted(histories.items()):
        for record in sorted(records, key=lambda each: int(each["seq"])):
            by_run.setdefault(str(record["run_id"]), {})[host] = record
    runs = sorted(
        (_joined(records) for records in by_run.values()), key=lambda run: str(run["timestamp"]), reverse=True
    )
    return runs[:limit]


def _joined(records: Mapping[str, Record]) -> dict[str, Any]:
    newest = max(records.values(), key=lambda record: str(record["timestamp"]))
    return {
        **{key: newest[key] for key in OF_RUN},
        "timestamp": newest["timestamp"],
        "status": min((str(record["status"]) for record in records.values()), key=SEVERITY.index),
        "smoke_test_passed": _all_passed([record["smoke_test_passed"] for record in records.values()]),
        "rollback_verified": _all_passed([has_passed(record.get("verification", ())) for record in records.values()]),
        "hosts": {host: {key: record[key] for key in OF_HOST} for host, record in records.items()},
    }


def _all_passed(answers: Sequence[bool | None]) -> bool | None:
    asked = [answer for answer in answers if answer is not None]
    return all(asked) if asked else None


def runs_table(runs: Sequence[Mapping[str, Any]], silent: Sequence[str] = ()) -> str:
    """The runs as a table, one line each, and the hosts whose records are not in it."""
    rows = [
        (
            run["timestamp"], run["operation"], run["release_id"], run["environment"], _status(run), _asked(run["smoke_test_passed"]),
            run["deployed_by"], ", ".join(_hosts(run)),
        )
        for run in runs
    ]  # fmt: skip
    head = ("when", "what", "release", "environment", "status", "smoke test", "by", "hosts")
    text = table(head, rows) if rows else "nothing was deployed yet"
    return f"{text}\nno answer from {', '.join(sorted(silent))}" if silent else text


def _status(run: Mapping[str, Any]) -> str:
    return f"{run['status']}, unverified" if run["rollback_verified"] is False else str(run["status"])


def _asked(passed: bool | None) -> str:
    return "-" if passed is None else "passed" if passed else "failed"


def _hosts(run: Mapping[str, Any]) -> list[str]:
    """The run's hosts; one that ended otherwise than the run with how it ended."""
    return [
        host if record["status"] == run["status"] else f"{host} ({record['status']})"
        for host, record in run["hosts"].items()
    ]
