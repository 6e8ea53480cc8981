# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics are what the table says, in Prometheus' own format, and have no place for a secret."""

from __future__ import annotations

import random
import subprocess

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.watch import metrics
from ansible.module_utils.slipway.watch.metrics import FAMILIES, Sample, exposition, histogram, parse

from lab import prometheus

SHOP = {"application": "shop"}
CHECK = {**SHOP, "check": "http"}


def one_of_each():
    """A sample of every family of the table."""
    samples = []
    for name, family in FAMILIES.items():
        labels = dict.fromkeys(family.labels, "x")
        if family.kind == "histogram":
            samples += histogram(name, labels, [0.5, 3, 1000], metrics.DEPLOY_SECONDS)
        else:
            samples.append(Sample(name, 1, labels))
    return samples


def test_samples_stand_below_their_help_and_type():
    text = exposition([Sample("slipway_check_status", 2, CHECK), Sample("slipway_check_duration_seconds", 0.25, CHECK)])
    assert text == (
        "# HELP slipway_check_status What a check found: 0 healthy, 1 degraded, 2 unhealthy.\n"
        "# TYPE slipway_check_status gauge\n"
        'slipway_check_status{application="shop",check="http"} 2\n'
        "# HELP slipway_check_duration_seconds How long the check last took.\n"
        "# TYPE slipway_check_duration_seconds gauge\n"
        'slipway_check_duration_seconds{application="shop",check="http"} 0.25\n'
    )


def test_nothing_is_an_empty_text():
    assert exposition([]) == ""


def test_the_order_of_samples_does_not_matter():
    samples = one_of_each() + [Sample("slipway_check_status", 0, {**SHOP, "check": each}) for each in ("tcp", "unit")]
    shuffled = samples.copy()
    random.Random(9).shuffle(shuffled)
    assert exposition(shuffled) == exposition(samples)


def test_what_is_written_is_read_back():
    samples = one_of_each()
    assert exposition(parse(exposition(samples))) == exposition(samples)
    assert len(parse(exposition(samples))) == len(samples)


def test_a_histogram_counts_what_is_at_most_each_bound():
    text = exposition(histogram("slipway_deploy_duration_seconds", SHOP, [0.5, 1.0, 7], (1.0, 2.5, 10.0)))
    assert [line.rpartition(" ")[::2] for line in text.splitlines()[2:]] == [
        ('slipway_deploy_duration_seconds_bucket{application="shop",le="1"}', "2"),
        ('slipway_deploy_duration_seconds_bucket{application="shop",le="2.5"}', "2"),
        ('slipway_deploy_duration_seconds_bucket{application="shop",le="10"}', "3"),
        ('slipway_deploy_duration_seconds_bucket{application="shop",le="+Inf"}', "3"),
        ('slipway_deploy_duration_seconds_sum{application="shop"}', "8.5"),
        ('slipway_deploy_duration_seconds_count{application="shop"}', "3"),
    ]


def test_prometheus_itself_has_nothing_against_names_and_text():
    promtool = prometheus.ensure() / "promtool"
    run = subprocess.run(
        [promtool, "check", "metrics"], input=exposition(one_of_each()), capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_promtool_would_have_something_against_a_wrong_name():
    promtool = prometheus.ensure() / "promtool"
    families = {"slipway_deploys": metrics.Family("counter", "Deployments.")}
    text = exposition([Sample("slipway_deploys", 1)], families)
    run = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert run.returncode == 3
    assert "_total" in run.stderr


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (Sample("slipway_unknown", 1), "a metric of the table"),
        (Sample("slipway_check_status_total", 1, CHECK), "a metric of the table"),
        (Sample("slipway_deploy_duration_seconds", 1, SHOP), "a metric of the table"),
        (Sample("slipway_check_status_count", 1, CHECK), "a metric of the table"),
        (Sample("slipway_check_status", 1, SHOP), "the labels application, check"),
        (Sample("slipway_check_status", 1, {**CHECK, "message": "x"}), "the labels application, check"),
        (Sample("slipway_agent_queued_alerts", 1, SHOP), "the labels none"),
        (Sample("slipway_check_status", float("nan"), CHECK), "a finite number"),
        (Sample("slipway_check_status", float("inf"), CHECK), "a finite number"),
        (Sample("slipway_check_status", True, CHECK), "a finite number"),
        (Sample("slipway_check_status", "1", CHECK), "a finite number"),
        (Sample("slipway_deploys_total", -1, {**SHOP, "outcome": "success"}), "no negative number"),
        *(
            (Sample("slipway_check_status", 1, {**SHOP, "check": value}), "in check a word")
            for value in ("", "two words", 'quote"', "line\nbreak", "back\\slash", "x" * 129, "ä", "{", 7)
        ),
    ],
)
def test_a_sample_that_the_table_does_not_have_is_refused(sample, expected):
    with pytest.raises(Refusal) as refusal:
        exposition([sample])
    assert refusal.value.reason == "metric_invalid"
    assert refusal.value.expected.startswith(expected)


def test_a_refused_label_is_not_said_since_it_may_be_a_secret():
    with pytest.raises(Refusal) as refusal:
        exposition([Sample("slipway_check_status", 1, {**SHOP, "check": "token=canary-4711 "})])
    assert "canary" not in str(refusal.value)


def test_the_same_sample_twice_is_refused():
    with pytest.raises(Refusal, match="each sample once"):
        exposition([Sample("slipway_check_status", 0, CHECK), Sample("slipway_check_status", 1, CHECK)])


@pytest.mark.parametrize(
    "line",
    [
        "slipway_check_status",
        'slipway_check_status{application="shop",check="http"}',
        'slipway_check_status{application="shop",check="http"} one',
        'slipway_check_status{application="shop",check="http"} NaN',
        'slipway_check_status{application="shop" check="http"} 1',
        'slipway_check_status{application="shop",check="http",} 1',
        'slipway_check_status{application="shop",check="http"} 1 1700000000',
        'other_metric{application="shop"} 1',
    ],
)
def test_a_line_that_slipway_did_not_write_is_refused(line):
    with pytest.raises(Refusal, match="metric_invalid"):
        parse(line + "\n")


def test_every_name_tells_its_unit_and_kind_and_every_label_is_one():
    for name, family in FAMILIES.items():
        assert name.startswith("slipway_")
        assert name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")
        assert all(metrics.LABEL_NAME.match(label) for label in family.labels)
