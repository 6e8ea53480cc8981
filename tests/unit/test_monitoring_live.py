# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus and Alertmanager at work on loopback, as Slipway configures them: who hears what, and how often."""

from __future__ import annotations

import re
import threading
import time
from contextlib import ExitStack

import pytest
import repository
import watchers
import yaml
from ansible.module_utils.slipway.base.clock import SystemClock, timestamp
from ansible.module_utils.slipway.controller import canary_run, monitoring_files
from ansible.module_utils.slipway.controller.canary import Analysis
from ansible.module_utils.slipway.controller.prometheus_query import Prometheus
from ansible.module_utils.slipway.watch.metrics import DEPLOY_SECONDS, FAMILIES, Sample, exposition, histogram

from dashboards.boards import BOARDS

TEMPLATE = repository.ROOT / "roles/alertmanager/files/slipway.tmpl"
HELLO = (repository.ROOT / "examples/hello/monitoring/rules.yml").read_text()
HELLO_TESTS = (repository.ROOT / "examples/hello/monitoring/rules_test.yml").read_text()
KEY, TOKEN = "routing-key-4711", "token-0815"
HOOK, PAGER, SLACK = "/hook", "/v2/enqueue", "/slack"


@pytest.fixture
def sinks():
    with watchers.listening(watchers.Listener()) as listener:
        yield listener


def configuration(tmp_path, sinks, **changes):
    """Alertmanager's, with all channels at the sinks and secrets in files as the role writes them; without mail."""
    url = f"http://127.0.0.1:{sinks.port}"
    everybody = ["pagerduty", "slack", "webhook"]
    options = {
        "pagerduty": {"enabled": True, "routing_key_secret": "alerting/pagerduty", "url": f"{url}{PAGER}"},
        "slack": {"enabled": True, "url_secret": "alerting/slack", "channel": "#alerts"},
        "email": {"enabled": False},
        "webhook": {"enabled": True, "url": f"{url}{HOOK}", "authorization_type": "Bearer", "authorization_secret": "alerting/hook"},
        "routes": {"prod": {"critical": everybody, "warning": ["slack"]}},
        "quiet_hours": [], "repeat_hours": 6, "watch_repeat_usual_hours": 2, "watch_repeat_hours": [1], "group_wait_seconds": 0,
        "group_interval_seconds": 1, "watchdog_url": "", **changes,
    }  # fmt: skip
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, value in (
        ("pagerduty_routing_key", KEY),
        ("slack_url", f"{url}{SLACK}"),
        ("webhook_authorization", TOKEN),
    ):
        (secrets / name).write_text(value)
    text = monitoring_files.alertmanager(options)["configuration"]
    return text.replace("/etc/prometheus/secrets", str(secrets)).replace(
        "/etc/prometheus/alertmanager_templates/slipway.tmpl", str(TEMPLATE)
    )


def alert(severity="critical", ends=3600, **labels):
    """One as the agent of a host gives it."""
    now = int(time.time())
    return {
        "labels": {"alertname": "heartbeat_lapse", "severity": severity, "environment": "prod", "application": "hello", "instance": "prod-1", **labels},
        "annotations": {
            "summary": "heartbeat lapsed: 437 s", "runbook_url": "https://wiki.example/heartbeat-lapse", "release": "v2",
            "last_deployment": "v2 deploy success", "watch_window": "closed",
        },
        "startsAt": timestamp(now - 10), "endsAt": timestamp(now + ends),
    }  # fmt: skip


def heard(sinks, path, count=1):
    """The first bodies of a path, once there are so many."""
    return watchers.until(lambda: len(sinks.of(path)) >= count and sinks.of(path), f"{count} messages to {path}")


