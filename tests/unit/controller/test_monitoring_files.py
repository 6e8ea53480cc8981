# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of Prometheus and Alertmanager: whole, plain, and the same each time."""

from __future__ import annotations

import copy
import json

import pytest
import repository
import test_alert_routing
import test_scraping
import test_watch_rules
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import monitoring_files

TESTS = "rule_files: [rules.yml]\ntests: [{interval: 1m}]"
HOSTS = test_scraping.OPTIONS["hosts"]
OPTIONS = {
    **{name: value for name, value in test_scraping.OPTIONS.items() if name != "hosts"},
    "rules_path": str(repository.ROOT / "roles/prometheus/files/rules"),
    "runbooks_url": "https://wiki.example/runbooks",
    "watch_metrics": test_watch_rules.PAIRS,
    "watch_repeat_hours": 2,
    "retention_days": 15,
}


class Tagged(str):
    """As Ansible has texts."""

    __slots__ = ()


def test_prometheus_has_its_configuration_and_every_rule_file():
    made = monitoring_files.prometheus(OPTIONS, HOSTS)
    assert set(made["rules"]) == {
        "agents.yml",
        "applications.yml",
        "deliveries.yml",
        "releases.yml",
        "watch.yml",
        "watch-metrics.yml",
    }
    assert all(text.startswith(monitoring_files.MARKER) for text in (made["configuration"], *made["rules"].values()))
    assert "slipway.example" not in "".join(made["rules"].values())
    assert made == monitoring_files.prometheus(copy.deepcopy(OPTIONS), copy.deepcopy(HOSTS))


@pytest.mark.parametrize(
    ("metrics", "asked", "days"), [({}, 15, 15), (test_watch_rules.PAIRS, 15, 91), (test_watch_rules.PAIRS, 400, 400)]
)
def test_metrics_are_kept_for_as_long_as_the_longest_window_looks_back(metrics, asked, days):
    made = monitoring_files.prometheus({**OPTIONS, "watch_metrics": metrics, "retention_days": asked}, HOSTS)
    assert made["retention_days"] == days


def test_without_rule_files_nothing_would_be_watched(tmp_path):
    with pytest.raises(Refusal, match="rules_missing"):
        monitoring_files.prometheus({**OPTIONS, "rules_path": str(tmp_path)}, HOSTS)


def test_alertmanager_has_its_configuration_and_the_names_of_its_secrets():
    made = monitoring_files.alertmanager(copy.deepcopy(test_alert_routing.OPTIONS))
    assert yaml.safe_load(made["configuration"])["route"]["receiver"] == "everyone"
    assert sorted(made["secrets"]) == ["email_password", "pagerduty_routing_key", "slack_url", "webhook_authorization"]


def test_values_of_ansibles_classes_are_written_as_plain_ones():
    hosts = {Tagged("prod-1"): {"address": Tagged("10.0.0.1"), "environment": Tagged("prod")}}
    assert "!!" not in monitoring_files.prometheus(OPTIONS, hosts)["configuration"]


@pytest.mark.parametrize(
    ("address", "tls", "lines"), [("127.0.0.1", test_scraping.NO_TLS, 1), ("10.0.0.1", test_scraping.TLS, 7)]
)
def test_what_listens_has_a_file_that_says_how(address, tls, lines):
    assert (
        len(monitoring_files.listener({"address": address, "ports": [1], "tls": tls})["configuration"].splitlines())
        == lines
    )


@pytest.mark.parametrize(
    ("address", "text"),
    [("127.0.0.1", "127.0.0.1:9090"), ("::1", "[::1]:9090"), ("[::1]", "[::1]:9090"), ("localhost", "localhost:9090")],
)
def test_what_listens_is_told_where(address, text):
    made = monitoring_files.listener({"address": address, "ports": [9090, 1], "tls": test_scraping.NO_TLS})
    assert made["listens"] == [text, text.replace("9090", "1")]


@pytest.mark.parametrize("port", [0, 65536, 99999, -1])
def test_what_is_no_port_is_refused_before_it_is_on_a_host(port):
    with pytest.raises(Refusal, match="scraping_invalid"):
        monitoring_files.listener({"address": "127.0.0.1", "ports": [9090, port], "tls": test_scraping.NO_TLS})


