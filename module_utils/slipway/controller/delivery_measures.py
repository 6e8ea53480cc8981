# SPDX-License-Identifier: GPL-3.0-or-later
"""How often, how fast and how well a fleet is delivered to: DORA's four measures, from the runs that a controller remembers.

A *change* is a deployment that switched at least one host; one that was refused, or found everything served already, is none. One without an
end (cancelled, killed) may have switched something, and is one once it is over: when a later run of the same application and environment
has switched something, or after a day. One that found its own release on every host that it switched, as where secrets are rotated, is a
*redeployment*: a type of its own, in no sum of all types. A change *failed* when it did not end as asked or has no end, or when a rollback was
for it later, however that ended (delivery_hosts.py says for which it was); for a redeployment none ever is. It is *restored* when every host
that it left ill, or that a rollback was to take from it, serves something good again: at its own end, where every such host went back by itself,
else once for each of them a later run there was confirmed on it. What was itself taken back from a host later restores nothing there, and
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
from .delivery_hosts import AS_ASKED, CONFIRMED, NOT_SWITCHED, WENT_BACK, Fates, followed
from .memory import RunRecord

WEEK: Final = 7 * 86400
WEEKS_MAX: Final = 520
# Hardly a run is at work for that long; one that is all the same is judged anew once it has ended.
OVER_AFTER: Final = 86400
UNKNOWN_TYPE: Final = "unknown"
REDEPLOYMENT: Final = "redeployment"
ALL: Final = "all"


@dataclass(frozen=True)
class Change:
    """A deployment that switched something, or was cut off and may have. Times are Unix seconds; each is None where that never was."""

    run: RunRecord
    lead_seconds: int | None = None
    failed_at: int | None = None
    restored_at: int | None = None
    is_redeployment: bool = False

    @property
    def release_type(self) -> str:
        """The type of its release, or ``redeployment`` where that was there before."""
        return REDEPLOYMENT if self.is_redeployment else self.run.release_type or UNKNOWN_TYPE

    @property
    def counted_at(self) -> int:
        """The time by which it belongs to a week."""
        return self.run.began if self.run.ended is None else self.run.ended


@dataclass(frozen=True)
class Measure:
    """The measures of an application in an environment, for a week (``all``: for all of them) and a release type (``all``: but redeployments).

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
        "release_type": change.release_type, "deployed_by": run.deployed_by, "began": timestamp(run.began), "ended": moment(run.ended),
        "run_group": run.run_group or None, "lead_time_seconds": change.lead_seconds, "failed": change.failed_at is not None, "restored": moment(change.restored_at),
        "hosts": [asdict(host) for host in run.hosts],
    }  # fmt: skip


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
    return History(since, until, tuple(_tables(found, since, until)), tuple(shown), tuple(unended))


def _changes_of(runs: Sequence[RunRecord], until: int) -> list[Change]:
    """The changes of one application in one environment, oldest first."""
    ended = sorted((run for run in runs if run.ended is not None and run.ended <= until), key=_over_at)
    switched = [run for run in ended if _switched(run)]
    cut_off = [run for run in runs if _is_cut_off(run, switched, until)]
    fates = followed(sorted([*ended, *cut_off], key=_over_at))
    changes, known = [], set[str]()
    for run in (run for run in [*switched, *cut_off] if run.operation == "deploy"):
        is_again, lead, failed_at = run.run_id in fates.redeployments, None, None
        if run.outcome == AS_ASKED and run.release_id and run.release_id not in known and not is_again:
            known.add(run.release_id)
            lead = max(0, (run.ended or 0) - run.created) if run.created is not None else None
        if run.outcome != AS_ASKED:
            failed_at = run.began
        elif fates.is_taken_back(run.run_id):
            failed_at = run.ended
        restored_at = None if failed_at is None else _restored_at(run, switched, fates)
        changes.append(Change(run, lead, failed_at, restored_at, is_again))
    return sorted(changes, key=lambda change: (change.counted_at, change.run.began))


def _over_at(run: RunRecord) -> tuple[int, int]:
    return run.began if run.ended is None else run.ended, run.began


def _is_cut_off(run: RunRecord, switched: Iterable[RunRecord], until: int) -> bool:
    """Whether a run without an end is over: what it left open was settled by a later one, or nothing takes that long."""
    return run.ended is None and (run.began + OVER_AFTER < until or any(each.began > run.began for each in switched))


