# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent and a real Alertmanager: it is away, it comes back, it hears the same ten thousand times, and people hear each thing once."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.watch.alert import RESOLVED
from ansible.module_utils.slipway.watch.check import Channel
from test_alert import LAPSE
from test_delivery import Post

from lab import prometheus

CONFIGURATION = """
route:
  receiver: people
  group_by: [alertname, severity, check]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: people
    webhook_configs: [{{url: "{url}", send_resolved: true}}]
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [alertname, application, check, instance]
"""


def until(condition, what):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def manager(tmp_path, sinks):
    """Starts Alertmanager at one address, again and again; what it tells people arrives at the sink `alertmanager`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory = tmp_path / "alertmanager"
    directory.mkdir()
    (directory / "alertmanager.yml").write_text(CONFIGURATION.format(url=sinks.alertmanager.url))

    @contextmanager
    def running():
        command = [
            prometheus.ensure() / "prometheus-alertmanager", f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/data",
            "--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: is_ready(port), "Alertmanager")
            yield
        finally:
            process.kill()
            process.wait()

    running.url = f"http://127.0.0.1:{port}"
    return running


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class RealClock(SystemClock):
    """What tests of deliveries may move on: here nothing is to be waited for but the receiver."""

    def advance(self, seconds):
        return


@pytest.fixture
def post(tmp_path, sinks, manager):
    channels = {
        "alertmanager": Channel("alertmanager", url=manager.url),
        "slack": Channel("slack", url=sinks.slack.url),
    }
    return Post(tmp_path, RealClock(), channels)


def told(sinks):
    """Status and severity of what people were told, in order."""
    return [(body["status"], body["commonLabels"]["severity"]) for body in sinks.alertmanager.bodies]


def test_what_the_agent_says_is_what_people_hear_once(post, sinks, manager):
    warning = replace(LAPSE, severity="WARNING")
    with manager():
        post.say(warning)
        until(lambda: told(sinks) == [("firing", "warning")], "the warning")
        post.say(LAPSE)
        until(lambda: len(told(sinks)) == 2, "the critical one")
        for number in range(20):  # each minute of an incident the agent says all of it again
            post.say(replace(LAPSE, message=f"the {number}th"))
        delivery = post.process()
        delivery.add(replace(warning, state=RESOLVED, at=post.clock.now()), is_for_people=False)
        delivery.add(replace(LAPSE, state=RESOLVED, at=post.clock.now()))
        delivery.deliver()
        until(lambda: {("resolved", "warning"), ("resolved", "critical")} <= set(told(sinks)), "the end")
    assert told(sinks)[:2] == [("firing", "warning"), ("firing", "critical")]
    assert sorted(told(sinks)[2:]) == [("resolved", "critical"), ("resolved", "warning")]
    assert sinks.slack.got == []


def test_killed_it_is_gone_around_and_back_it_learns_what_fires(post, sinks, manager):
    with manager():
        post.say(LAPSE)
        until(lambda: len(told(sinks)) == 1, "the message")
    post.say(replace(LAPSE, check="second"))
    assert [text for text, _colour in sinks.slack.told] == ["*CRITICAL* - heartbeat_lapse"]
    assert post.waiting == []
    with manager():
        post.memory.circuits.clear()  # as if the seconds of its pause had gone by
        post.say()
        until(
            lambda: "second" in {body["commonLabels"]["check"] for body in sinks.alertmanager.bodies},
            "what it had missed",
        )
    assert len(sinks.slack.got) == 1


def test_ten_thousand_identical_alerts_are_one_message(post, sinks, manager, say):
    with manager():
        for _ in range(10):
            delivery = post.process()
            for _ in range(1000):
                delivery.add(replace(LAPSE, at=post.clock.now()))
            delivery.deliver()
        until(lambda: told(sinks), "a message")
        # Another alert is a later message: what was to come of the first ones has come by then.
        post.say(replace(LAPSE, check="last"))
        until(lambda: len(told(sinks)) >= 2, "the last message")
    messages = [body["commonLabels"]["check"] for body in sinks.alertmanager.bodies]
    assert messages == ["alive", "last"]
    say("10,000 identical alerts of one agent to one Alertmanager: 1 message")