@pytest.mark.parametrize(
    "keys",
    [
        {"watch_repeat_hours": 0},
        {"watch_repeat_hours": -3},
        {"watch_repeat_hours": 8761},
        {"retention_days": -5},
        {"retention_days": 0},
    ],
)
def test_a_time_that_is_none_is_refused(keys):
    with pytest.raises(Refusal) as refusal:
        monitoring_files.prometheus({**OPTIONS, **keys}, HOSTS)
    assert refusal.value.reason == "scraping_invalid"
    assert f"prometheus.{next(iter(keys))}" in refusal.value.expected


@pytest.mark.parametrize("annotations", ["text", ["a"], {"summary": {"a": 1}}])
def test_annotations_of_a_release_that_are_none_are_refused(annotations):
    text = yaml.safe_dump(
        {"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up", "annotations": annotations}]}]}
    )
    with pytest.raises(Refusal, match="rules_invalid"):
        monitoring_files.application_rules(text, TESTS, "hello", "https://wiki.example")


def test_a_rule_of_a_release_without_annotations_is_taken():
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": "up", "annotations": None}]}]})
    assert "release" in monitoring_files.application_rules(text, TESTS, "hello", "https://wiki.example")


def test_the_rules_of_a_release_are_kept_with_what_every_message_says():
    text, tests = (
        (repository.ROOT / "examples/hello/monitoring" / name).read_text() for name in ("rules.yml", "rules_test.yml")
    )
    made = yaml.safe_load(monitoring_files.application_rules(text, tests, "hello", "https://wiki.example"))
    rules = made["groups"][0]["rules"]
    assert [(rule["alert"], rule["expr"], rule.get("for")) for rule in rules] == [
        (
            "CriticalLatencyP99High",
            "histogram_quantile(0.99, rate(risk_enforcement_duration_seconds_bucket[5m])) > 0.000025",
            "30s",
        ),
        ("CriticalAuditLogWriteErrors", "increase(audit_log_write_errors_total[1m]) >= 1", "0s"),
        ("CriticalCircuitBreakerTripped", "increase(circuit_breaker_trips_total[5m]) >= 1", "0s"),
    ]
    assert all(
        set(rule["annotations"]) >= {"release", "last_deployment", "watch_window", "runbook_url"} for rule in rules
    )


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "[]", "groups: 1", "groups: [{name: x}]", "groups: [{name: x, rules: [{expr: up}]}]", "groups: [{name: x, rules: [{alert: SlipwayX, expr: up}]}]", "groups: [{name: x, rules: [{record: 'slipway_watch:open', expr: up}]}]"],
)  # fmt: skip
def test_what_is_no_rule_file_of_an_application_is_refused(text):
    with pytest.raises(Refusal, match=r"rules_invalid.*monitoring/rules\.yml"):
        monitoring_files.application_rules(text, TESTS, "hello", "https://wiki.example")


@pytest.mark.parametrize(
    "tests",
    ["", "a: [", "[]", "tests: [{interval: 1m}]", "rule_files: [other.yml]\ntests: [{interval: 1m}]", "rule_files: [rules.yml]", "rule_files: [rules.yml]\ntests: []", "rule_files: [rules.yml]\ntests: 1"],
)  # fmt: skip
def test_rules_that_nothing_tests_are_refused(tests):
    rules = "groups: [{name: x, rules: [{alert: Down, expr: up == 0}]}]"
    assert "alert: Down" in monitoring_files.application_rules(rules, TESTS, "hello", "https://wiki.example")
    with pytest.raises(Refusal, match=r"rules_invalid.*monitoring/rules_test\.yml"):
        monitoring_files.application_rules(rules, tests, "hello", "https://wiki.example")


def test_the_dashboard_of_a_release_is_kept():
    text = (repository.ROOT / "examples/hello/monitoring/dashboard.json").read_text()
    assert json.loads(monitoring_files.application_dashboard(text, "hello")) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[" * 100000, '{"uid": "a", "title": "a"}', '{"uid": "a", "title": "a", "panels": 1}', '{"uid": "a", "title": "a", "panels": [1]}', '{"uid": "a", "title": "", "panels": []}',
     '{"uid": "", "title": "a", "panels": []}', '{"uid": 1, "title": "a", "panels": []}', '{"uid": "Slipway-fleet", "title": "a", "panels": []}'],
)  # fmt: skip
def test_what_is_no_dashboard_of_an_application_is_refused(text):
    with pytest.raises(Refusal, match=r"dashboard_invalid.*monitoring/dashboard\.json"):
        monitoring_files.application_dashboard(text, "hello")


def test_what_listens_for_everybody_is_refused():
    with pytest.raises(Refusal, match="listening_unguarded"):
        monitoring_files.listener({"address": "10.0.0.1", "ports": [1], "tls": test_scraping.NO_TLS})
