# SPDX-License-Identifier: GPL-3.0-or-later
"""A drop counts more sharply inside the watch window: tried on Prometheus' own evaluation of the rules that are made."""

from __future__ import annotations

import copy
import re
import subprocess

import pytest
import repository
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import watch_rules

from lab import prometheus

ALERTS = repository.ROOT / "roles/prometheus/files/rules/watch.yml"
PAIRS = {
    "hello": {
        "intraday_hit_ratio_drop": {
            "expression": "hello_intraday_hit_ratio",
            "normal": {"drop_percent": 10, "window_hours": 24},
            "heightened": {"drop_percent": 5, "window_hours": 6},
        },
        "swing_precision_drop": {
            "expression": "hello_swing_precision",
            "normal": {"drop_percent": 10, "window_hours": 2160},
            "heightened": {"drop_percent": 5, "window_hours": 24},
            "baseline": 0.5,
        },
        "intraday_sharpe_drop": {
            "expression": "hello_intraday_sharpe",
            "normal": {"drop_percent": 25, "window_hours": 24},
            "heightened": {"drop_percent": 15, "window_hours": 6},
        },
    }
}
LABELS = 'environment="prod",application="hello"'
DAY, STEP = 24 * 12, "5m"  # samples of a day


def fired(tmp_path, series, at, pairs=PAIRS, step=STEP):
    """The alerts that fire at each time of ``at``: {time: [(alert, metric, repeat_seconds)]}."""
    rules = tmp_path / "rules.yml"
    made = watch_rules.rules(watch_rules.parse(pairs), 2)
    rules.write_text(yaml.safe_dump(made, sort_keys=False))
    expected = 'count by (alertname, metric, repeat_seconds) (ALERTS{alertstate="firing"})'
    test = {
        "rule_files": [str(rules), str(ALERTS)],
        "evaluation_interval": step,
        "group_eval_order": [
            "slipway-watch-window",
            *(group["name"] for group in made["groups"]),
            "slipway-watch-alerts",
        ],
        "tests": [
            {
                "interval": step,
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": expected, "eval_time": time, "exp_samples": []} for time in at],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    run = subprocess.run(
        [prometheus.ensure() / "promtool", "test", "rules", tmp_path / "test.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    return _told(run.stdout + run.stderr, at)


def _told(output, at):
    """The series that promtool got where it was told to expect none, by time; of those it says nothing that are as expected."""
    parts = re.split(r"expr: \"[^\n]*\", time: (\w+),", output)
    assert len(parts) > 1 or "SUCCESS" in output, output
    found = {time: [] for time in at}
    called = {_minutes(time): time for time in at}
    for time, text in zip(parts[1::2], parts[2::2], strict=True):
        labels = [
            dict(re.findall(r'(\w+)="([^"]*)"', each))
            for each in re.findall(r"\{([^}]*)\} 1E\+00", text.partition("got:")[2])
        ]
        assert labels, output
        found[called[_minutes(time)]] = sorted(
            (each["alertname"], each["metric"], each.get("repeat_seconds")) for each in labels
        )
    return found


def _minutes(text):
    """Promtool says 3d for 72h."""
    units = {"w": 7 * 24 * 60, "d": 24 * 60, "h": 60, "m": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([wdhm])", text))


def falls(before, after, days=3, later=DAY):
    """A value that falls at the end of ``days``, and stays for ``later`` samples."""
    return f"{before}x{days * DAY} {after}x{later}"


def window(end_hours, days=4, since_hours=72):
    """The hosts' word on it: closed at first, then until ``end_hours``."""
    before = f"0x{since_hours * 12 - 1} " if since_hours else ""
    return {f"slipway_watch_window_end_timestamp_seconds{{{LABELS}}}": f"{before}{end_hours * 3600}x{days * DAY}"}


IN_WINDOW = window(72 + 48)


def test_a_drop_of_six_percent_alerts_inside_the_window_and_not_outside(tmp_path):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.564)}
    alert = ("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "7200")
    assert fired(tmp_path, hit | IN_WINDOW, ["71h", "78h", "95h"]) == {"71h": [], "78h": [alert], "95h": [alert]}
    assert fired(tmp_path, hit, ["78h", "95h"]) == {"78h": [], "95h": []}
    assert fired(tmp_path, hit | window(1), ["78h"]) == {"78h": []}


def test_a_drop_of_eleven_percent_alerts_outside_the_window_too_and_is_a_warning_there(tmp_path):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.534)}
    assert fired(tmp_path, hit, ["95h"]) == {"95h": [("SlipwayMetricDegraded", "intraday_hit_ratio_drop", None)]}
    alert = ("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "7200")
    assert fired(tmp_path, hit | IN_WINDOW, ["78h", "95h"]) == {"78h": [alert], "95h": [alert]}


def test_where_nothing_was_recorded_before_the_window_the_time_before_the_shorter_span_is_compared_with(tmp_path):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.564)}
    alert = ("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "7200")
    assert fired(tmp_path, hit | window(120, since_hours=0), ["78h"]) == {"78h": [alert]}


def test_four_percent_is_nothing_in_either(tmp_path):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.576)}
    assert fired(tmp_path, hit | IN_WINDOW, ["78h", "95h"]) == {"78h": [], "95h": []}


