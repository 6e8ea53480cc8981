# SPDX-License-Identifier: GPL-3.0-or-later
"""The recording rules that compare an application's own metrics with what they were: more sharply inside the watch window. Controller only.

What is compared is data, in `slipway_watch_metrics` of group_vars:

    hello:
      intraday_hit_ratio_drop:                       # the name that a manifest's monitoring.alert_thresholds has for it
        expression: hello_intraday_hit_ratio         # PromQL; its mean over the hosts of an environment is what counts
        normal: {drop_percent: 10, window_hours: 24}
        heightened: {drop_percent: 5, window_hours: 6}
        baseline: 0.62                               # optional: a number; else its mean over the normal window before

roles/prometheus/files/rules/watch.yml joins what these record with the hosts' word on their window, and alerts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal, shown
from ..base.fields import NAME, Fields
from ..trust.promotion import MAX_HOURS
from ..watch.metrics import LABEL_NAME

MODES: Final = ("normal", "heightened")
MOST_METRICS: Final = 100
EXPRESSION: Final = re.compile(r"[^\x00-\x1f\x7f]{1,2000}\Z")
# How often means over hours and days are taken: three of these in a row make a breach.
INTERVAL: Final = "5m"
BY: Final = "environment, application"
SPARE_DAYS: Final = 1
_REASON: Final = "watch_invalid"
_REMEDY: Final = "Correct slipway_watch_metrics in group_vars (docs/howto/observe.md)."


@dataclass(frozen=True)
class Mode:
    """When a metric counts as degraded: its mean over ``window_hours`` has dropped by more than ``drop_percent``."""

    drop_percent: float
    window_hours: int


@dataclass(frozen=True)
class Metric:
    """One pair: how a metric is watched outside of the window and inside. ``baseline`` is a number, None for its own past."""

    application: str
    name: str
    expression: str
    normal: Mode
    heightened: Mode
    baseline: float | None = None

    def mode(self, name: str) -> Mode:
        """The mode of that name."""
        return self.heightened if name == "heightened" else self.normal

    @property
    def hours(self) -> int:
        """How far back the longest comparison looks."""
        return max(self.mode(name).window_hours for name in MODES) + (0 if self.baseline else self.normal.window_hours)


def parse(metrics: object) -> list[Metric]:
    """Read `watch_metrics`. Refusals: ``watch_invalid``."""
    fields = Fields(metrics, "slipway_watch_metrics", _REASON, _REMEDY)
    found: list[Metric] = []
    for application in fields.keys_like(NAME, maximum=MOST_METRICS):
        table = fields.object(application)
        found += [
            _metric(application, name, table.object(name)) for name in table.keys_like(LABEL_NAME, maximum=MOST_METRICS)
        ]
    return found


def retention_days(metrics: list[Metric]) -> int:
    """How long Prometheus has to keep what the comparisons look at, in whole days with one to spare."""
    return max((-(-metric.hours // 24) for metric in metrics), default=0) + SPARE_DAYS


def rules(metrics: list[Metric], repeat_hours: int) -> dict[str, Any]:
    """The rule file as plain data; ``repeat_hours`` is for a window whose manifest cannot be asked."""
    groups = [
        {"name": f"slipway-watch-{metric.application}-{metric.name}", "interval": INTERVAL, "rules": _recorded(metric)}
        for metric in metrics
    ]
    return {"groups": [*groups, {"name": "slipway-watch-repeat", "interval": INTERVAL, "rules": _repeat(repeat_hours)}]}


def _recorded(metric: Metric) -> list[dict[str, Any]]:
    labels = {"metric": metric.name}
    value = f'slipway_watch:value{{application="{metric.application}",metric="{metric.name}"}}'
    recorded = [
        {"record": "slipway_watch:value", "expr": f"avg by ({BY}) ({metric.expression})", "labels": labels},
    ]
    is_open = f'slipway_watch:open{{application="{metric.application}"}} == 1'
    if metric.baseline is None:
        recorded.append(
            {"record": "slipway_watch:baseline", "expr": _baseline(metric, value, is_open), "labels": labels}
        )
    for name in MODES:
        mode, of_mode = metric.mode(name), {**labels, "mode": name}
        mean = f"avg_over_time({value}[{mode.window_hours}h])"
        base = _number(metric.baseline) if metric.baseline else f"({_before(metric, value, name)} > 0)"
        recorded.append(
            {"record": "slipway_watch:drop_ratio", "expr": f"clamp_min(1 - {mean} / {base}, 0)", "labels": of_mode}
        )
    heightened, normal = ({**labels, "mode": name} for name in ("heightened", "normal"))
    # Only while a window is open, and then what the release itself asks for comes first: the strictest of its hosts. It is signed by
    # whoever builds, who may have it watched more sharply than all others, and not less.
    least = _number(metric.heightened.drop_percent / 100)
    asked = (
        f'min by ({BY}) (slipway_watch_threshold_ratio{{application="{metric.application}",metric="{metric.name}"}})'
    )
    said, usual = f"clamp_max({asked}, {least})", f"max by ({BY}) ({value}) * 0 + {least}"
    recorded += [
        {
            "record": "slipway_watch:limit_ratio",
            "expr": f"({said} or {usual}) and on ({BY}) ({is_open})",
            "labels": heightened,
        },
        {
            "record": "slipway_watch:limit_ratio",
            "expr": f"max by ({BY}) ({value}) * 0 + {_number(metric.normal.drop_percent / 100)}",
            "labels": normal,
        },
    ]
    return recorded


def _before(metric: Metric, value: str, mode: str) -> str:
    """What a mean is compared with: inside the window with what was before the release, else with its own past."""
    if mode == "heightened":
        return f'slipway_watch:baseline{{application="{metric.application}",metric="{metric.name}"}}'
    return f"avg_over_time({value}[{metric.normal.window_hours}h] offset {metric.normal.window_hours}h)"


def _baseline(metric: Metric, value: str, is_open: str) -> str:
    """The mean over the usual span, which stays as it was while a window is open: else a release would soon be compared with itself.

    Where nothing was recorded before the window, as after an hour without Prometheus, the mean before the shorter span has to do.
    """
    usual = f"avg_over_time({value}[{metric.normal.window_hours}h])"
    kept = f'last_over_time(slipway_watch:baseline{{application="{metric.application}",metric="{metric.name}"}}[1h])'
    earlier = f"avg_over_time({value}[{metric.normal.window_hours}h] offset {metric.heightened.window_hours}h)"
    return f"({usual} unless on ({BY}) ({is_open})) or {kept} or {earlier}"


def _repeat(hours: int) -> list[dict[str, Any]]:
    """The series whose label says after how long an alert is repeated; its value is 1."""
    said = f'count_values by ({BY}) ("repeat_seconds", min by ({BY}) (slipway_watch_repeat_seconds)) and on ({BY}) slipway_watch:open == 1'
    usual = f'label_replace(slipway_watch:open == 1, "repeat_seconds", "{hours * 3600}", "", "")'
    return [{"record": "slipway_watch:repeat:info", "expr": f"({said}) or on ({BY}) {usual}"}]


def _metric(application: str, name: str, fields: Fields) -> Metric:
    baseline = _positive(fields, "baseline") if "baseline" in fields else None
    metric = Metric(
        application,
        name,
        fields.text("expression", EXPRESSION),
        _mode(fields.object("normal")),
        _mode(fields.object("heightened")),
        baseline,
    )
    fields.end()
    if (
        metric.heightened.drop_percent > metric.normal.drop_percent
        or metric.heightened.window_hours > metric.normal.window_hours
    ):
        raise Refusal(
            _REASON,
            expected=f"{fields.where}: a watch window that is sharper than what is usual",
            found=f"{metric.heightened} beside {metric.normal}",
            remedy=_REMEDY,
        )
    return metric


def _mode(fields: Fields) -> Mode:
    drop = _positive(fields, "drop_percent")
    if drop >= 100:
        raise fields.refusal("drop_percent", "less than 100", drop)
    hours = fields.take("window_hours")
    if isinstance(hours, bool) or not isinstance(hours, int) or not 0 < hours <= MAX_HOURS:
        raise fields.refusal("window_hours", f"an integer from 1 to {MAX_HOURS}", hours)
    fields.end()
    return Mode(drop, int(hours))


def _positive(fields: Fields, name: str) -> float:
    value = fields.take(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise fields.refusal(name, "a positive number", shown(value))
    return float(value)


def _number(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".")
