# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus, Alertmanager and exporters on real hosts: put there in one run, asked over TLS, and heard of by a sink on the controller."""

from __future__ import annotations

import hmac
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import balancers
import pytest
import watchers
import yaml
from deployments import UNWATCH, Application, Done, Operator, Running, approve, until

from lab import ssh
from lab.hosts import in_parallel

HELLO = Path(__file__).parents[2] / "examples/hello"
WATCHES, HOST, LOST = "staging-1", "prod-1", "prod-2"
MONITORING = Path(__file__).parents[2] / "group_vars/all/monitoring.yml"
# What the service was given goes with it: a test that comes afterwards has another key.
UNDEPLOY = """
systemctl stop hello.service; find /srv/hello /var/lib/slipway/hello -mindepth 1 -delete
rm -rf /etc/systemd/system/hello.service.d; systemctl daemon-reload
"""
# It brings packages to four hosts.
OBSERVE_SECONDS = 900
# Python on a host asks an address with the host's certificate, or without one.
ASK = """
import ssl, sys, urllib.request
context = ssl.create_default_context(cafile="/etc/slipway/monitoring/authority.pem")
if sys.argv[2] == "certificate":
    context.load_cert_chain("/etc/slipway/monitoring/certificate.pem", "/etc/slipway/monitoring/key.pem")
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=10, context=context)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
"""


@pytest.fixture(scope="module")
def sink(operator: Operator) -> Iterator[watchers.Listener]:
    """A webhook on the controller, at the address by which hosts reach it."""
    gateway = operator.fleet.inside(HOST, "ip route show default").stdout.split()[2]
    with watchers.listening(watchers.Listener(), address=gateway) as listener:
        yield listener


@pytest.fixture(scope="module")
def observed(operator: Operator, sink: watchers.Listener) -> Iterator[Operator]:
    """The operator once everything is in place."""
    url = f"http://{sink.address}:{sink.port}"
    secrets = {"alerting/slack": {"value": f"{url}/slack"}, "alerting/pagerduty": {"value": "a-routing-key"}}
    keep(operator, "staging", secrets)
    observe(operator, sink)
    again = observe(operator, sink, "-l", f"{WATCHES},{HOST}")
    assert set(re.findall(r"changed=(\d+)", again.output)) == {"0"}, again.output
    yield operator
    in_parallel(
        lambda host: operator.fleet.inside(host.name, f"{UNWATCH} {UNDEPLOY}", check=False), operator.fleet.record.hosts
    )


def keep(operator: Operator, environment: str, secrets: dict[str, dict[str, str]]) -> None:
    """Put secrets into the store of an environment."""
    where = ("-e", f"secret_environment={environment}")
    operator.play("playbooks/secrets_store.yml", *where)
    for name, fields in secrets.items():
        path = operator.state / "fields.json"
        path.write_text(json.dumps(fields))
        operator.play("playbooks/secret.yml", *where, "-e", f"secret_name={name}", "-e", f"secret_file={path}")
        path.unlink()


def observe(operator: Operator, sink: watchers.Listener, *words: str) -> Done:
    url = f"http://{sink.address}:{sink.port}"
    tls = yaml.safe_load(MONITORING.read_text(encoding="utf-8"))["slipway_monitoring_tls"]
    variables = {
        "alertmanager_webhook_enabled": True,
        "alertmanager_webhook_url": f"{url}/hook",
        "alertmanager_slack_enabled": True,
        "alertmanager_pagerduty_enabled": True,
        "alertmanager_pagerduty_url": f"{url}/pagerduty",
        "alertmanager_group_interval_seconds": 1,
        "heartbeat_flap_falls": 60,
        "heartbeat_checks": [
            {"name": "unit", "kind": "unit", "options": {"unit": "hello.service"}},
            {"name": "room", "kind": "disk", "interval_seconds": 600, "severity": "WARNING"},
        ],
        "heartbeat_channels": {
            "alertmanager": {
                "enabled": True,
                "url": f"https://{address(operator, WATCHES)}:9093",
                "ca_file": tls["authority"],
                "certificate_file": tls["certificate"],
                "key_file": tls["key"],
            },
            "webhook": {"enabled": True, "url": f"{url}/direct", "cleartext_accepted": True},
        },
    }
    return operator.start("playbooks/observe.yml", "-e", json.dumps(variables), *words).end(0, OBSERVE_SECONDS)


