# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus asks, how often, and that nothing leaves loopback without TLS."""

from __future__ import annotations

import copy
import re
import subprocess

import pytest
import repository
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import scraping
from ansible.module_utils.slipway.controller.scraping import Scraping, Tls, configuration, rule_file

from lab import prometheus

TLS = {
    "certificate": "/etc/slipway/monitoring/certificate.pem",
    "key": "/etc/slipway/monitoring/key.pem",
    "authority": "/etc/slipway/monitoring/authority.pem",
}
NO_TLS = dict.fromkeys(TLS, "")
OPTIONS = {
    "hosts": {"prod-1": {"address": "10.0.0.1", "environment": "prod"}, "staging-1": {"address": "app.example", "environment": "staging"}},
    "applications": {"hello": {"port": 8080, "path": "/metrics", "tls_enabled": False}},
    "alertmanagers": ["127.0.0.1:9093"],
    "agents_port": 9100,
    "tls": TLS,
}  # fmt: skip


def made(**changes):
    return configuration(Scraping.parse(copy.deepcopy({**OPTIONS, **changes})))


def job(name, **changes):
    (found,) = [each for each in made(**changes)["scrape_configs"] if each["job_name"] == name]
    return found


def test_hosts_are_asked_every_fifteen_seconds_and_applications_every_five():
    assert job("slipway-agents")["scrape_interval"] == "15s"
    assert job("slipway-applications-hello")["scrape_interval"] == "5s"
    assert made()["global"]["evaluation_interval"] == "15s"


def test_each_target_says_whose_it_is():
    assert job("slipway-agents")["static_configs"] == [
        {"targets": ["10.0.0.1:9100"], "labels": {"instance": "prod-1", "environment": "prod"}},
        {"targets": ["app.example:9100"], "labels": {"instance": "staging-1", "environment": "staging"}},
    ]
    assert job("slipway-applications-hello")["static_configs"][0] == {
        "targets": ["10.0.0.1:8080"],
        "labels": {"instance": "prod-1", "environment": "prod", "application": "hello"},
    }


