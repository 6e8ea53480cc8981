# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that watches itself: beats, escalation, hook, receivers, reboot, and the sandbox of the agent, with real systemd."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sinks
from deployments import Application, Done, Operator, until

HOST = "prod-1"
UNIT = "e2e-watched.service"
HOOKED = "/var/tmp/e2e-hooked"
SECRET = "e2e-part-of-an-address"
MOST_EXPOSED = 2.0
SERVICE = """[Service]
ExecStart=/bin/sleep infinity
"""
# A receiver on the host itself: keeps each body as a line, and answers as Slack does.
SINK = """
import http.server, json, sys
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "a") as file:
            file.write(json.dumps({"path": self.path, "body": body}) + "\\n")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        return
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
"""
PORTS = {"slack": 9801, "webhook": 9802}


@dataclass
class Watched:
    """An application on a host that watches itself every two seconds."""

    operator: Operator
    shop: Application
    settings: Path

    def inside(self, command: str, *, check: bool = True) -> str:
        return self.shop.fleet.inside(HOST, command, check=check).stdout

    def open(self, *kinds: str) -> None:
        for kind in kinds or PORTS:
            self.inside(
                f"systemctl reset-failed e2e-sink-{kind} 2>/dev/null; systemctl is-active -q e2e-sink-{kind} || "
                f"systemd-run -q --unit e2e-sink-{kind} /usr/bin/python3 /var/tmp/e2e-sink.py {PORTS[kind]} /var/tmp/e2e-{kind}"
            )
            # The program listens a moment after it was started.
            until(lambda kind=kind: self.listens(kind), f"the receiver {kind}")  # type: ignore[misc]

    def listens(self, kind: str) -> bool:
        script = f"import socket; socket.create_connection(('127.0.0.1', {PORTS[kind]}), 1)"
        return self.shop.fleet.inside(HOST, f'python3 -c "{script}"', check=False).returncode == 0

    def close(self, *kinds: str) -> None:
        for kind in kinds or PORTS:
            self.inside(f"systemctl stop e2e-sink-{kind} 2>/dev/null", check=False)

    def got(self, kind: str) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in self.inside(f"cat /var/tmp/e2e-{kind} 2>/dev/null", check=False).splitlines()
        ]

    @property
    def slack(self) -> list[tuple[str, str]]:
        return [(each["body"]["text"], each["body"]["attachments"][0]["color"]) for each in self.got("slack")]

    def forget(self) -> None:
        self.inside(f"rm -f {HOOKED} /var/tmp/e2e-slack /var/tmp/e2e-webhook")

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.inside("slipway watch status --json", check=False)))

    def result(self, check: str) -> dict[str, Any]:
        return next(each for each in self.status()["checks"] if each["check"] == check)

    def play(self, playbook: str, code: int | None = 0) -> Done:
        return self.operator.play(
            playbook, "-l", HOST, "-e", f"@{self.shop.variables}", "-e", f"@{self.settings}", code=code
        )

    def beats(self, count: int) -> None:
        """Wait until the check was asked so often again."""
        asked = {self.result("unit")["at"]}
        until(lambda: asked.add(self.result("unit")["at"]) or len(asked) > count, f"{count} more beats", 120)