def asked(operator: Operator, url: str, *, certificate: bool = True, host: str = WATCHES) -> tuple[int, str]:
    """What a host is answered: the status and the text; (0, why) where the connection was refused."""
    word = "certificate" if certificate else "nothing"
    done = operator.fleet.inside(host, f"python3 -c '{ASK}' {url} {word}", check=False)
    if done.returncode:
        return 0, done.stderr
    status, _, text = done.stdout.partition("\n")
    return int(status), text


def address(operator: Operator, host: str) -> str:
    return operator.fleet.host(host).address


def series(operator: Operator, expression: str) -> list[dict[str, Any]]:
    status, text = asked(operator, f"http://127.0.0.1:9090/api/v1/query?query={expression}")
    return json.loads(text)["data"]["result"] if status == 200 else []


def test_only_who_has_a_certificate_is_answered_and_nothing_listens_elsewhere(observed: Operator) -> None:
    for port in (9100, 9900):
        url = f"https://{address(observed, HOST)}:{port}/metrics"
        status, text = asked(observed, url, certificate=False)
        assert status == 0, text
        assert re.search(r"certificate|reset|alert|closed", text), text
    assert asked(observed, f"https://{address(observed, HOST)}:9900/health/live") == (
        200,
        '{\n  "status": "alive"\n}\n\n',
    )
    assert asked(observed, f"https://{address(observed, HOST)}:9100/metrics")[0] == 200
    for host in (WATCHES, HOST):
        listening = observed.fleet.inside(host, "ss --listening --tcp --numeric --no-header").stdout
        mine = [
            line.split()[3] for line in listening.splitlines() if re.search(r":(9[01]\d\d|9\d\d\d)\b", line.split()[3])
        ]
        assert {each.rpartition(":")[0] for each in mine} <= {"127.0.0.1", address(observed, host)}
        assert len(mine) == (4 if host == WATCHES else 2)
    journal = observed.fleet.inside(HOST, "journalctl --unit slipway-exporter.service --no-pager --output cat").stdout
    assert '"GET /health/live HTTP/1.1" 200' in journal


def test_the_exporter_may_do_next_to_nothing(observed: Operator) -> None:
    said = observed.fleet.inside(HOST, "systemd-analyze security --no-pager slipway-exporter.service").stdout
    exposure = re.search(r"Overall exposure level for slipway-exporter.service: ([\d.]+)", said)
    assert exposure
    assert float(exposure[1]) <= 2.0


def test_prometheus_asks_every_host_and_takes_every_rule(observed: Operator) -> None:
    hosts = {host.name for host in observed.fleet.record.hosts}
    until(
        lambda: (
            {
                each["metric"]["instance"]
                for each in series(observed, "up==1")
                if each["metric"]["job"] == "slipway-agents"
            }
            == hosts
        ),
        "every host to be scraped",
    )
    until(lambda: series(observed, "ALERTS{alertname=%22SlipwayWatchdog%22}"), "the watchdog")
    log = observed.fleet.inside(WATCHES, "journalctl --unit prometheus.service --no-pager --output cat").stdout
    assert "level=error" not in log


def test_an_agent_that_has_stopped_and_a_host_that_is_cut_off_become_messages_of_this_site(
    observed: Operator, sink: watchers.Listener
) -> None:
    """The agent's file says that it ended its last run long ago: as it stands there after an agent has died. Both at once, since it takes time."""

    def messages(alert: str, status: str) -> list[Any]:
        heard = [each for each in sink.of("/hook") if each["commonLabels"]["alertname"] == alert]
        return [each for each in heard if each["status"] == status]

    directory = "/var/lib/prometheus/node-exporter"
    observed.fleet.inside(HOST, "systemctl stop slipway-heartbeat.timer slipway-heartbeat.service")
    text = "# TYPE slipway_agent_last_run_timestamp_seconds gauge\\nslipway_agent_last_run_timestamp_seconds 1000\\n"
    observed.fleet.inside(HOST, f"printf '{text}' > {directory}/slipway.prom")
    try:
        with observed.fleet.partition(LOST):
            until(lambda: messages("SlipwayHeartbeatStale", "firing"), "the message of the agent")
            status, text = asked(observed, f"https://{address(observed, HOST)}:9900/health/ready")
            assert (status, json.loads(text)["status"]) == (503, "UNHEALTHY")
            until(lambda: messages("SlipwayHostUnreachable", "firing"), "the message of the host", 240)
    finally:
        observed.fleet.inside(HOST, "systemctl start slipway-heartbeat.timer slipway-heartbeat.service")
    for alert, host in (("SlipwayHeartbeatStale", HOST), ("SlipwayHostUnreachable", LOST)):
        until(lambda alert=alert: messages(alert, "resolved"), f"the end of {alert}", 180)  # type: ignore[misc]
        (message,) = messages(alert, "firing")
        labels = message["commonLabels"]
        assert (labels["instance"], labels["severity"], labels["environment"]) == (host, "critical", "prod")
        assert message["commonAnnotations"]["runbook_url"].endswith(f"/alerts.md#{alert.lower()}")


