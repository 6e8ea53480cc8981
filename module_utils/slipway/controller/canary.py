# SPDX-License-Identifier: GPL-3.0-or-later
"""Is a canary as good as the hosts that still have the release before? Judged from what Prometheus measured on both. Controller only.

A pure function of measurements: what they are asked of is `prometheus_query`. A rollout without such a comparison goes on as its health
checks say; one whose comparison has too little to go by says so, and holds where a person is to decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..base.errors import shown
from ..base.fields import NAME, Fields

SUCCESS: Final = "success"
FAILURE: Final = "failure"
INCONCLUSIVE: Final = "inconclusive"
DIRECTIONS: Final = ("lower", "higher")
EXPRESSION: Final = re.compile(r"[^\x00-\x1f\x7f]{1,2000}\Z")
HOSTS: Final = "$hosts"
MOST: Final = 50
_REASON: Final = "analysis_invalid"
_REMEDY: Final = "Correct release_analysis in group_vars (docs/howto/observe.md)."

Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Measure:
    """One comparison. ``query`` has `$hosts` where a matcher of instances belongs.

    ``better`` says which direction is good. The canary fails a measurement when it is worse than the baseline by more than
    ``worse_percent`` of it, and by more than ``worse_by`` in all, so that tiny numbers do not fail by chance. ``required`` measurements
    must have data of both; ``failures_max`` failed ones in a row fail the comparison, and ``missing_max`` without data make it
    inconclusive.
    """

    name: str
    query: str
    better: str = "lower"
    worse_percent: float = 10.0
    worse_by: float = 0.0
    required: int = 3
    failures_max: int = 3
    missing_max: int = 2

    def asked_of(self, hosts: Sequence[str]) -> str:
        """The query for these hosts."""
        return self.query.replace(HOSTS, "|".join(re.escape(host).replace("\\", "\\\\") for host in sorted(hosts)))


@dataclass(frozen=True)
class Judged:
    """What became of one comparison, and why."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class Analysis:
    """All comparisons of a rollout, every ``interval_seconds``."""

    measures: tuple[Measure, ...]
    interval_seconds: int = 15

    @classmethod
    def parse(cls, value: object) -> Analysis:
        """Read `release_analysis`. Refusals: ``analysis_invalid``."""
        fields = Fields(value, "release_analysis", _REASON, _REMEDY)
        interval = _whole(fields, "interval_seconds", 15, 1, 3600)
        table = fields.object("measures") if "measures" in fields else None
        measures = (
            tuple(_measure(name, table.object(name)) for name in table.keys_like(NAME, maximum=MOST)) if table else ()
        )
        fields.end()
        return cls(measures, interval)


def judge(analysis: Analysis, measured: Mapping[str, Sequence[Pair]]) -> tuple[str, list[Judged]]:
    """The verdict on a canary, and on each comparison: failure before inconclusive before success.

    ``measured`` {name: [(canary, baseline), …]} oldest first; None, NaN and infinities are no data.
    """
    judged = [compare(measure, measured.get(measure.name, ())) for measure in analysis.measures]
    outcomes = {each.outcome for each in judged}
    verdict = next((each for each in (FAILURE, INCONCLUSIVE) if each in outcomes), SUCCESS)
    return verdict, judged


def compare(measure: Measure, pairs: Sequence[Pair]) -> Judged:
    """What the measurements of one comparison say; the same in the order in which they came."""
    failed = missing = usable = worst = 0
    last = ""
    for canary, baseline in pairs:
        if canary is None or baseline is None or not (math.isfinite(canary) and math.isfinite(baseline)):
            missing += 1
            continue
        usable += 1
        if is_worse(measure, canary, baseline):
            failed += 1
            worst = max(worst, failed)
            last = f"{_number(canary)} beside {_number(baseline)}"
        else:
            failed = 0
        if failed >= measure.failures_max:
            limit = f"{_number(measure.worse_percent)} %"
            return Judged(measure.name, FAILURE, f"{last}, worse by more than {limit}, {failed} times in a row")
    if usable < measure.required or missing > measure.missing_max:
        return Judged(
            measure.name, INCONCLUSIVE, f"{usable} of {measure.required} measurements, {missing} without data"
        )
    return Judged(measure.name, SUCCESS, f"{usable} measurements, at most {worst} in a row worse")


def is_worse(measure: Measure, canary: float, baseline: float) -> bool:
    """Whether one measurement of the canary is worse than what is allowed beside the baseline."""
    allowed = max(measure.worse_by, abs(baseline) * measure.worse_percent / 100)
    return canary > baseline + allowed if measure.better == "lower" else canary < baseline - allowed


def _measure(name: str, fields: Fields) -> Measure:
    usual = Measure(name, "")
    query = fields.text("query", EXPRESSION)
    if HOSTS not in query:
        raise fields.refusal(
            "query", f'a query with {HOSTS}, such as sum(rate(errors_total{{instance=~"{HOSTS}"}}[1m]))', query
        )
    measure = Measure(
        name,
        query,
        fields.choice("better", *DIRECTIONS) if "better" in fields else usual.better,
        _amount(fields, "worse_percent", usual.worse_percent),
        _amount(fields, "worse_by", usual.worse_by),
        _whole(fields, "required", usual.required, 1, 100),
        _whole(fields, "failures_max", usual.failures_max, 1, 100),
        _whole(fields, "missing_max", usual.missing_max, 0, 100),
    )
    fields.end()
    return measure


def _amount(fields: Fields, name: str, usual: float) -> float:
    value = fields.take(name) if name in fields else usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise fields.refusal(name, "a number that is not negative", shown(value))
    return float(value)


def _whole(fields: Fields, name: str, usual: int, minimum: int, maximum: int) -> int:
    value = fields.take(name) if name in fields else usual
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise fields.refusal(name, f"an integer from {minimum} to {maximum}", value)
    return int(value)


def _number(value: float) -> str:
    return f"{value:.6g}"