@pytest.fixture(scope="module")
def watched(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Return it with everything well."""
    directory = tmp_path_factory.mktemp("watch")
    inside = operator.fleet.inside
    inside(
        HOST, f"cat > /etc/systemd/system/{UNIT} <<'END'\n{SERVICE}END\nsystemctl daemon-reload; systemctl start {UNIT}"
    )
    inside(HOST, f"cat > /var/tmp/e2e-sink.py <<'END'\n{SINK}END")
    shop = operator.application("watch", [HOST], unit=UNIT, health=[{"type": "unit"}], check=None)
    shop.make("one")
    shop.deploy()
    (directory / "slack.json").write_text(json.dumps({"value": f"http://127.0.0.1:{PORTS['slack']}/{SECRET}"}))
    settings = {
        "heartbeat_interval_seconds": 2,
        "heartbeat_jitter_seconds": 0,
        "heartbeat_flap_falls": 60,
        "heartbeat_checks": [
            {"name": "unit", "kind": "unit", "options": {"unit": UNIT}, "escalation": ["/usr/bin/touch", HOOKED]},
            {"name": "integrity", "kind": "integrity"},
            {"name": "room", "kind": "disk"},
            {"name": "artifact", "kind": "artifact_staleness", "options": {"path": "VERSION"}},
        ],
        "heartbeat_channels": {
            "slack": {"enabled": True, "url_credential": "slack_url"},
            "webhook": {"enabled": True, "url": f"http://127.0.0.1:{PORTS['webhook']}/hook", "severity": "WARNING"},
        },
        "heartbeat_secrets": {"slack_url": "alerting/slack"},
        "heartbeat_runbooks_url": "https://runbooks.example/",
    }
    (directory / "watch.json").write_text(json.dumps(settings))
    found = Watched(operator, shop, directory / "watch.json")
    found.forget()
    operator.play("playbooks/secrets_store.yml", "-e", "secret_environment=prod")
    operator.play(
        "playbooks/secret.yml",
        "-e",
        "secret_environment=prod",
        "-e",
        "secret_name=alerting/slack",
        "-e",
        f"secret_file={directory}/slack.json",
    )
    found.open()
    found.play("playbooks/heartbeat.yml")
    until(lambda: {each["status"] for each in found.status()["checks"]} == {"HEALTHY"}, "a host that is well")
    yield found
    found.close()
    inside(
        HOST,
        f"systemctl disable -q --now slipway-heartbeat.timer slipway-escalation.socket; systemctl stop slipway-heartbeat.service {UNIT};"
        f"rm -rf /etc/systemd/system/slipway-heartbeat* /etc/systemd/system/slipway-alert-test* /etc/systemd/system/slipway-escalation*"
        f" /etc/systemd/system/{UNIT} /var/lib/slipway-watch /run/slipway-watch /var/tmp/e2e-*; systemctl daemon-reload; systemctl reset-failed",
    )


def test_the_agent_is_shut_in_and_does_its_work_all_the_same(watched: Watched) -> None:
    shown = watched.inside("systemd-analyze security --no-pager slipway-heartbeat.service")
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", shown)[1])
    print(f"\n  exposure: {exposure}")
    assert exposure <= MOST_EXPOSED
    assert watched.inside("systemd-analyze verify slipway-heartbeat.timer slipway-escalation.socket 2>&1") == ""
    assert (
        "every byte" in watched.result("integrity")["message"] or "signatures" in watched.result("integrity")["message"]
    )
    metrics = watched.inside("cat /var/lib/prometheus/node-exporter/slipway.prom")
    assert f'slipway_check_status{{application="{watched.shop.name}",check="unit"}} 0' in metrics
    assert f'slipway_release_info{{application="{watched.shop.name}",release="one"}} 1' in metrics


def test_an_agent_that_is_stopped_in_its_middle_has_not_failed(watched: Watched) -> None:
    service = "slipway-heartbeat.service"
    caught = f"""systemctl start --no-block {service}
        pid=$(systemctl show --property=MainPID --value {service})
        [ "$pid" != 0 ] && kill -STOP "$pid" && [ "$(systemctl is-active {service})" = activating ]"""
    watched.inside("systemctl stop slipway-heartbeat.timer")
    until(lambda: watched.shop.fleet.inside(HOST, caught, check=False).returncode == 0, "an agent in its middle")
    watched.inside(f"systemctl stop {service}")
    shown = watched.inside(f"systemctl show --property=Result --property=ExecMainStatus {service}")
    watched.inside("systemctl start slipway-heartbeat.timer")
    assert sorted(shown.split()) == ["ExecMainStatus=15", "Result=success"]


def test_settings_that_do_not_hold_change_nothing(watched: Watched) -> None:
    before = watched.inside("cat /etc/slipway/heartbeat.json")
    good = watched.settings.read_text()
    watched.settings.write_text(json.dumps({**json.loads(good), "heartbeat_checks": [{"name": "x", "kind": "prayer"}]}))
    try:
        done = watched.play("playbooks/heartbeat.yml", code=2)
    finally:
        watched.settings.write_text(good)
    assert done.says("heartbeat_invalid")
    assert watched.inside("cat /etc/slipway/heartbeat.json") == before
    assert "changed=0" in watched.play("playbooks/heartbeat.yml").output


def test_a_service_that_stops_is_logged_warned_of_critical_and_its_hook_runs(watched: Watched) -> None:
    watched.forget()
    watched.inside(f"systemctl stop {UNIT}")
    until(lambda: len(watched.slack) >= 2, "two messages")
    until(lambda: watched.inside(f"ls {HOOKED} 2>/dev/null", check=False), "the hook")
    watched.beats(3)
    expected = [("*WARNING* - service_unavailable", "warning"), ("*CRITICAL* - service_unavailable", "danger")]
    assert watched.slack == expected
    assert [each["body"]["severity"] for each in watched.got("webhook")] == ["WARNING", "CRITICAL"]
    assert len({each["body"]["key"] for each in watched.got("webhook")}) == 2
    body = watched.got("webhook")[1]["body"]
    assert (body["host"], body["release"], body["runbook"]) == (
        HOST,
        "one",
        "https://runbooks.example/service-unavailable",
    )
    log = [json.loads(line) for line in watched.inside("journalctl -t slipway -o cat --no-pager").splitlines()]
    steps = [line["message"].rpartition("(")[2] for line in log if line["event"] == "service_unavailable"]
    assert steps[:3] == ["failed)", "failed 2 times in a row, WARNING)", "failed 3 times in a row, CRITICAL)"]
    assert any(line["event"] == "escalation_hook_ran" for line in log)
    watched.inside(f"systemctl start {UNIT}")
    until(lambda: len(watched.slack) >= 3, "that it is over")
    watched.beats(2)
    assert watched.slack[2:] == [("*CRITICAL* - service_unavailable (resolved)", "good")]
    found = json.loads(watched.inside("slipway watch alerts --rule service_unavailable --limit 3 --json"))
    assert [(each["state"], sorted(each["delivered"])) for each in found] == [
        ("resolved", ["slack", "webhook"]), ("firing", ["slack", "webhook"]), ("firing", ["slack", "webhook"]),
    ]  # fmt: skip


def test_a_reboot_during_a_cooldown_repeats_nothing_and_forgets_nothing(watched: Watched) -> None:
    watched.forget()
    watched.inside(f"systemctl stop {UNIT}")
    until(lambda: len(watched.slack) >= 2, "two messages")
    until(lambda: watched.inside(f"ls {HOOKED} 2>/dev/null", check=False), "the hook")
    watched.beats(1)  # a hook that the reboot cuts off is an event of its own
    watched.shop.fleet.reboot(HOST)
    watched.open()
    watched.beats(3)
    assert [text for text, _colour in watched.slack] == [
        "*WARNING* - service_unavailable",
        "*CRITICAL* - service_unavailable",
    ]
    watched.inside(f"systemctl start {UNIT}")
    until(lambda: len(watched.slack) >= 3, "that it is over")
    assert watched.slack[2][0] == "*CRITICAL* - service_unavailable (resolved)"


@pytest.fixture
def moved(watched: Watched) -> Iterator[Callable[[int], None]]:
    """Lets the agent, and nothing else of the host, believe that it is so many hours earlier or later."""
    place = "/etc/systemd/system/slipway-heartbeat.service.d"
    agent = "/usr/lib/slipway/slipway.pyz"

    def move(hours: int) -> None:
        program = (
            f"import runpy, sys, time; told = time.time; time.time = lambda: told() + {hours * 3600};"
            f" sys.argv = ['{agent}', 'watch', 'run']; runpy.run_path('{agent}', run_name='__main__')"
        )
        service = f'[Service]\nExecStart=\nExecStart=/usr/bin/python3 -I -c "{program}"\n'
        watched.inside(f"mkdir -p {place}; cat > {place}/clock.conf <<'END'\n{service}END\nsystemctl daemon-reload")

    yield move
    watched.inside(f"rm -r {place}; systemctl daemon-reload")


def test_a_clock_that_moves_costs_a_message_and_loses_none(watched: Watched, moved: Callable[[int], None]) -> None:
    def told() -> list[tuple[str, str]]:
        """Of the service: to a clock that was set back, the artifact seems to come from the future, which is said too."""
        return [each for each in watched.slack if "service_unavailable" in each[0]]

    watched.forget()
    watched.inside(f"systemctl stop {UNIT}")
    until(lambda: len(told()) >= 2, "two messages")
    moved(-2)
    watched.beats(4)
    critical = ("*CRITICAL* - service_unavailable", "danger")
    assert told() == [("*WARNING* - service_unavailable", "warning"), critical, critical]
    moved(2)
    watched.beats(4)
    assert told()[3:] == [critical]
    watched.inside(f"systemctl start {UNIT}")
    until(lambda: len(told()) >= 5, "that it is over")
    watched.beats(2)
    assert told()[4:] == [("*CRITICAL* - service_unavailable (resolved)", "good")]


def test_what_nobody_takes_waits_on_disk_and_arrives_once(watched: Watched) -> None:
    watched.forget()
    watched.close()
    watched.inside(f"systemctl stop {UNIT}")
    until(lambda: watched.status()["queued"] >= 2, "alerts that wait")
    until(lambda: watched.status()["channels"][0]["state"] == "degraded", "a degraded channel")
    assert "alerts: slack is degraded since" in watched.inside("slipway status", check=False)
    watched.open()
    until(lambda: watched.status()["queued"] == 0, "an empty queue", 120)
    watched.inside(f"systemctl start {UNIT}")
    until(lambda: any(text.endswith("(resolved)") for text, _colour in watched.slack), "that it is over")
    texts = [text for text, _colour in watched.slack]
    assert texts.count("*WARNING* - service_unavailable") == 1
    assert texts.count("*CRITICAL* - service_unavailable") == 1
    assert "*INFO* - channel_recovered" in texts


def test_a_test_says_which_channel_took_it(watched: Watched) -> None:
    watched.forget()
    assert watched.play("playbooks/test_alert.yml").says("slack", "yes", "webhook", "yes")
    assert [text for text, _colour in watched.slack] == ["*INFO* - alert_test"]
    watched.close("webhook")
    done = watched.play("playbooks/test_alert.yml", code=2)
    watched.open("webhook")
    assert done.says("webhook", "no", "Connection refused")


def test_a_secret_address_is_nowhere_but_in_its_encrypted_file(watched: Watched) -> None:
    assert watched.got("slack")[0]["path"] == f"/{SECRET}"
    places = "/etc/slipway /var/lib/slipway-watch /run/slipway-watch /var/lib/prometheus /etc/systemd/system"
    assert watched.inside(f"grep -rl {SECRET} {places}", check=False) == ""
    assert SECRET not in watched.inside("journalctl --no-pager -o cat | grep -v 'e2e-sink'")
    assert watched.inside("ls /etc/slipway/credentials") == "slack_url\n"


@pytest.fixture
def told(watched: Watched, tmp_path: Path) -> Iterator[tuple[sinks.SlackSink, tuple[str, str]]]:
    """A receiver on the controller, and the words by which a run tells it."""
    sink = sinks.SlackSink()
    path = tmp_path / "notices.json"
    path.write_text(json.dumps({"release_notice_channels": {"slack": {"url": sink.url, "timeout_seconds": 2}}}))
    yield sink, ("-e", f"@{path}")
    sink.close()


def test_a_run_is_told_once_when_it_begins_and_once_when_it_ends(
    watched: Watched, told: tuple[sinks.SlackSink, tuple[str, str]]
) -> None:
    sink, words = told
    shop = watched.shop
    shop.make("two")
    shop.deploy("two", *words)
    assert [text for text, _colour in sink.told] == ["*INFO* - deploy_started", "*INFO* - deploy_succeeded"]
    shop.make("three")
    # Bringing it there ahead of time is no deployment.
    shop.operator.play(*shop.words("playbooks/stage.yml", HOST, ("-e", "release_id=three", *words)))
    assert len(sink.told) == 2
    shop.describe(health=[{"type": "command", "argv": ["false"]}])
    shop.deploy("three", *words, code=2)
    assert [text for text, _colour in sink.told[2:]] == ["*INFO* - deploy_started", "*WARNING* - deploy_rolled_back"]
    shop.describe(health=[{"type": "unit"}], check={"argv": ["false"]})
    shop.make("four")
    shop.deploy("four", *words, code=2)
    assert [text for text, _colour in sink.told[4:]] == ["*INFO* - deploy_started", "*CRITICAL* - deploy_failed"]
    shop.describe(check=None)
    assert shop.rollback(*words).says("nothing to do")
    assert len(sink.told) == 6
    shop.rollback(*words, "-e", "release_id=one")
    assert [text for text, _colour in sink.told[6:]] == ["*INFO* - rollback_started", "*INFO* - rollback_succeeded"]
    # Who cannot be told is named, and fails nothing.
    sink.close()
    assert shop.deploy("two", *words, "-e", "release_retry=true").says("slack did not take that deploy_started")
    assert shop.active(HOST) == "two"