@pytest.fixture(scope="module")
def hello(observed: Operator) -> Application:
    return observed.application("watched", hosts=[HOST], unit=None)


def test_rules_go_live_with_their_release_and_back_with_its_rollback(observed: Operator, hello: Application) -> None:
    follow = {moment: ["roles/prometheus/tasks/follow.yml"] for moment in ("after_confirm", "after_rollback")}
    words = ("-e", json.dumps({"release_hooks": follow}))
    rules = f"/etc/prometheus/rules/applications/{hello.name}.yml"

    def in_force() -> str:
        return observed.fleet.inside(WATCHES, f"cat {rules} 2>/dev/null || true").stdout

    def loaded() -> bool:
        status, text = asked(observed, "http://127.0.0.1:9090/api/v1/rules")
        return status == 200 and "CriticalLatencyP99High" in text

    brought = {f"monitoring/{path.name}": path.read_bytes() for path in (HELLO / "monitoring").iterdir()}
    hello.make("v1")
    hello.make("v2", brought)
    hello.make(
        "v3",
        {**brought, "monitoring/rules_test.yml": brought["monitoring/rules_test.yml"].replace(b"25.5us", b"40us")},
    )
    hello.deploy(*words, "-e", "release_id=v1")
    assert in_force() == ""
    hello.deploy(*words, "-e", "release_id=v2")
    assert "CriticalLatencyP99High" in in_force()
    until(loaded, "the rules of v2")
    hello.rollback(*words)
    assert in_force() == ""
    until(lambda: not loaded(), "the rules of v2 to be gone")
    done = hello.deploy(*words, "-e", "release_id=v3", code=None)
    assert "hook_failed: after_confirm" in done.text
    assert in_force() == ""