def test_everybody_hears_of_an_alert_once_with_all_that_they_need_and_of_its_end(tmp_path, sinks):
    with watchers.alertmanager(tmp_path, configuration(tmp_path, sinks)) as manager:
        manager.post([alert()])
        (page,), (message,), (hook,) = (heard(sinks, path) for path in (PAGER, SLACK, HOOK))
        assert (page["routing_key"], page["event_action"], page["payload"]["severity"]) == (KEY, "trigger", "critical")
        assert page["payload"]["summary"] == "[CRITICAL] heartbeat_lapse"
        details = page["payload"]["custom_details"]
        assert (details["release"], details["last_deploy"], details["window"]) == ("v2", "v2 deploy success", "closed")
        assert details["context"] == "application=hello environment=prod instance=prod-1 (1 in all)"
        (attachment,) = message["attachments"]
        assert (attachment["color"], attachment["title"]) == ("danger", "[CRITICAL] heartbeat_lapse")
        assert attachment["title_link"] == "https://wiki.example/heartbeat-lapse"
        assert "heartbeat lapsed: 437 s" in attachment["text"]
        reader = (repository.ROOT / "docs/howto/read-an-alert.md").read_text(encoding="utf-8")
        shown = [line.partition(":")[0] for line in attachment["text"].splitlines()[2:]]
        assert shown == re.findall(r"^▌ ([a-z ]+): ", reader, re.MULTILINE)[-len(shown) :]
        assert hook["status"] == "firing"
        (asked,) = [each for each in sinks.heard if each.path == HOOK]
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
        manager.post([alert(ends=-1)])
        assert heard(sinks, PAGER, 2)[1]["event_action"] == "resolve"
        assert heard(sinks, PAGER, 2)[1]["dedup_key"] == page["dedup_key"]
        assert heard(sinks, SLACK, 2)[1]["attachments"][0]["color"] == "good"
        assert heard(sinks, HOOK, 2)[1]["status"] == "resolved"
        assert [len(sinks.of(path)) for path in (PAGER, SLACK, HOOK)] == [2, 2, 2]
    log = (tmp_path / "prometheus-alertmanager.log").read_text()
    assert KEY not in log
    assert TOKEN not in log


def test_ten_thousand_times_the_same_alert_is_one_message_for_each_receiver(tmp_path, sinks):
    with watchers.alertmanager(tmp_path, configuration(tmp_path, sinks)) as manager:
        same = alert()
        for _ in range(100):
            manager.post([same] * 100)
        # Whatever comes after them is heard when they are all through.
        manager.post([alert(check="another")])
        for path in (PAGER, SLACK, HOOK):
            assert len(heard(sinks, path, 2)) == 2


def test_what_is_critical_silences_its_warning_and_a_host_that_is_gone_all_else_of_it(tmp_path, sinks):
    with watchers.alertmanager(tmp_path, configuration(tmp_path, sinks)) as manager:
        manager.post([alert(alertname="SlipwayHostUnreachable")])
        heard(sinks, PAGER)
        manager.post([alert(), alert("warning")])
        manager.post([alert(instance="prod-2")])
        heard(sinks, PAGER, 2)
        manager.post([alert("warning", instance="prod-2")])
        manager.post([alert("warning", instance="prod-3")])
        titles = [
            (each["attachments"][0]["title"], each["attachments"][0]["text"].partition("instance=")[2][:6])
            for each in heard(sinks, SLACK, 3)
        ]
        assert titles == [
            ("[CRITICAL] SlipwayHostUnreachable", "prod-1"),
            ("[CRITICAL] heartbeat_lapse", "prod-2"),
            ("[WARNING] heartbeat_lapse", "prod-3"),
        ]


def test_an_alertmanager_that_was_killed_loses_nothing_that_it_is_told_again(tmp_path, sinks):
    text, port = configuration(tmp_path, sinks), watchers.free_port()
    with watchers.alertmanager(tmp_path, text, port) as manager:
        manager.post([alert()])
        heard(sinks, SLACK)
        manager.process.kill()
        manager.process.wait(30)
    with watchers.alertmanager(tmp_path, text, port) as manager:
        manager.post([alert(), alert(check="another")])
        watchers.until(
            lambda: any("check=another" in str(body) for body in sinks.of(SLACK)), "what came after it was killed"
        )
        # It keeps what it sent every 15 minutes and when it is ended, so that one that was killed may say one thing twice.
        assert len(sinks.of(SLACK)) <= 3


# Prometheus


def of_hello(seconds, requests, errors):
    """What the example application serves."""
    return f"""\
http_requests_total{{code="200"}} {requests - errors}
http_requests_total{{code="500"}} {errors}
http_request_duration_seconds_bucket{{le="0.1"}} {requests}
http_request_duration_seconds_bucket{{le="+Inf"}} {requests}
risk_enforcement_duration_seconds_bucket{{le="0.000025"}} {requests}
risk_enforcement_duration_seconds_bucket{{le="+Inf"}} {requests}
audit_log_write_errors_total {errors}
circuit_breaker_trips_total {seconds // 1000000}
hello_intraday_hit_ratio 0.6
"""


