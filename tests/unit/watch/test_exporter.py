# SPDX-License-Identifier: GPL-3.0-or-later
"""What the exporter answers about a host that is well, one that is not, and one whose agent has stopped."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.watch import exporter
from ansible.module_utils.slipway.watch.exporter import Told, answer
from ansible.module_utils.slipway.watch.metrics import DEPLOY_SECONDS, Sample, exposition, histogram

NOW = 1_800_000_000
SHOP = {"application": "shop"}


def samples(status=0, ran=NOW - 10):
    check = {**SHOP, "check": "http"}
    return [
        Sample("slipway_agent_last_run_timestamp_seconds", ran),
        Sample("slipway_agent_queued_alerts", 2),
        Sample("slipway_check_status", status, check),
        Sample("slipway_check_duration_seconds", 0.025, check),
        Sample("slipway_check_escalation_level", 1, check),
        Sample("slipway_check_last_run_timestamp_seconds", NOW - 11, check),
        Sample("slipway_check_status", 0, {**SHOP, "check": "never"}),
        Sample("slipway_channel_breaker_state", 2, {"channel": "slack"}),
        Sample("slipway_security_events_total", 3, {"event": "integrity_failed"}),
        Sample("slipway_release_info", 1, {**SHOP, "release": "v2"}),
        Sample("slipway_watch_window_seconds_left", 3600, SHOP),
        Sample("slipway_verification_last_success_timestamp_seconds", NOW - 60, SHOP),
        *histogram("slipway_deploy_duration_seconds", SHOP, [3.0], DEPLOY_SECONDS),
    ]


def asked(route, told, now=NOW):
    found = answer(route, told, now)
    assert found.kind == "application/json"
    return found.status, json.loads(found.body)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "slipway.prom"
    path.write_text(exposition(samples()))
    return path


def test_metrics_are_what_the_agent_wrote(file):
    found = answer("/metrics", Told.read(file), NOW)
    assert (found.status, found.kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert found.body == file.read_bytes()


def test_a_host_is_alive_whatever_it_finds(tmp_path):
    assert asked("/health/live", Told.read(tmp_path / "none")) == (200, {"status": "alive"})


@pytest.mark.parametrize(
    ("told", "status", "said", "why"),
    [
        (Told(samples()), 200, "HEALTHY", ""),
        (Told(samples(1)), 200, "DEGRADED", "shop/http"),
        (Told(samples(2)), 503, "UNHEALTHY", "shop/http"),
        (Told(samples(0, NOW - 300)), 200, "HEALTHY", ""),
        (Told(samples(0, NOW - 301)), 503, "UNHEALTHY", "the agent has been silent for more than 300 s"),
        (Told(()), 503, "UNHEALTHY", "the agent has been silent for more than 300 s"),
        (Told(problem="x"), 503, "UNHEALTHY", "x"),
    ],
)
def test_a_host_is_ready_while_its_agent_beats_and_nothing_is_unhealthy(told, status, said, why):
    assert asked("/health/ready", told) == (status, {"status": said, "why": why})


def test_every_check_and_every_breaker_is_said():
    assert asked("/health/check", Told(samples(1)))[1] == {
        "status": "DEGRADED",
        "why": "shop/http",
        "checks": [
            {"application": "shop", "check": "http", "status": "DEGRADED", "milliseconds": 25, "level": 1, "at": "2027-01-15T07:59:49Z"},
            {"application": "shop", "check": "never", "status": "HEALTHY", "milliseconds": 0, "level": 0, "at": None},
        ],
        "breakers": {"slack": "open"},
    }  # fmt: skip


def test_the_summary_is_numbers():
    assert asked("/health/summary", Told(samples(2)))[1] == {
        "status": "UNHEALTHY",
        "checks": {"HEALTHY": 1, "DEGRADED": 0, "UNHEALTHY": 1},
        "releases": {"shop": "v2"},
        "watched_seconds_left": {"shop": 3600},
        "queued_alerts": 2,
    }


def test_all_metrics_are_there_as_data_too():
    found = asked("/health/metrics", Told(samples()))[1]
    assert {kind: len(of) for kind, of in found.items()} == {"counters": 1, "gauges": 11, "histograms": 12}
    assert found["counters"] == [
        {"name": "slipway_security_events_total", "labels": {"event": "integrity_failed"}, "value": 3}
    ]


def test_security_is_what_was_counted_and_when_bytes_were_verified():
    assert asked("/health/security", Told(samples()))[1] == {
        "events": {"integrity_failed": 3},
        "bytes_verified": {"shop": "2027-01-15T07:59:00Z"},
    }


def test_another_route_says_which_there_are():
    status, said = asked("/health", Told(samples()))
    assert status == 404
    assert said["routes"] == ["/metrics", *exporter._ROUTES]


@pytest.mark.parametrize("data", [None, b"", b"other_metric 1\n", b"\xff"])
def test_without_a_file_that_can_be_read_metrics_are_none_and_why_is_said(tmp_path, data):
    path = tmp_path / "slipway.prom"
    if data is not None:
        path.write_bytes(data)
    found = answer("/metrics", Told.read(path), NOW)
    assert found.status == 503
    assert found.body.startswith(b"# the agent")


@pytest.mark.parametrize("value", [7, -1, 1e300])
def test_a_number_that_stands_for_nothing_is_the_worst(value):
    told = Told(
        [
            Sample("slipway_agent_last_run_timestamp_seconds", NOW),
            Sample("slipway_check_status", value, {"application": "shop", "check": "site"}),
            Sample("slipway_channel_breaker_state", value, {"channel": "slack"}),
        ]
    )
    status, found = asked("/health/check", told)
    assert (status, found["status"], found["checks"][0]["status"], found["breakers"]) == (
        200, "UNHEALTHY", "UNHEALTHY", {"slack": "open"},
    )  # fmt: skip
    assert asked("/health/summary", told)[1]["checks"]["UNHEALTHY"] == 1
    assert asked("/health/ready", told)[0] == 503