@dataclass
class Hello:
    """The example application on one host, whose agent asks every two seconds, and what people hear of it."""

    operator: Operator
    sink: watchers.Listener

    def inside(self, command: str, *, check: bool = True) -> str:
        return self.operator.fleet.inside(HOST, command, check=check).stdout

    def make(self, release_id: str, hit_ratio: float) -> None:
        """Make a release that measures this hit ratio, and brings a rule for it."""
        source = self.operator.state / "sources/hello" / release_id
        shutil.copytree(HELLO, source)
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        measured = {**config, "measures": {"intraday_hit_ratio": hit_ratio}}
        (source / "config.json").write_text(json.dumps(measured))
        (source / "monitoring/rules.yml").write_text(json.dumps(RULES))
        (source / "monitoring/rules_test.yml").write_text(json.dumps(RULES_TEST))
        self.operator.play("playbooks/release.yml", "-e", f"release_source={source}", "-e", f"release_id={release_id}")
        approve(self.operator.state, "hello", release_id)

    def run(self, playbook: str, *words: str) -> Done:
        """A run that tells people, and that the rules follow."""
        return self.start(playbook, *words).end(0)

    def start(self, playbook: str, *words: str, hosts: str = HOST, **more: Any) -> Running:
        """The same, begun, with more variables."""
        follow = {moment: ["roles/prometheus/tasks/follow.yml"] for moment in ("after_confirm", "after_rollback")}
        url = f"http://{self.sink.address}:{self.sink.port}/run"
        variables = {
            "release_hooks": follow,
            "release_notice_channels": {"webhook": {"url": url, "cleartext_accepted": True}},
            "release_credentials": {"signing_key": {"secret": "signing/hello"}},
            **more,
        }
        return self.operator.start(playbook, "-l", hosts, "-e", json.dumps(variables), *words)

    def compare(self, release_id: str, prometheus: str) -> Running:
        """Begin to deploy to a canary, which is compared with the other host while it soaks."""
        measure = {
            "query": 'avg(hello_intraday_hit_ratio{instance=~"$hosts"})',
            "better": "higher",
            "worse_percent": 5,
            "required": 2,
            "failures_max": 2,
        }
        return self.start(
            "deploy.yml", "-e", f"release_id={release_id}", hosts=f"{HOST},{LOST}", release_waves=[1, "100%"],
            release_soak_seconds=20, release_prometheus={"url": prometheus}, release_retry=True,
            release_analysis={"interval_seconds": 5, "measures": {"hit_ratio": measure}},
        )  # fmt: skip

    def served(self) -> list[str]:
        """What the canary and the other host serve."""
        command = "readlink /srv/hello/current"
        return [Path(self.operator.fleet.inside(host, command).stdout.strip()).name for host in (HOST, LOST)]

    @property
    def runs(self) -> list[tuple[str, str]]:
        """What people heard of runs."""
        return [(each["severity"], each["rule"]) for each in self.sink.of("/run")]

    def heard(self, alert: str, path: str = "/hook", status: str = "firing") -> list[Any]:
        """The messages about this alert of this host that came by Alertmanager."""
        return [
            each
            for each in self.sink.of(path)
            if each["status"] == status
            and (each["commonLabels"]["alertname"], each["commonLabels"].get("instance")) == (alert, HOST)
        ]

    def paged(self, action: str) -> list[Any]:
        """What PagerDuty was told of the unit's check."""
        return [
            each
            for each in self.sink.of("/pagerduty")
            if each["event_action"] == action and each["payload"]["custom_details"]["rule"] == "service_unavailable"
            and f"instance={HOST}" in each["payload"]["custom_details"]["context"]
        ]  # fmt: skip

    def slacked(self) -> list[tuple[str, str]]:
        """Titles and colours of what Slack was told of the unit's check."""
        shown = [each["attachments"][0] for each in self.sink.of("/slack")]
        return [
            (each["title"], each["color"])
            for each in shown
            if "service_unavailable" in each["title"] and f"instance={HOST}" in each["text"]
        ]

    def direct(self) -> list[tuple[str, str]]:
        """What the agent of the host delivered by itself."""
        return [
            (each["severity"], each["state"])
            for each in self.sink.of("/direct")
            if (each["host"], each["rule"]) == (HOST, "service_unavailable")
        ]

    def forget(self) -> None:
        self.sink.heard.clear()

    def metric(self, name: str) -> float:
        """A metric of the agent as it stands on the host."""
        text = self.inside("cat /var/lib/prometheus/node-exporter/slipway.prom")
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])


RULES = {
    "groups": [
        {
            "name": "hello",
            "rules": [
                {
                    "alert": "HelloHitRatioLow",
                    "expr": "hello_intraday_hit_ratio < 0.6",
                    "for": "20s",  # by then the agent has said which release that is, and Prometheus has asked it
                    "labels": {"severity": "critical"},
                    "annotations": {"summary": "The hit ratio of {{ $labels.instance }} is {{ $value }}"},
                }
            ],
        }
    ]
}
SERIES = 'hello_intraday_hit_ratio{application="hello",instance="prod-%d"}'
RULES_TEST = {
    "rule_files": ["rules.yml"],
    "evaluation_interval": "5s",
    "tests": [
        {
            "interval": "5s",
            "input_series": [
                {"series": SERIES % 1, "values": "0.58x8"},
                {"series": SERIES % 2, "values": "0.65x8"},
            ],
            "alert_rule_test": [
                {
                    "eval_time": "30s",
                    "alertname": "HelloHitRatioLow",
                    "exp_alerts": [
                        {
                            "exp_labels": {"severity": "critical", "application": "hello", "instance": "prod-1"},
                            "exp_annotations": {"summary": "The hit ratio of prod-1 is 0.58"},
                        }
                    ],
                }
            ],
        }
    ],
}
SECRET = "known-to-nobody-but-hello"