def of_node(seconds):
    """What the node exporter of a host serves, and below it what its agent has left there: every metric of the table."""
    samples, now = [], int(time.time())
    for name, family in FAMILIES.items():
        labels = {
            label: {"application": "hello", "metric": "intraday_hit_ratio_drop", "outcome": "success"}.get(label, "x")
            for label in family.labels
        }
        if name == "slipway_deploys_total":
            samples += [
                Sample(name, count, {**labels, "outcome": outcome})
                for outcome, count in (("success", seconds), ("failed", 1))
            ]
        elif family.kind == "histogram":
            samples += histogram(name, labels, [3.0], DEPLOY_SECONDS)
        elif name.endswith("timestamp_seconds"):
            samples.append(Sample(name, now + (3600 if "window" in name else -60), labels))
        else:
            samples.append(
                Sample(
                    name,
                    {"slipway_watch_repeat_seconds": 3600, "slipway_watch_threshold_ratio": 0.05}.get(name, 1),
                    labels,
                )
            )
    return (
        exposition(samples)
        + f"""\
node_filesystem_avail_bytes{{mountpoint="/",fstype="ext4"}} 5e9
node_filesystem_size_bytes{{mountpoint="/",fstype="ext4"}} 9e9
node_memory_MemAvailable_bytes 1e9
node_memory_MemTotal_bytes 2e9
node_cpu_seconds_total{{cpu="0",mode="idle"}} {seconds}
"""
    )