def _restored_at(run: RunRecord, switched: Sequence[RunRecord], fates: Fates) -> int | None:
    """When the last of the hosts was well again that a run left ill or that a rollback was to take from it.

    Where a run was cut off, its own or a rollback of it, nobody noted the hosts: the next one there that ends as asked has settled them.
    """
    end = run.began if run.ended is None else run.ended
    taken = fates.taken_back.get(run.run_id, set())
    left = set(taken)
    if run.outcome != AS_ASKED:
        left |= {host.name for host in run.hosts if host.outcome not in (*NOT_SWITCHED, WENT_BACK, CONFIRMED)}
    unseen = fates.unseen.get(run.run_id, run.began if run.ended is None else None)
    restored_at = end
    for each in switched:
        is_same = bool(run.release_id) and each.release_id == run.release_id
        well = _well(each, fates) - (taken if is_same else set())
        is_settling = bool(well) and each.outcome == AS_ASKED and not (is_same and run.run_id in fates.unseen)
        if unseen is not None and is_settling and each.began > unseen:
            unseen, restored_at = None, each.ended or 0
        if well & left and (each.ended or 0) > end:
            left, restored_at = left - well, each.ended or 0
    return None if left or unseen is not None else restored_at


def _well(run: RunRecord, fates: Fates) -> set[str]:
    """The hosts that a run was confirmed on, and on which nobody found later that it should not have been."""
    confirmed = {host.name for host in run.hosts if host.outcome == CONFIRMED}
    return {name for name in confirmed if (run.run_id, name) not in fates.spoiled}


def _switched(run: RunRecord) -> bool:
    return any(host.outcome not in NOT_SWITCHED for host in run.hosts)


def _tables(changes: Sequence[Change], since: int, until: int) -> list[Measure]:
    """A measure for each place: of all weeks, of each type in all weeks, of each week, and of each type in each week.

    ``changes`` are also those from before: from its first one on, a place has a row for a week without any. Redeployments bring no software that
    was not there: they are in none that is of all types.
    """
    groups: dict[tuple[str, str, str, str], list[Change]] = {}
    for change in changes:
        place = (change.run.application, change.run.environment)
        if (*place, ALL, ALL) not in groups:
            begin = max(since, change.counted_at)
            quiet = {ALL, *(week_of(time) for time in range(begin, until, WEEK)), week_of(until)}
            groups |= {(*place, each_week, ALL): [] for each_week in quiet}
    for change in (each for each in changes if since <= each.counted_at <= until):
        run, week = change.run, week_of(change.counted_at)
        types = (change.release_type,) if change.is_redeployment else (ALL, change.release_type)
        for key_week, key_type in ((each_week, each_type) for each_week in (ALL, week) for each_type in types):
            groups.setdefault((run.application, run.environment, key_week, key_type), []).append(change)
    weeks = max(1.0, (until - since) / WEEK)
    return [_measure(key, groups[key], weeks if key[2] == ALL else 1.0) for key in sorted(groups, key=_order)]


def _order(key: tuple[str, str, str, str]) -> tuple[str, str, bool, str, bool, str]:
    """All weeks first, all types first."""
    application, environment, week, release_type = key
    return application, environment, week != ALL, week, release_type != ALL, release_type


def _measure(key: tuple[str, str, str, str], changes: Sequence[Change], weeks: float) -> Measure:
    failures = [each for each in changes if each.failed_at is not None]
    rate = len(failures) / len(changes) if changes else None
    return Measure(
        *key,
        changes=len(changes),
        failures=len(failures),
        deployments_per_week=round((len(changes) - len(failures)) / weeks, 2),
        success_rate=None if rate is None else round(1 - rate, 4),
        change_failure_rate=None if rate is None else round(rate, 4),
        lead_time_seconds=_median(each.lead_seconds for each in changes),
        time_to_restore_seconds=_median(
            each.restored_at - (each.failed_at or 0) for each in failures if each.restored_at is not None
        ),
        not_restored=sum(each.restored_at is None for each in failures),
    )


def _median(values: Iterable[int | None]) -> int | None:
    found = [value for value in values if value is not None]
    return round(median(found)) if found else None