@pytest.fixture(scope="module")
def service(observed: Operator, sink: watchers.Listener) -> Hello:
    """The application while its first release serves with a secret, and its agent asks often."""
    service = Hello(observed, sink)
    keep(observed, "prod", {"signing/hello": {"value": SECRET}})
    service.make("steady", 0.65)
    service.run("deploy.yml", "-e", "release_id=steady")
    timer = "/etc/systemd/system/slipway-heartbeat.timer"
    service.inside(
        f"sed -i 's/^\\(OnBootSec\\|OnUnitActiveSec\\)=.*/\\1=2s/; s/^Random.*/RandomizedDelaySec=0/' {timer}"
    )
    service.inside('sed -i \'s/"interval_seconds": 60/"interval_seconds": 2/\' /etc/slipway/heartbeat.json')
    service.inside("systemctl daemon-reload; systemctl restart slipway-heartbeat.timer")
    until(lambda: '"HEALTHY"' in service.inside("slipway watch status --json", check=False), "a host that is well")
    return service


def test_a_release_with_a_secret_serves_and_people_hear_that_it_does(service: Hello) -> None:
    assert service.runs == [("INFO", "deploy_started"), ("INFO", "deploy_succeeded")]
    challenge = "ab" * 32
    answer = json.loads(
        service.inside(
            'python3 -c "import urllib.request as u; '
            f"print(u.urlopen('http://127.0.0.1:8080/proof?challenge={challenge}').read().decode())\""
        )
    )
    assert answer["proofs"] == {"signing_key": hmac.digest(SECRET.encode(), challenge.encode(), "sha256").hex()}
    shown = service.operator.play("playbooks/status.yml", "-l", HOST)
    assert shown.says("watched more sharply until", "steady on prod-1")
    assert "no agent" not in shown.output
    until(
        lambda: 'secret="signing/hello"' in service.inside("cat /var/lib/prometheus/node-exporter/slipway.prom"),
        "the age of the secret",
    )


def test_one_that_stops_becomes_a_page_and_its_end_is_said(service: Hello) -> None:
    service.forget()
    service.inside("systemctl stop hello.service")
    until(lambda: service.paged("trigger"), "the page")
    service.inside("systemctl start hello.service")
    until(lambda: service.paged("resolve"), "the end of it")
    (page,), (end,) = service.paged("trigger"), service.paged("resolve")
    assert page["dedup_key"] == end["dedup_key"]
    assert (page["payload"]["severity"], page["routing_key"]) == ("critical", "a-routing-key")
    assert page["payload"]["summary"] == "[CRITICAL] service_unavailable"
    details = page["payload"]["custom_details"]
    assert (details["release"], details["runbook"].rpartition("/")[2]) == ("steady", "alerts.md#service-unavailable")
    assert "open until" in details["window"]
    until(lambda: len(service.slacked()) >= 4, "both ends in Slack")
    assert sorted(service.slacked()) == [
        ("[CRITICAL] service_unavailable", "danger"), ("[RESOLVED] service_unavailable", "good"),
        ("[RESOLVED] service_unavailable", "good"), ("[WARNING] service_unavailable", "warning"),
    ]  # fmt: skip
    assert service.direct() == []


def test_without_alertmanager_people_hear_from_the_host_and_it_learns_the_rest_when_it_is_back(service: Hello) -> None:
    service.forget()
    watcher = service.operator.fleet
    watcher.inside(
        WATCHES, "systemctl kill --signal KILL prometheus-alertmanager; systemctl stop prometheus-alertmanager"
    )
    service.inside("systemctl stop hello.service")
    until(lambda: ("CRITICAL", "firing") in service.direct(), "a message of the host itself")
    assert service.direct() == [("WARNING", "firing"), ("CRITICAL", "firing")]
    watcher.inside(WATCHES, "systemctl start prometheus-alertmanager")
    until(lambda: service.heard("service_unavailable"), "that Alertmanager tells it too", 180)
    service.inside("systemctl start hello.service")
    until(lambda: service.heard("service_unavailable", status="resolved"), "the end of it", 180)
    assert json.loads(service.inside("slipway watch status --json", check=False))["queued"] == 0


def test_a_full_disk_does_not_silence_the_host(service: Hello) -> None:
    service.forget()
    places = "/var/lib/slipway-watch /var/lib/prometheus/node-exporter"
    service.inside(
        f"for place in {places}; do mount -t tmpfs -o size=64k none $place; dd if=/dev/zero of=$place/full bs=1k 2>/dev/null; done; true"
    )
    try:
        assert service.inside("df --output=avail /var/lib/slipway-watch | tail -1").strip() == "0"
        service.inside("systemctl stop hello.service")
        until(lambda: service.paged("trigger"), "the page")
        service.inside("systemctl start hello.service")
        until(lambda: service.paged("resolve"), "the end of it")
        assert "metrics_not_written" in service.inside("journalctl -t slipway -o cat --no-pager | tail -200")
    finally:
        service.inside(f"systemctl start hello.service; for place in {places}; do umount -l $place; done")