class Fleet:
    """Hosts whose numbers grow: each second so many requests, of which on some hosts some fail."""

    def __init__(self, stack, names):
        self.errors = dict.fromkeys(names, 0)
        self.listeners = {name: stack.enter_context(watchers.listening(watchers.Listener())) for name in names}
        self.seconds, self.end = 0, threading.Event()
        self.grow()
        thread = threading.Thread(target=self.live, daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        stack.callback(self.end.set)

    def live(self):
        while not self.end.wait(0.2):
            self.grow()

    def grow(self):
        self.seconds += 1
        for name, listener in self.listeners.items():
            listener.texts["/metrics"] = of_node(self.seconds)
            listener.texts["/hello"] = of_hello(self.seconds, 100 * self.seconds, self.errors[name] * self.seconds)

    def configuration(self, tmp_path, alertmanager=""):
        """Prometheus' own configuration by Slipway, with each host at the port of its listener and everything every second."""
        options = {
            "applications": {"hello": {"port": 1, "path": "/hello", "tls_enabled": False}}, "alertmanagers": [alertmanager] if alertmanager else [],
            "agents_port": 1, "tls": dict.fromkeys(("certificate", "key", "authority"), ""),
            "rules_path": str(repository.ROOT / "roles/prometheus/files/rules"), "runbooks_url": "https://wiki.example",
            "watch_metrics": {"hello": {"intraday_hit_ratio_drop": {
                "expression": "hello_intraday_hit_ratio", "normal": {"drop_percent": 10, "window_hours": 24},
                "heightened": {"drop_percent": 5, "window_hours": 6}}}},
            "watch_repeat_hours": 2, "retention_days": 15,
        }  # fmt: skip
        made = monitoring_files.prometheus(
            options, {name: {"address": "127.0.0.1", "environment": "prod"} for name in self.listeners}
        )
        rules = tmp_path / "rules"
        rules.mkdir()
        for name, text in (
            *made["rules"].items(),
            ("hello.yml", monitoring_files.application_rules(HELLO, HELLO_TESTS, "hello", "https://wiki.example")),
        ):
            (rules / name).write_text(text.replace("interval: 5m", "interval: 1s"))
        document = yaml.safe_load(
            re.sub(r"(scrape_interval|evaluation_interval|scrape_timeout): \d+s", r"\1: 1s", made["configuration"])
        )
        document["rule_files"] = [f"{rules}/*.yml"]
        for job in document["scrape_configs"]:
            for target in job["static_configs"]:
                target["targets"] = [f"127.0.0.1:{self.listeners[target['labels']['instance']].port}"]
        return yaml.safe_dump(document)


def past():
    """Three days of what is recorded of a metric, which was better then."""
    now = int(time.time()) // 300 * 300
    labels = '{environment="prod",application="hello",metric="intraday_hit_ratio_drop"}'
    return [
        "# TYPE slipway_watch:value gauge",
        *(f"slipway_watch:value{labels} 0.64 {now - seconds}" for seconds in range(3 * 86400, 0, -300)),
    ]


def test_every_query_of_every_dashboard_is_answered_with_data_and_a_canary_is_judged_by_the_same_numbers(tmp_path):
    with ExitStack() as stack:
        fleet = Fleet(stack, ["prod-1", "prod-2"])
        fleet.errors["prod-1"] = 30
        watchers.backfill(tmp_path, past())
        server = stack.enter_context(watchers.prometheus_server(tmp_path, fleet.configuration(tmp_path)))
        queries = {
            (board.title, panel.title, re.sub(r"\$(application|environment)", ".*", query))
            for board in BOARDS.values() for panel in board.panels() for query in panel.queries.values()
        }  # fmt: skip
        missing = {}

        def answered():
            missing.clear()
            missing.update({(board, panel): query for board, panel, query in queries if not server.query(query)})
            return not missing

        try:
            watchers.until(answered, "data for every panel")
        except AssertionError:
            raise AssertionError(missing) from None

        measures = {
            "errors": {
                "query": 'sum(rate(http_requests_total{code="500",instance=~"$hosts"}[5s])) / sum(rate(http_requests_total{instance=~"$hosts"}[5s]))',
                "worse_percent": 50, "worse_by": 0.01,
            }
        }  # fmt: skip
        analysis = Analysis.parse({"interval_seconds": 1, "measures": measures})
        ask = Prometheus(server.url).number

        def compared(new, old):
            return canary_run.compare_in_soak(analysis, ask, SystemClock(), new=[new], old=[old], seconds=5)

        worse, well = compared("prod-1", "prod-2"), compared("prod-2", "prod-1")
        assert (worse["outcome"], well["outcome"]) == ("failure", "success")
        assert worse["detail"].startswith("errors: 0.3 beside 0, worse by more than 50 %, 3 times in a row")
        unknown = compared("prod-3", "prod-2")
        assert unknown["outcome"] == "inconclusive"
        assert "0 values instead of one" in unknown["detail"] or "0 of 3 measurements" in unknown["detail"]


def test_a_metric_becomes_a_page_that_says_release_deployment_and_window_and_a_host_that_is_cut_off_does_too(
    tmp_path, sinks
):
    with ExitStack() as stack:
        manager = stack.enter_context(watchers.alertmanager(tmp_path, configuration(tmp_path, sinks)))
        fleet = Fleet(stack, ["prod-1"])
        server = stack.enter_context(
            watchers.prometheus_server(tmp_path, fleet.configuration(tmp_path, manager.url.removeprefix("http://")))
        )
        watchers.until(lambda: server.query('audit_log_write_errors_total{instance="prod-1"}'), "the first scrape")
        fleet.errors["prod-1"] = 1
        pages = watchers.until(
            lambda: [each for each in sinks.of(PAGER) if "AuditLog" in each["payload"]["summary"]], "the page"
        )
        assert pages[0]["payload"]["summary"] == "[CRITICAL] CriticalAuditLogWriteErrors"
        details = pages[0]["payload"]["custom_details"]
        assert details["release"] == "x"
        assert re.fullmatch(r"20\d\d-.* UTC", details["last_deploy"])
        assert details["window"].startswith("open for ")
        assert details["runbook"] == "https://wiki.example/alerts.md#criticalauditlogwriteerrors"
        watchers.until(lambda: server.query('ALERTS{alertname="SlipwayWatchdog",alertstate="firing"}'), "the watchdog")
        assert not [each for each in sinks.heard if "Watchdog" in str(each.body)]
        fleet.listeners["prod-1"].texts.clear()
        fleet.grow = fleet.listeners["prod-1"].texts.clear
        watchers.until(
            lambda: server.query('ALERTS{alertname="SlipwayHostUnreachable",alertstate="pending",instance="prod-1"}'),
            "the absence rule",
        )
        assert (server.query('up{job="slipway-agents",instance="prod-1"}'))[0]["value"][1] == "0"