def test_an_address_of_version_six_stands_in_brackets():
    hosts = {"prod-1": {"address": "2001:db8::1", "environment": "prod"}}
    assert job("slipway-agents", hosts=hosts)["static_configs"][0]["targets"] == ["[2001:db8::1]:9100"]
    local = {"prod-1": {"address": "::1", "environment": "prod"}}
    found = made(hosts=local, tls=NO_TLS, applications={}, alertmanagers=["[::1]:9093"])
    assert found["scrape_configs"][0]["static_configs"][0]["targets"] == ["[::1]:9100"]
    assert found["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["[::1]:9093"]


def test_hosts_are_asked_over_tls_with_a_certificate():
    asked = job("slipway-agents")
    assert asked["scheme"] == "https"
    assert asked["tls_config"] == {"ca_file": TLS["authority"], "cert_file": TLS["certificate"], "key_file": TLS["key"]}
    served = job(
        "slipway-applications-hello", applications={"hello": {"port": 9900, "path": "/metrics", "tls_enabled": True}}
    )
    assert served["scheme"] == "https"
    assert "scheme" not in job("slipway-applications-hello")


@pytest.mark.parametrize(
    "changes",
    [
        {"tls": NO_TLS},
        {"tls": NO_TLS, "hosts": {}, "alertmanagers": ["10.0.0.9:9093"]},
        {"tls": NO_TLS, "hosts": {}, "alertmanagers": ["watch.example:9093"]},
        {
            "tls": NO_TLS,
            "alertmanagers": [],
            "hosts": {"a": {"address": "0.0.0.0", "environment": "prod"}},
        },  # what is refused
    ],
)
def test_nothing_leaves_loopback_without_it(changes):
    with pytest.raises(Refusal, match="listening_unguarded") as refusal:
        made(**changes)
    offered = (repository.ROOT / "docs/reference/variables.md").read_text(encoding="utf-8")
    named = re.findall(r"[a-z]+(?:_[a-z]+)+", refusal.value.remedy)
    assert named
    assert all(f"`{name}`" in offered for name in named)


def test_loopback_needs_none():
    local = {"tls": TLS, "hosts": {"prod-1": {"address": "127.0.0.1", "environment": "prod"}}}
    assert "scheme" not in job("slipway-agents", **local)
    assert "scheme" not in made()["alerting"]["alertmanagers"][0]
    assert made(alertmanagers=["10.0.0.9:9093"])["alerting"]["alertmanagers"][0]["scheme"] == "https"


@pytest.mark.parametrize(
    ("address", "is_loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True), ("", False), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback_is_what_only_this_host_reaches(address, is_loopback):
    assert scraping.is_loopback(address) is is_loopback


def test_what_listens_beyond_loopback_asks_for_a_certificate():
    web = scraping.web_configuration("10.0.0.1", Tls(**TLS))
    assert web["tls_server_config"]["client_auth_type"] == "RequireAndVerifyClientCert"
    assert scraping.web_configuration("127.0.0.1", None) is None
    assert scraping.web_configuration("127.0.0.1", Tls(**TLS)) is None
    with pytest.raises(Refusal) as refusal:
        scraping.web_configuration("", None)
    assert refusal.value.reason == "listening_unguarded"


def test_prometheus_takes_the_configuration(tmp_path):
    for name in TLS.values():
        (tmp_path / name.rpartition("/")[2]).touch()
    text = yaml.safe_dump(made()).replace("/etc/slipway/monitoring", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    run = subprocess.run(
        [prometheus.ensure() / "promtool", "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hosts": {"a b": {}}}, "member names like"),
        ({"hosts": {"a": {"address": "a b", "environment": "prod"}}}, "a string like"),
        ({"applications": {"hello": {"port": 0, "path": "/metrics", "tls_enabled": False}}}, "a port"),
        ({"applications": {"hello": {"port": True, "path": "/metrics", "tls_enabled": False}}}, "a port"),
        ({"applications": {"hello": {"port": 80, "path": "metrics", "tls_enabled": False}}}, "a string like"),
        ({"alertmanagers": ["http://x:1"]}, "addresses such as"),
        ({"alertmanagers": ["10.0.0.9:99999"]}, "addresses such as"),
        ({"alertmanagers": ["10.0.0.9:0"]}, "addresses such as"),
        ({"alertmanagers": ["::1:9093"]}, "addresses such as"),
        ({"agents_port": 99999}, "a port"),
        ({"tls": {**TLS, "key": ""}}, "a certificate, its key and the authority"),
        ({"more": 1}, "no further member"),
    ],
)
def test_what_is_no_target_is_refused(changes, expected):
    with pytest.raises(Refusal) as refusal:
        made(**changes)
    assert refusal.value.reason == "scraping_invalid"
    assert expected in refusal.value.expected


RULES = {
    "groups": [
        {
            "name": "g",
            "rules": [
                {"record": "a:b", "expr": "1"},
                {
                    "alert": "A", "expr": "up == 0", "labels": {"severity": "critical"},
                    "annotations": {"summary": "x", "runbook_url": "https://slipway.example/runbooks/alerts.md#a"},
                },
            ],
        }
    ]
}  # fmt: skip


def test_an_alert_may_say_nothing_of_its_own():
    alert = {"alert": "A", "expr": "up == 0", "annotations": None}
    (group,) = rule_file({"groups": [{"name": "g", "rules": [alert]}]}, "https://wiki.example")["groups"]
    assert group["rules"][0]["annotations"] == scraping.CONTEXT


def test_an_alert_links_to_this_sites_runbooks_and_says_release_deployment_and_window(tmp_path):
    made_rules = rule_file(RULES, "https://wiki.example/runbooks/")
    recorded, alert = made_rules["groups"][0]["rules"]
    assert recorded == {"record": "a:b", "expr": "1"}
    assert alert["annotations"]["runbook_url"] == "https://wiki.example/runbooks/alerts.md#a"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(made_rules))
    labels = 'application="hello",environment="prod"'
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": f'up{{{labels},instance="prod-1"}}', "values": "0x9"},
                    {"series": 'up{application="shop",environment="prod",instance="prod-1"}', "values": "0x9"},
                    {"series": f'slipway_release_info{{{labels},instance="prod-1",release="v2"}}', "values": "1x9"},
                    {"series": f'slipway_release_deployed_timestamp_seconds{{{labels},instance="prod-1"}}', "values": "1800000000x9"},
                    {"series": f'slipway_watch_window_seconds_left{{{labels},instance="prod-1"}}', "values": "7200x9"},
                    {"series": f'slipway_watch_window_seconds_left{{{labels},instance="prod-2"}}', "values": "0x9"},
                ],
                "alert_rule_test": [
                    {
                        "eval_time": "15s",
                        "alertname": "A",
                        "exp_alerts": [
                            {
                                "exp_labels": {"severity": "critical", "application": "hello", "environment": "prod", "instance": "prod-1"},
                                "exp_annotations": {
                                    "summary": "x", "runbook_url": "https://wiki.example/runbooks/alerts.md#a", "release": "v2",
                                    "last_deployment": "2027-01-15 08:00:00 +0000 UTC", "watch_window": "open for 2h 0m 0s",
                                },
                            },
                            {
                                "exp_labels": {"severity": "critical", "application": "shop", "environment": "prod", "instance": "prod-1"},
                                "exp_annotations": {
                                    "summary": "x", "runbook_url": "https://wiki.example/runbooks/alerts.md#a", "release": "",
                                    "last_deployment": "", "watch_window": "",
                                },
                            },
                        ],
                    }
                ],
            }
        ],
    }  # fmt: skip
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    run = subprocess.run(
        [prometheus.ensure() / "promtool", "test", "rules", tmp_path / "test.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