def test_a_release_that_is_worse_becomes_a_page_and_a_rollback_ends_it(service: Hello) -> None:
    service.forget()
    service.make("worse", 0.58)
    service.run("deploy.yml", "-e", "release_id=worse")
    until(lambda: service.heard("HelloHitRatioLow"), "the page", 180)
    (message,) = service.heard("HelloHitRatioLow")
    assert message["commonLabels"]["environment"] == "prod"
    assert message["commonAnnotations"]["release"] == "worse"
    service.run("rollback.yml")
    until(lambda: service.heard("HelloHitRatioLow", status="resolved"), "the end of it", 180)
    told = ["deploy_started", "deploy_succeeded", "rollback_started", "rollback_succeeded"]
    assert service.runs == [("INFO", each) for each in told]
    history = json.loads(service.inside("slipway history --json --limit 100 hello"))
    labels = 'application="hello",outcome="{}"'
    until(
        lambda: service.metric(f"slipway_deploys_total{{{labels.format('rollback_success')}}}") == 1,
        "the agent's count",
    )
    assert service.metric(f"slipway_deploys_total{{{labels.format('success')}}}") == sum(
        (each["status"], each["operation"]) == ("success", "deploy") for each in history
    )
    assert service.metric('slipway_watch_window_end_timestamp_seconds{application="hello"}') == 0


@pytest.fixture(scope="module")
def prometheus(service: Hello) -> Iterator[str]:
    """Where the controller reaches the Prometheus, which listens on its host alone: at the near end of a tunnel."""
    (port,) = balancers.free_ports(1)
    fleet = service.operator.fleet
    words = ssh.command(fleet.clone, fleet.record.instance, fleet.host(WATCHES))
    tunnel = subprocess.Popen([*words[:-1], "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:9090", words[-1]])
    try:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the tunnel")
        yield f"http://127.0.0.1:{port}"
    finally:
        tunnel.kill()
        tunnel.wait()


def test_a_canary_that_is_worse_than_the_others_takes_the_rollout_back(service: Hello, prometheus: str) -> None:
    service.start("deploy.yml", "-e", "release_id=steady", hosts=f"{HOST},{LOST}").end(0)
    service.make("doubtful", 0.5)
    until(lambda: len(series(service.operator, "hello_intraday_hit_ratio==0.65")) == 2, "what both hosts measure")
    done = service.compare("doubtful", prometheus).end(2)
    why = "analysis_failed: hit_ratio: 0.5 beside 0.65, worse by more than 5 %, 2 times in a row"
    assert done.says(f"prod-1 reverted steady {why}", "rollout: wave 1: prod-1 failed; 0 tolerated")
    assert service.served() == ["steady", "steady"]


def test_one_that_cannot_be_compared_is_held_and_one_that_is_as_good_goes_on(service: Hello, prometheus: str) -> None:
    service.make("other", 0.65)
    run = service.compare("other", "http://127.0.0.1:1")
    until(lambda: "held after" in run.output or run.process.poll() is not None, "the rollout to be held")
    assert "Prometheus did not answer" in run.output
    service.operator.play("playbooks/promote.yml", "-e", "promote_decision=abort")
    run.end(2)
    assert service.served() == ["steady", "steady"]
    done = service.compare("other", prometheus).end(0)
    assert "held" not in done.text
    assert service.served() == ["other", "other"]


def test_a_secret_of_all_that_is_in_no_message_and_no_metric(service: Hello) -> None:
    assert SECRET not in json.dumps([each.body for each in service.sink.heard])
    for host in (WATCHES, HOST):
        found = service.operator.fleet.inside(
            host,
            f"grep -rl {SECRET} /var/lib/prometheus /etc/prometheus /var/lib/slipway-watch /etc/slipway",
            check=False,
        )
        assert found.stdout == ""
        assert SECRET not in service.operator.fleet.inside(host, "journalctl --no-pager -o cat").stdout