def test_the_window_ends_by_itself(tmp_path):
    """The series of its end stays as it was: nothing has to write anything for the thresholds to be the usual ones again."""
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.564)}
    alert = ("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "7200")
    assert fired(tmp_path, hit | window(80), ["79h55m", "80h10m"]) == {"79h55m": [alert], "80h10m": []}


@pytest.mark.parametrize(("samples", "times"), [(6, []), (7, ["72h35m"]), (8, ["72h35m", "72h40m"])])
def test_it_takes_three_breaches_in_a_row(tmp_path, samples, times):
    """The mean over six hours is more than 5 % down with the fifth sample of a sixth, at 72h25m, and recovers with the first high one."""
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": f"0.6x{3 * DAY} 0.1x{samples - 1} 3x100"}
    found = fired(tmp_path, hit | IN_WINDOW, [f"72h{minutes}m" for minutes in range(5, 60, 5)])
    assert [time for time in found if found[time]] == times


@pytest.mark.parametrize(("value", "expected"), [(1.28, []), (1.20, ["SlipwayReleaseDegraded"])])
def test_a_sharpe_ratio_may_drop_by_fifteen_percent_inside_the_window(tmp_path, value, expected):
    series = {f"hello_intraday_sharpe{{{LABELS}}}": falls(1.5, value)} | IN_WINDOW
    assert [alert for alert, _metric, _repeat in fired(tmp_path, series, ["78h"])["78h"]] == expected


def test_what_the_manifest_says_more_sharply_comes_before_group_vars(tmp_path):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.576)} | IN_WINDOW  # by 4 %
    said = {
        f'slipway_watch_threshold_ratio{{{LABELS},host="prod-1",metric="intraday_hit_ratio_drop"}}': f"0.03x{4 * DAY}",
        f'slipway_watch_repeat_seconds{{{LABELS},host="prod-1"}}': f"3600x{4 * DAY}",
    }
    assert fired(tmp_path, hit | said, ["78h"]) == {
        "78h": [("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "3600")]
    }


@pytest.mark.parametrize("ratio", ["0.06", "999"])
def test_a_manifest_can_make_it_sharper_and_never_looser(tmp_path, ratio):
    hit = {f"hello_intraday_hit_ratio{{{LABELS}}}": falls(0.6, 0.564)} | IN_WINDOW  # by 6 %
    said = {
        f'slipway_watch_threshold_ratio{{{LABELS},host="prod-1",metric="intraday_hit_ratio_drop"}}': f"{ratio}x{4 * DAY}"
    }
    alert = ("SlipwayReleaseDegraded", "intraday_hit_ratio_drop", "7200")
    found = fired(tmp_path, hit | said, ["78h"])
    assert found == {"78h": [alert]}


def test_a_number_can_be_what_is_compared_with_and_ninety_days_are_looked_at(tmp_path):
    """The precision of the model was 0.5 when it was let in: in 90 days it has come down by 12 %. Sampled once in four hours."""
    series = {f"hello_swing_precision{{{LABELS}}}": "0.44x600"}
    found = fired(tmp_path, series, ["2200h"], step="4h")
    assert found == {"2200h": [("SlipwayMetricDegraded", "swing_precision_drop", None)]}
    assert fired(tmp_path, {f"hello_swing_precision{{{LABELS}}}": "0.46x600"}, ["2200h"], step="4h") == {"2200h": []}


def test_the_rules_are_what_prometheus_takes_and_always_the_same(tmp_path):
    text = yaml.safe_dump(watch_rules.rules(watch_rules.parse(PAIRS), 2), sort_keys=False)
    assert text == yaml.safe_dump(watch_rules.rules(watch_rules.parse(copy.deepcopy(PAIRS)), 2), sort_keys=False)
    (tmp_path / "rules.yml").write_text(text)
    subprocess.run(
        [prometheus.ensure() / "promtool", "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True
    )


@pytest.mark.parametrize(
    ("change", "days"),
    [({}, 91), ({"baseline": None}, 181)],
)
def test_prometheus_keeps_what_the_longest_window_looks_at(change, days):
    pairs = copy.deepcopy(PAIRS)
    for name, value in change.items():
        assert pairs["hello"]["swing_precision_drop"].pop(name) != value
    assert watch_rules.retention_days(watch_rules.parse(pairs)) == days


def test_without_a_metric_nothing_is_kept_for_long():
    assert watch_rules.retention_days(watch_rules.parse({})) == 1


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"normal": {"drop_percent": 4, "window_hours": 24}}, "sharper"),
        ({"heightened": {"drop_percent": 5, "window_hours": 25}}, "sharper"),
        ({"normal": {"drop_percent": 100, "window_hours": 24}}, "less than 100"),
        ({"normal": {"drop_percent": 0, "window_hours": 24}}, "a positive number"),
        ({"normal": {"drop_percent": True, "window_hours": 24}}, "a positive number"),
        ({"normal": {"drop_percent": 10, "window_hours": 0}}, "an integer from 1"),
        ({"normal": {"drop_percent": 10, "window_hours": 1.5}}, "an integer from 1"),
        ({"normal": {"drop_percent": 10}}, "the member"),
        ({"expression": ""}, "a string like"),
        ({"baseline": float("nan")}, "a positive number"),
        ({"factor": 2}, "no further member"),
    ],
)
def test_what_is_no_pair_is_refused(keys, found):
    pairs = copy.deepcopy(PAIRS)
    pairs["hello"]["intraday_hit_ratio_drop"] |= keys
    with pytest.raises(Refusal) as refusal:
        watch_rules.parse(pairs)
    assert refusal.value.reason == "watch_invalid"
    assert found in refusal.value.expected
