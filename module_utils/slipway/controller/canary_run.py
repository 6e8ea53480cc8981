# SPDX-License-Identifier: GPL-3.0-or-later
"""The soak of a wave whose hosts are compared with those that still have the release before: measured while it lasts. Controller only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..base.clock import Clock
from . import canary
from .canary import Analysis, Judged, Pair
from .prometheus_query import Prometheus

Ask = Callable[[str], tuple[float | None, str]]
MOST_SHOWN: Final = 5


def require_comparable(analysis: Mapping[str, Any], prometheus: Mapping[str, Any]) -> None:
    """Refuse what could not be compared by, before anything is switched: Refusals ``analysis_invalid``. Nothing is asked where nothing is compared."""
    if analysis:
        Analysis.parse(analysis)
        Prometheus.parse(prometheus).require_files()


def compare_in_soak(
    analysis: Analysis, ask: Ask, clock: Clock, *, new: Sequence[str], old: Sequence[str], seconds: int
) -> dict[str, Any]:
    """Measure ``new`` beside ``old`` for ``seconds``, and judge: {outcome, detail, comparisons, milliseconds}.

    A failure ends the soak at once, since every further second hurts; a success does not, since it is a soak too. ``ask`` answers one
    query with a number, or None and why. Without hosts of either kind there is nothing to compare: a success that says so.
    """
    began = clock.elapsed()
    if not new or not old or not analysis.measures:
        clock.sleep(seconds)
        return _answer(canary.SUCCESS, [], "nothing to compare with", clock.elapsed() - began)
    measured: dict[str, list[Pair]] = {measure.name: [] for measure in analysis.measures}
    why = ""
    # The first measurement comes after an interval: before that the canary has had no requests.
    for number in range(1, seconds // analysis.interval_seconds + 1):
        _sleep_until(clock, began + number * analysis.interval_seconds)
        for measure in analysis.measures:
            answers = [_asked(ask, measure.asked_of(hosts)) for hosts in (new, old)]
            measured[measure.name].append((answers[0][0], answers[1][0]))
            why = next((text for _number, text in answers if text), why)
        if canary.judge(analysis, measured)[0] == canary.FAILURE:
            break
    else:
        _sleep_until(clock, began + seconds)
    outcome, judged = canary.judge(analysis, measured)
    return _answer(outcome, judged, why, clock.elapsed() - began)


def _asked(ask: Ask, query: str) -> tuple[float | None, str]:
    """The answer; a question that fails itself says nothing of a release, and must not end its rollout."""
    try:
        return ask(query)
    except Exception as error:
        return None, f"Prometheus could not be asked: {type(error).__name__}"


def _sleep_until(clock: Clock, moment: float) -> None:
    clock.sleep(max(0.0, moment - clock.elapsed()))


def _answer(outcome: str, judged: Sequence[Judged], why: str, seconds: float) -> dict[str, Any]:
    told = [f"{each.name}: {each.detail}" for each in judged if each.outcome == outcome][:MOST_SHOWN]
    if why and outcome != canary.FAILURE:
        told.append(why)
    return {
        "outcome": outcome,
        "detail": "; ".join(told),
        "comparisons": [{"name": each.name, "outcome": each.outcome, "detail": each.detail} for each in judged],
        "milliseconds": round(seconds * 1000),
    }
