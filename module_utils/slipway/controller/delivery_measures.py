# SPDX-License-Identifier: GPL-3.0-or-later
"""How often, how fast and how well a fleet is delivered to: DORA's four measures, from the runs that a controller remembers.

A *change* is a deployment that switched at least one host; one that was refused, or found everything served already, is none. One without an
end (cancelled, killed) may have switched something, and is one once it is over: when a later run of the same application and environment
has switched something, or after a day. It *failed* when it did not end as asked or has no end, or when a rollback that ended as asked took it back
later. It is *restored* when every host that it left ill serves something good again: at its own end, where every host that it switched went back
by itself, else once for each of them a later run there was confirmed on it. A run that was itself taken back later restores nothing, and
nor does the same release where it was what had to be taken back. The *lead time* of a release is from when it was made to the end of the first
deployment of it there that did not fail at once. Weeks are those of ISO 8601, in UTC, by the end of the deployment, or its beginning where it has
no end. docs/howto/report.md says the same for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final, NoReturn

from ..base.clock import timestamp
from ..base.errors import Refusal
from .memory import RunRecord

WEEK: Final = 7 * 86400
WEEKS_MAX: Final = 520
AS_ASKED: Final = "as asked"
# Outcomes of hosts on which nothing was switched. Of a lost one nobody knows, so that it may have been.
NOT_SWITCHED: Final = ("untouched", "unchanged")
WENT_BACK: Final = "reverted"
CONFIRMED: Final = "confirmed"
# Hardly a run is at work for that long; one that is all the same is judged anew once it has ended.
OVER_AFTER: Final = 86400
UNKNOWN_TYPE: Final = "unknown"
ALL: Final = "all"


@dataclass(frozen=True)
class Change:
    """A deployment that switched something, or was cut off and may have. Times are Unix seconds; each is None where that never was."""

    run: RunRecord
    lead_seconds: int | None = None
    failed_at: int | None = None
    restored_at: int | None = None

    @property
    def counted_at(self) -> int:
        """The time by which it belongs to a week."""
        return self.run.began if self.run.ended is None else self.run.ended


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
    """The measures since a time, and what they are made of; ``unended`` are runs in no measure: they may be going on."""

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
        "release_type": type_of(run), "deployed_by": run.deployed_by, "began": timestamp(run.began), "ended": moment(run.ended),
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


def refuse_unknown(application: str, environment: str, known: Iterable[RunRecord]) -> NoReturn:
    """Refuse an application and an environment ("" for any) of which no run is among those that are known: ``report_unknown``."""
    places = sorted({f"{run.application} in {run.environment}" for run in known})
    raise Refusal(
        "report_unknown",
        expected=f"a run of {application or 'any application'} in {environment or 'any environment'}",
        found=f"runs of {', '.join(places)}" if places else "no run of anything",
        remedy="Correct APPLICATION= or ENVIRONMENT= (-e application=…, -e report_environment=…). Before its first deployment there is nothing to report.",
    )


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
    shown = [each for each in found if since <= each.counted_at <= until]
    counted = {each.run.run_id for each in found}
    unended = [run for run in runs if run.ended is None and since <= run.began <= until and run.run_id not in counted]
    return History(since, until, tuple(_tables(shown, since, until)), tuple(shown), tuple(unended))


def _changes_of(runs: Sequence[RunRecord], until: int) -> list[Change]:
    """The changes of one application in one environment, oldest first."""
    ended = sorted(
        (run for run in runs if run.ended is not None and run.ended <= until and _switched(run)), key=lambda run: (run.ended or 0, run.began)
    )  # fmt: skip
    taken_back = _taken_back(ended)
    good = [run for run in ended if run.run_id not in taken_back]
    changes, known = [], set[str]()
    for run in ended:
        if run.operation != "deploy":
            continue
        lead = None
        if run.outcome == AS_ASKED and run.release_id and run.release_id not in known:
            known.add(run.release_id)
            lead = max(0, (run.ended or 0) - run.created) if run.created is not None else None
        if run.outcome != AS_ASKED:
            changes.append(Change(run, lead, run.began, _restored_at(run, good)))
        elif run.run_id in taken_back:
            others = [each for each in good if not run.release_id or each.release_id != run.release_id]
            changes.append(Change(run, lead, run.ended, _restored_at(run, others)))
        else:
            changes.append(Change(run, lead))
    cut_off = [run for run in runs if run.operation == "deploy" and _is_cut_off(run, ended, until)]
    changes += [Change(run, failed_at=run.began, restored_at=_next_end(run, good)) for run in cut_off]
    return sorted(changes, key=lambda change: (change.counted_at, change.run.began))


def _is_cut_off(run: RunRecord, ended: Iterable[RunRecord], until: int) -> bool:
    """Whether a run without an end is over: what it left open was settled by a later one, or nothing takes that long."""
    return run.ended is None and (run.began + OVER_AFTER < until or any(each.began > run.began for each in ended))


def _next_end(run: RunRecord, good: Iterable[RunRecord]) -> int | None:
    """When the first later run ended as asked: of one that was cut off nobody noted the hosts."""
    return next((each.ended for each in good if each.began > run.began and each.outcome == AS_ASKED), None)


def _restored_at(run: RunRecord, good: Sequence[RunRecord]) -> int | None:
    """When the last of the hosts that a run left ill was well again. Of one that ended as asked that is every host that it switched."""
    end = run.ended or 0
    left = {host.name for host in run.hosts if host.outcome not in NOT_SWITCHED}
    if run.outcome != AS_ASKED:
        left -= {host.name for host in run.hosts if host.outcome in (WENT_BACK, CONFIRMED)}
    restored_at = end
    for each in good:
        well = {host.name for host in each.hosts if host.outcome == CONFIRMED} & left
        if well and each.ended is not None and each.ended > end:
            left, restored_at = left - well, each.ended
    return None if left else restored_at


def _switched(run: RunRecord) -> bool:
    return any(host.outcome not in NOT_SWITCHED for host in run.hosts)


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
        run, week = change.run, week_of(change.counted_at)
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
