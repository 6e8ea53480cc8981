# SPDX-License-Identifier: GPL-3.0-or-later
"""How often, how fast and how well a fleet is delivered to: DORA's four measures, from the runs that a controller remembers.

A *change* is a deployment that ended and switched at least one host; one that was refused, or found everything served already, is none.
It *failed* when it did not end as asked, or when a rollback that ended as asked took it back later. It is *restored* when everything serves
something good again: at its own end, where every host that it switched went back by itself, else at the end of the next run of the same
application and environment that ended as asked. The *lead time* of a release is from when it was made to the end of the first deployment of it
there that did not fail at once. Weeks are those of ISO 8601, in UTC, by the end of the deployment. docs/howto/report.md says the same for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from .memory import RunRecord

WEEK: Final = 7 * 86400
WEEKS_MAX: Final = 520
AS_ASKED: Final = "as asked"
# Outcomes of hosts on which nothing was switched. Of a lost one nobody knows, so that it may have been.
NOT_SWITCHED: Final = ("untouched", "unchanged")
WENT_BACK: Final = "reverted"
UNKNOWN_TYPE: Final = "unknown"
ALL: Final = "all"


@dataclass(frozen=True)
class Change:
    """A deployment that switched something. Times are Unix seconds; ``failed_at`` and ``restored_at`` are None where that never was."""

    run: RunRecord
    ended: int
    lead_seconds: int | None = None
    failed_at: int | None = None
    restored_at: int | None = None


@dataclass(frozen=True)
class Measure:
    """The measures of an application in an environment, for a week (``all``: for all of them) and a release type (``all``).

    Rates are from 0 to 1, durations seconds and medians; each is None where there is nothing that it could be of. ``deployments_per_week`` counts
    those that did not fail.
    """

    application: str
    environment: str
    week: str
    release_type: str
    changes: int
    failures: int
    deployments_per_week: float
    success_rate: float | None
    change_failure_rate: float | None
    lead_time_seconds: int | None
    time_to_restore_seconds: int | None
    not_restored: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class History:
    """The measures since a time, and what they are made of; ``unended`` are runs of which nobody knows how they ended."""

    since: int
    until: int
    measures: tuple[Measure, ...]
    changes: tuple[Change, ...]
    unended: tuple[RunRecord, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "since": timestamp(self.since),
            "until": timestamp(self.until),
            "measures": [each.as_dict() for each in self.measures],
            "changes": [change_as_dict(each) for each in self.changes],
            "unended": [each.run_id for each in self.unended],
        }


def change_as_dict(change: Change) -> dict[str, Any]:
    """A change for programs; times are RFC 3339."""

    def moment(time: int | None) -> str | None:
        return None if time is None else timestamp(time)

    run = change.run
    return {
        "run_id": run.run_id, "application": run.application, "environment": run.environment, "release_id": run.release_id or None,
        "release_type": type_of(run), "deployed_by": run.deployed_by, "began": timestamp(run.began), "ended": timestamp(change.ended),
        "run_group": run.run_group or None, "lead_time_seconds": change.lead_seconds, "failed": change.failed_at is not None, "restored": moment(change.restored_at),
        "hosts": [asdict(host) for host in run.hosts],
    }  # fmt: skip


def type_of(run: RunRecord) -> str:
    return run.release_type or UNKNOWN_TYPE


def window(weeks: int, now: int) -> tuple[int, int]:
    """The time that a report is about: so many weeks until now. Refusal ``report_weeks_invalid``."""
    if not 1 <= weeks <= WEEKS_MAX:
        raise Refusal(
            "report_weeks_invalid",
            expected=f"a number of weeks from 1 to {WEEKS_MAX}",
            found=str(weeks),
            remedy="Correct report_weeks (WEEKS=).",
        )
    return now - weeks * WEEK, now


def week_of(time: int) -> str:
    """2026-W47, for Unix seconds."""
    year, week, _day = datetime.fromtimestamp(time, UTC).isocalendar()
    return f"{year}-W{week:02d}"


def measured(runs: Sequence[RunRecord], *, since: int, until: int) -> History:
    """What the runs (oldest first, also those from before, which the measures need) say of the time from ``since`` to ``until``."""
    by_place: dict[tuple[str, str], list[RunRecord]] = {}
    for run in runs:
        if run.began <= until:
            by_place.setdefault((run.application, run.environment), []).append(run)
    found = [each for place in sorted(by_place) for each in _changes_of(by_place[place], until)]
    shown = [each for each in found if since <= each.ended <= until]
    unended = [run for run in runs if run.ended is None and since <= run.began <= until]
    return History(since, until, tuple(_tables(shown, since, until)), tuple(shown), tuple(unended))


def _changes_of(runs: Sequence[RunRecord], until: int) -> list[Change]:
    """The changes of one application in one environment, oldest first."""
    ended = sorted(
        (run for run in runs if run.ended is not None and run.ended <= until and _switched(run)), key=lambda run: (run.ended or 0, run.began)
    )  # fmt: skip
    good = [run for run in ended if run.outcome == AS_ASKED]
    taken_back = _taken_back(ended)
    changes, known = [], set[str]()
    for run in ended:
        end = run.ended or 0
        if run.operation != "deploy":
            continue
        lead = None
        if run.outcome == AS_ASKED and run.release_id and run.release_id not in known:
            known.add(run.release_id)
            lead = max(0, end - run.created) if run.created is not None else None
        failed_at = run.began if run.outcome != AS_ASKED else end if run.run_id in taken_back else None
        restored_at = None
        if failed_at is not None:
            restored_at = (
                end if _is_back(run) else next((each.ended for each in good if each.ended and each.ended > end), None)
            )
        changes.append(Change(run, end, lead, failed_at, restored_at))
    return changes


def _switched(run: RunRecord) -> bool:
    return any(host.outcome not in NOT_SWITCHED for host in run.hosts)


def _is_back(run: RunRecord) -> bool:
    """Whether a deployment that failed has itself put everything back."""
    return run.outcome != AS_ASKED and all(host.outcome in (*NOT_SWITCHED, WENT_BACK) for host in run.hosts)


def _taken_back(ended: Iterable[RunRecord]) -> set[str]:
    """The deployments that a rollback took back: those that it names, else the newest one that stood."""
    standing: list[str] = []
    found = set[str]()
    for run in ended:
        if run.outcome != AS_ASKED:
            continue
        if run.operation == "deploy":
            standing.append(run.run_id)
        elif run.operation == "rollback":
            taken = [each for each in run.takes_back if each in standing] if run.takes_back else standing[-1:]
            found.update(taken)
            standing = [each for each in standing if each not in taken]
    return found


def _tables(changes: Sequence[Change], since: int, until: int) -> list[Measure]:
    """A measure for each place: of all weeks, of each type in all weeks, of each week, and of each type in each week."""
    groups: dict[tuple[str, str, str, str], list[Change]] = {}
    for change in changes:
        run, week = change.run, week_of(change.ended)
        for key_week, key_type in ((ALL, ALL), (ALL, type_of(run)), (week, ALL), (week, type_of(run))):
            groups.setdefault((run.application, run.environment, key_week, key_type), []).append(change)
    weeks = max(1.0, (until - since) / WEEK)
    return [_measure(key, groups[key], weeks if key[2] == ALL else 1.0) for key in sorted(groups, key=_order)]


def _order(key: tuple[str, str, str, str]) -> tuple[str, str, bool, str, bool, str]:
    """All weeks first, all types first."""
    application, environment, week, release_type = key
    return application, environment, week != ALL, week, release_type != ALL, release_type


def _measure(key: tuple[str, str, str, str], changes: Sequence[Change], weeks: float) -> Measure:
    failures = [each for each in changes if each.failed_at is not None]
    rate = len(failures) / len(changes)
    return Measure(
        *key,
        changes=len(changes),
        failures=len(failures),
        deployments_per_week=round((len(changes) - len(failures)) / weeks, 2),
        success_rate=round(1 - rate, 4),
        change_failure_rate=round(rate, 4),
        lead_time_seconds=_median(each.lead_seconds for each in changes),
        time_to_restore_seconds=_median(
            each.restored_at - (each.failed_at or 0) for each in failures if each.restored_at is not None
        ),
        not_restored=sum(each.restored_at is None for each in failures),
    )


def _median(values: Iterable[int | None]) -> int | None:
    found = [value for value in values if value is not None]
    return round(median(found)) if found else None
