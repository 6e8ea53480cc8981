# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs of the agent, beat after beat, on a host below tmp_path: what people get, what is kept, what no failure stops."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from ansible.module_utils.slipway.watch import agent as agents
from ansible.module_utils.slipway.watch import hook
from ansible.module_utils.slipway.watch.agent import Agent, alone
from ansible.module_utils.slipway.watch.agent_memory import Memory, Post
from ansible.module_utils.slipway.watch.alert_history import AlertHistory
from ansible.module_utils.slipway.watch.channels import Credentials
from ansible.module_utils.slipway.watch.check import Settings
from ansible.module_utils.slipway.watch.metrics import parse
from releases import V1
from test_check import document

BEAT = {"name": "alive", "kind": "heartbeat", "application": "shop", "options": {"path": "/srv/shop/shared/beat"}}
CANARY = "hunter22-canary"
REPOSITORY = Path(__file__).parents[3]


class Beats:
    """An agent that beats: each run is a process of its own, a minute after the one before."""

    def __init__(self, site, sinks, tmp_path):
        self.site, self.host, self.sinks = site, site.host, sinks
        self.post = Post(self.host)
        self.checks = [BEAT]
        self.channels = {
            "slack": {"url": sinks.slack.url, "timeout_seconds": 2},
            "webhook": {"url": sinks.webhook.url, "timeout_seconds": 2},
        }
        self.more = {"runbooks": "https://runbooks.example/", "metrics_path": "/metrics/slipway.prom"}
        self.secrets = tmp_path / "agent-credentials"
        self.secrets.mkdir()
        (self.secrets / "watch_token").write_text(CANARY)
        (self.host.root / "metrics").mkdir()
        self.beat = site.places.shared / "beat"
        self.beat.parent.mkdir(exist_ok=True)
        self.hooks = []
        self.touch()

    def touch(self):
        self.beat.touch()
        os.utime(self.beat, (self.host.clock.now(),) * 2)

    def settings(self):
        return Settings.parse(document(*self.checks, channels=self.channels, **self.more))

    def agent(self):
        return Agent(self.host, self.settings(), Credentials(self.secrets), chance=lambda: 1.0)

    def run(self, times=1, seconds=60, **options):
        results = []
        for _ in range(times):
            results = self.agent().run(**options)
            self.host.clock.advance(seconds)
        return results

    def lapse(self):
        """Let the application be silent for longer than it may be."""
        self.host.clock.advance(301)

    @property
    def memory(self):
        return Memory.load(self.post)

    @property
    def told(self):
        return [text.removeprefix("*").replace("* - ", " ") for text, _colour in self.sinks.slack.told]

    @property
    def samples(self):
        text = (self.host.root / "metrics/slipway.prom").read_text()
        return {(each.name, *each.labels.values()): each.value for each in parse(text)}


@pytest.fixture
def beats(site, sinks, tmp_path):
    site.build("v1", V1)
    site.deploy("v1")
    return Beats(site, sinks, tmp_path)


@pytest.fixture
def hooked(beats, monkeypatch):
    """The check has a hook; what was asked of it."""
    beats.checks = [{**BEAT, "escalation": ["/usr/bin/systemctl", "restart", "shop"]}]
    asked = []

    def ask(path, key, _traceparent):
        asked.append((path, key, list(beats.told)))
        return hook.Ran(hook.SUCCESS, "fine")

    monkeypatch.setattr(agents.hook, "ask", ask)
    return asked


def test_a_lapse_is_logged_then_warned_of_then_critical_and_its_end_is_said(beats, hooked, capsys):
    beats.run(3)
    assert beats.told == []
    beats.lapse()
    beats.run()
    assert beats.told == []
    event = json.loads(capsys.readouterr().err.splitlines()[-2])
    assert event["message"].startswith("alive: heartbeat lapsed")
    assert (event["event"], event["type"], event["release_id"]) == ("heartbeat_lapse", "SYSTEM_EVENT", "v1")
    beats.run()
    assert beats.told == ["WARNING heartbeat_lapse"]
    beats.run()
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse"]
    # People are told before the hook is run.
    assert hooked == [(beats.post.hook_socket, "shop/alive", beats.told)]
    beats.run(4)
    beats.touch()
    beats.run(2)
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse", "CRITICAL heartbeat_lapse (resolved)"]
    assert [colour for _text, colour in beats.sinks.slack.told] == ["warning", "danger", "good"]
    assert len(hooked) == 1
    assert len({body["key"] for body in beats.sinks.webhook.bodies}) == 2


def test_a_message_says_what_is_active_who_deployed_it_and_where_to_look(beats):
    beats.lapse()
    beats.run(3)
    body = beats.sinks.webhook.bodies[-1]
    assert (body["host"], body["environment"], body["application"], body["check"], body["release"]) == (
        "prod-1",
        "prod",
        "shop",
        "alive",
        "v1",
    )
    assert body["last_deploy"]["by"] == "alice"
    assert body["runbook"] == "https://runbooks.example/heartbeat-lapse"
    assert body["context"]["consecutive_failures"] == 3
    assert body["context"]["threshold_seconds"] == 300
    assert "3 failures in a row" in body["message"]


def test_the_alert_history_has_each_with_who_took_it(beats):
    beats.lapse()
    beats.run(3)
    found = AlertHistory(beats.post.alerts).find()
    assert [(each["severity"], sorted(each["delivered"])) for each in found] == [
        ("CRITICAL", ["slack", "webhook"]),
        ("WARNING", ["slack", "webhook"]),
    ]


def test_a_check_is_asked_when_it_is_due(beats):
    beats.checks = [
        BEAT,
        {"name": "room", "kind": "disk", "application": "shop", "interval_seconds": 180, "options": {"spare_bytes": 0}},
    ]
    asked = [[result.check.name for result in beats.run()] for _ in range(5)]
    assert asked == [["alive", "room"], ["alive"], ["alive"], ["alive", "room"], ["alive"]]
    assert [result.check.name for result in beats.run(everything=True)] == ["alive", "room"]
    # A timer that comes a little early is no reason to wait for another minute; one that comes far too early is.
    assert beats.run(seconds=55)
    assert beats.run(seconds=20)
    assert beats.run() == []


def test_a_clock_that_moves_stops_no_check(beats):
    beats.run()
    beats.host.clock.time -= 86400
    beats.touch()
    assert [result.finding.status for result in beats.run()] == ["HEALTHY"]
    beats.host.clock.time += 10 * 86400
    beats.touch()
    assert [result.finding.status for result in beats.run()] == ["HEALTHY"]


def test_a_check_that_hangs_is_a_failure_and_holds_no_other_up(beats, monkeypatch):
    never = threading.Event()
    ask = agents.Probes.ask
    monkeypatch.setattr(
        agents.Probes, "ask", lambda self, check: never.wait() if check.name == "stuck" else ask(self, check)
    )
    monkeypatch.setattr(agents, "_seconds", lambda check: 0.1 if check.name == "stuck" else 20)
    beats.checks = [{"name": "stuck", "kind": "tcp", "application": "shop", "options": {"port": 1}}, BEAT]
    results = {result.check.name: result.finding for result in beats.run(3)}
    never.set()
    assert (results["stuck"].status, results["stuck"].is_error) == ("DEGRADED", True)
    assert "no answer within" in results["stuck"].message
    assert results["alive"].status == "HEALTHY"
    # It counts, as any failure does.
    assert beats.told == ["WARNING service_unavailable", "CRITICAL service_unavailable"]
    assert beats.samples["slipway_check_errors_total", "shop", "stuck"] == 3


def test_a_run_that_was_ended_while_it_asked_is_a_failure_of_what_it_asked(beats, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(_jobs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(agents, "together", killed)
        for _ in range(2):
            with pytest.raises(Killed):
                beats.run()
    beats.touch()
    first, second = beats.run()
    assert (first.finding.message, first.finding.status) == ("the run before did not end", "DEGRADED")
    assert second.finding.status == "HEALTHY"
    assert [result.finding.message for result in beats.run()] == [second.finding.message.replace(" 0 s", " 60 s")]


def test_one_that_never_ends_escalates(beats, monkeypatch):
    class Killed(BaseException):
        pass

    asked = agents.together
    ended = []

    def killed(jobs):
        if len(ended) % 2 == 0:
            ended.append(1)
            raise Killed
        ended.append(1)
        return asked(jobs)

    monkeypatch.setattr(agents, "together", killed)
    with pytest.raises(Killed):
        beats.run()
    beats.lapse()
    beats.run()  # that the run before was cut off, and that the heartbeat lapsed: two in a row
    assert [each.state.failures for each in beats.memory.checks.values()] == [2]


def test_what_is_remembered_outlives_the_process_and_a_reboot(beats):
    beats.lapse()
    beats.run(3)
    for path in beats.post.runtime.iterdir():
        path.unlink()
    beats.run(5)
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse"]
    # The hour of the cooldown is over after the reboot as it would have been without.
    beats.run(56)
    assert beats.told[2:] == ["CRITICAL heartbeat_lapse"]


def test_a_full_disk_does_not_silence_it(beats, monkeypatch):
    """Neither what it remembers nor the alert history nor the metrics can be written; /run can."""
    beats.run()
    real = os.open

    def full(path, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR) and (
            ("slipway-watch/" in str(path) and "/run/" not in str(path)) or "metrics" in str(path)
        ):
            raise OSError(28, "No space left on device", str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", full)
    beats.lapse()
    beats.run(3)
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse"]
    monkeypatch.undo()
    beats.touch()
    beats.run()
    assert beats.told[2:] == ["CRITICAL heartbeat_lapse (resolved)"]
    assert not beats.post.spare.exists()


def test_what_is_sent_was_kept_before(beats, monkeypatch):
    """Killed in the middle of a delivery it sends again, and loses nothing."""
    beats.lapse()
    beats.run()

    class Killed(BaseException):
        pass

    def killed(_self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(agents.Delivery, "deliver", killed)
        with pytest.raises(Killed):
            beats.run()
    assert beats.told == []
    assert [each.alert.subject for each in beats.memory.queue] == ["[WARNING] heartbeat_lapse"]
    beats.host.clock.advance(1)
    beats.run()
    assert beats.told == ["WARNING heartbeat_lapse"]


def test_alertmanager_hears_the_end_of_each_severity_and_people_of_the_highest(beats):
    beats.channels["alertmanager"] = {"url": beats.sinks.alertmanager.url.removesuffix("/hook"), "timeout_seconds": 2}
    beats.lapse()
    beats.run(3)
    beats.touch()
    beats.run()
    labels = [sorted(entry["labels"]["severity"] for entry in body) for body in beats.sinks.alertmanager.bodies]
    assert labels == [["warning"], ["critical", "warning"], ["critical", "warning"]]
    ends = [
        {entry["labels"]["severity"]: entry["endsAt"] for entry in body} for body in beats.sinks.alertmanager.bodies
    ]
    assert ends[2]["critical"] == ends[2]["warning"] < ends[1]["critical"]
    assert beats.told == []


def test_a_hook_that_fails_is_an_event_and_an_alert_of_its_own(beats, hooked, monkeypatch, capsys):
    monkeypatch.setattr(agents.hook, "ask", lambda *_arguments: hook.Ran(hook.TIMED_OUT, "stopped after 30 s"))
    beats.lapse()
    beats.run(3)
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse", "WARNING escalation_hook_failed"]
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    found = next(event for event in events if event["event"] == "escalation_hook_failed")
    assert (found["type"], found["outcome"]) == ("ERROR_EVENT", "timed_out")


@pytest.mark.parametrize("damage", ["cut off", "another version"])
def test_a_state_that_cannot_be_read_loses_no_alert_and_repeats_none(beats, hooked, capsys, damage):
    beats.lapse()
    beats.run(2)
    beats.sinks.slack.close()
    beats.sinks.webhook.close()
    beats.run()
    assert [each.alert.severity for each in beats.memory.queue] == ["CRITICAL"]
    state = beats.post.state
    whole = state.read_text()
    state.write_text(whole[:-20] if damage == "cut off" else whole.replace('"format": 1', '"format": 2'))
    beats.sinks.slack.open()
    beats.sinks.webhook.open()
    capsys.readouterr()
    beats.run()
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse", "WARNING agent_memory_lost"]
    assert "state_unreadable" in capsys.readouterr().err
    assert state.with_name("state.json.unreadable").exists()
    beats.run(3)
    beats.touch()
    beats.run()
    assert beats.told[3:] == ["CRITICAL heartbeat_lapse (resolved)"]
    assert beats.memory.firing == {}
    assert [key for _path, key, _told in hooked] == ["shop/alive"]
    found = AlertHistory(beats.post.alerts).find(rule="heartbeat_lapse")
    assert [sorted(each["delivered"]) for each in found] == [["slack", "webhook"]] * 3


def test_a_spare_state_that_cannot_be_read_is_set_aside_and_nothing_is_lost(beats, capsys):
    beats.run()
    before = beats.memory.serial
    beats.post.spare.parent.mkdir(parents=True, exist_ok=True)
    beats.post.spare.write_text("{")
    capsys.readouterr()
    beats.run()
    assert "state_unreadable" in capsys.readouterr().err
    assert beats.post.spare.with_name(f"{beats.post.spare.name}.unreadable").exists()
    assert beats.memory.serial > before
    assert beats.told == []


def test_a_state_and_a_history_that_cannot_be_read_are_said(beats):
    beats.run()
    beats.post.state.write_text("{")
    beats.post.alerts.unlink(missing_ok=True)
    beats.post.alerts.mkdir()
    beats.run()
    assert beats.told == ["WARNING agent_memory_lost"]


def test_hooks_run_at_the_same_time_so_that_none_keeps_another_waiting(beats, monkeypatch):
    names = ("a", "b", "c")
    beats.checks = [{**BEAT, "name": name, "escalation": ["/bin/true"]} for name in names]
    together, asked = threading.Barrier(len(names)), []

    def ask(_path, key, _traceparent):
        together.wait(20)
        asked.append(key)
        return hook.Ran(hook.TIMED_OUT, "stopped after 30 s")

    monkeypatch.setattr(agents.hook, "ask", ask)
    beats.lapse()
    beats.run(3)
    assert sorted(asked) == ["shop/a", "shop/b", "shop/c"]
    assert beats.told.count("WARNING escalation_hook_failed") == 3
    assert beats.memory.hooks == {}


def test_hooks_for_which_there_is_no_time_are_left_to_the_next_run(beats, hooked, monkeypatch):
    beats.checks = [{**BEAT, "name": f"c{number}", "escalation": ["/bin/true"]} for number in range(10)]
    beats.lapse()
    with monkeypatch.context() as patch:
        patch.setattr(agents.hook, "PATIENCE_SECONDS", 0)
        beats.run(3)
    assert hooked == []
    assert beats.memory.hooks == dict.fromkeys((f"shop/c{number}" for number in range(10)), False)
    beats.run()
    assert len({key for _path, key, _told in hooked}) == len(hooked) == 10
    assert beats.memory.hooks == {}


def test_systemd_lets_in_the_hooks_of_this_time_and_those_that_are_ending():
    unit = (REPOSITORY / "roles/heartbeat/templates/slipway-escalation.socket").read_text()
    assert f"MaxConnections={2 * hook.AT_A_TIME}\n" in unit


def test_a_hook_that_a_run_did_not_come_to_is_run_by_the_next(beats, hooked, monkeypatch):
    beats.lapse()
    beats.run(2)

    class Killed(BaseException):
        pass

    def killed(_self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(agents.Delivery, "deliver", killed)
        with pytest.raises(Killed):
            beats.run()
    assert (hooked, beats.memory.hooks) == ([], {"shop/alive": False})
    beats.host.clock.advance(1)
    beats.run(2)
    assert [key for _path, key, _told in hooked] == ["shop/alive"]
    assert beats.memory.hooks == {}


def test_a_hook_that_no_longer_helps_is_not_run(beats, hooked):
    for checks in ([{**BEAT, "escalation": ["/bin/true"]}], [{**BEAT, "name": "other"}]):
        memory = beats.memory
        memory.hooks = {"shop/alive": False}
        memory.save(beats.post)
        beats.checks = checks
        beats.touch()
        beats.run()
        assert (hooked, beats.memory.hooks, beats.told) == ([], {}, [])


def test_a_hook_that_was_cut_off_is_said_and_not_run_again(beats, hooked, monkeypatch, capsys):
    kept = []

    def ask(*_arguments):
        kept.append(beats.memory.hooks)
        return hook.Ran(hook.SUCCESS, "fine")

    monkeypatch.setattr(agents.hook, "ask", ask)
    beats.lapse()
    beats.run(3)
    # That it was asked for was kept before: a reboot that it brings about itself must not bring about another one.
    assert kept == [{"shop/alive": True}]
    memory = beats.memory
    memory.hooks = {"shop/alive": True}
    memory.save(beats.post)
    beats.run()
    assert len(kept) == 1
    assert beats.told[-1] == "WARNING escalation_hook_failed"
    assert '"outcome": "cut_off"' in capsys.readouterr().err
    assert beats.memory.hooks == {}


def test_a_check_that_is_taken_away_fires_no_longer(beats):
    beats.lapse()
    beats.run(3)
    beats.checks = []
    beats.run()
    assert beats.told[-1].endswith("(resolved)")
    assert beats.memory.firing == {}
    assert beats.memory.checks == {}


def test_a_rule_that_was_renamed_while_it_fired_ends_under_its_old_name(beats):
    beats.lapse()
    beats.run(3)
    beats.checks = [{**BEAT, "rule": "silence"}]
    beats.touch()
    beats.run()
    assert beats.told[-1] == "CRITICAL heartbeat_lapse (resolved)"
    assert beats.memory.firing == {}


def test_a_rule_that_was_renamed_and_announced_again_is_one_matter(beats):
    beats.channels["alertmanager"] = {"url": beats.sinks.alertmanager.url.removesuffix("/hook"), "timeout_seconds": 2}
    beats.lapse()
    beats.run(3)
    beats.checks = [{**BEAT, "rule": "silence"}]
    beats.run(61)

    def told():
        return {
            (entry["labels"]["alertname"], entry["labels"]["severity"]): entry["annotations"]["kind"]
            for body in beats.sinks.alertmanager.bodies
            for entry in body
        }

    assert told()["heartbeat_lapse", "critical"] == "resolved"
    assert told()["silence", "critical"] == "firing"
    beats.touch()
    beats.run()
    assert set(told().values()) == {"resolved"}
    assert beats.memory.firing == {}


def test_all_that_fires_of_a_check_ends_with_it(beats):
    """As after a version that kept two."""
    beats.lapse()
    beats.run(3)
    memory = beats.memory
    (critical,) = [alert for alert in memory.firing.values() if alert.severity == "CRITICAL"]
    other = replace(critical, rule="silence")
    memory.firing[other.key] = other
    memory.save(beats.post)
    beats.touch()
    beats.run()
    assert sorted(beats.told[-2:]) == ["CRITICAL heartbeat_lapse (resolved)", "CRITICAL silence (resolved)"]
    assert beats.memory.firing == {}


def test_the_end_of_what_is_not_remembered_is_said_all_the_same(beats):
    beats.lapse()
    beats.run(3)
    kept = json.loads(beats.post.state.read_text())
    beats.post.state.write_text(json.dumps({**kept, "firing": {}}))
    beats.touch()
    beats.run()
    assert beats.told[-1] == "CRITICAL heartbeat_lapse (resolved)"
    end = beats.sinks.webhook.bodies[-1]
    assert end["started"] == end["at"]


def test_what_was_raised_before_a_deployment_opened_a_window_ends_under_the_same_labels(beats):
    beats.channels = {"alertmanager": {"url": beats.sinks.alertmanager.url.removesuffix("/hook"), "timeout_seconds": 2}}
    beats.host.clock.advance(49 * 3600)
    beats.run(3)
    beats.site.build("v2", V1)
    beats.site.deploy("v2")
    beats.touch()
    beats.run()
    raised, ended = (
        {tuple(sorted(entry["labels"].items())) for entry in beats.sinks.alertmanager.bodies[number]}
        for number in (-2, -1)
    )
    assert {dict(labels)["watch_window"] for labels in raised} == {"closed"}
    assert ended == raised


def test_a_secret_in_what_a_check_found_reaches_nobody(beats, capsys):
    beats.checks = [
        {
            "name": "leak",
            "kind": "command",
            "application": "shop",
            "options": {"argv": ["/bin/sh", "-c", f"echo password={CANARY} {CANARY}; exit 1"]},
        }
    ]
    beats.run(3)
    assert len(beats.told) == 2
    everything = json.dumps([beats.sinks.slack.bodies, beats.sinks.webhook.bodies])
    everything += capsys.readouterr().err + (beats.host.root / "metrics/slipway.prom").read_text()
    everything += beats.post.state.read_text() + beats.post.alerts.read_text()
    assert CANARY not in everything
    assert "[hidden]" in everything


def test_security_has_events_of_its_own(beats, capsys):
    beats.checks = [
        {"name": "signed", "kind": "integrity", "application": "shop", "options": {"bytes_interval_seconds": 60}}
    ]
    beats.run()
    # There before the first one: Prometheus sees no increase in a counter that begins with it.
    assert beats.samples["slipway_security_events_total", "integrity_violation"] == 0
    path = beats.site.places.releases / "v1/config.json"
    path.chmod(0o644)
    path.write_bytes(b'{"version": "6.6"}')
    beats.run(2)
    assert beats.samples["slipway_security_events_total", "integrity_violation"] >= 1
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {event["type"] for event in events if event["event"] == "integrity_violation"} == {"SECURITY_EVENT"}


def test_the_metrics_say_what_was_found(beats):
    beats.run()
    beats.lapse()
    beats.run(2)
    now = int(beats.host.clock.time) - 60
    samples = beats.samples
    assert samples["slipway_check_status", "shop", "alive"] == 2
    assert samples["slipway_check_escalation_level", "shop", "alive"] == 2
    assert samples["slipway_check_last_run_timestamp_seconds", "shop", "alive"] == now
    assert samples["slipway_agent_last_run_timestamp_seconds",] == now
    assert samples["slipway_channel_breaker_state", "slack"] == 0
    assert samples["slipway_alerts_total", "shop", "warning"] == 1
    assert samples["slipway_release_info", "shop", "v1"] == 1
    assert samples["slipway_deploys_total", "shop", "success"] == 1
    assert (beats.host.root / "metrics/slipway.prom").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (beats.host.root / "metrics").iterdir()] == ["slipway.prom"]


def test_one_that_never_ran_has_no_last_run(beats):
    agent = beats.agent()
    names = {sample.name for sample in agent.samples(1)}
    assert "slipway_check_last_run_timestamp_seconds" not in names
    assert "slipway_check_status" not in names


def test_metrics_that_cannot_be_written_stop_nothing(beats, capsys):
    beats.more["metrics_path"] = "/no/such/place.prom"
    beats.run()
    assert "metrics_not_written" in capsys.readouterr().err
    del beats.more["metrics_path"]
    beats.run()
    assert "metrics_not_written" not in capsys.readouterr().err


def test_a_host_that_cannot_say_who_it_is_is_watched_all_the_same(beats):
    (beats.host.configuration / "host.json").unlink()
    beats.lapse()
    beats.run(2)
    assert beats.told == ["WARNING heartbeat_lapse"]
    assert beats.sinks.webhook.bodies[0]["host"] == os.uname().nodename


def test_a_test_goes_through_each_channel_and_says_which_took_it(beats):
    beats.sinks.webhook.close()
    answers = {each["channel"]: (each["accepted"], each["detail"]) for each in beats.agent().test()}
    assert answers["slack"] == (True, "accepted")
    assert answers["webhook"][0] is False
    assert "refused" in answers["webhook"][1]
    assert beats.told == ["INFO alert_test"]
    beats.channels["alertmanager"] = {"url": beats.sinks.alertmanager.url.removesuffix("/hook")}
    (found,) = [each for each in beats.agent().test() if each["channel"] == "alertmanager"]
    assert (found["accepted"], "its journal" in found["detail"]) == (True, True)


def test_agents_take_turns(host):
    path = Post(host).lock
    with alone(path, host.clock.sleep) as first:
        assert first
        with alone(path, host.clock.sleep, seconds=0) as second:
            assert not second
    with alone(path, host.clock.sleep) as third:
        assert third
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        slept = len(host.clock.slept)

        def sleep(_seconds):
            host.clock.slept.append(0.1)
            fcntl.flock(other, fcntl.LOCK_UN)

        with alone(path, sleep) as waited:
            assert waited
        assert len(host.clock.slept) == slept + 1


def test_the_hook_is_asked_at_its_socket(beats):
    """End to end, but for systemd: the agent names the check, and the other side runs the words of the settings."""
    touched = beats.site.directory / "restarted"
    beats.checks = [{**BEAT, "escalation": ["/usr/bin/touch", str(touched)]}]
    (beats.host.configuration / "heartbeat.json").write_text(json.dumps(document(*beats.checks)))
    beats.post.hook_socket.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(beats.post.hook_socket))
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                connection.sendall(hook.answer(stream.readline(), replace(beats.host)))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        beats.lapse()
        beats.run(3)
        thread.join(20)
    assert touched.exists()
    assert beats.told == ["WARNING heartbeat_lapse", "CRITICAL heartbeat_lapse"]


def test_one_that_flaps_is_said_to(beats):
    beats.more["escalation"] = {"flap_falls": 2, "calm_seconds": 120}
    for _ in range(2):
        beats.touch()
        beats.run()
        beats.lapse()
        beats.run()
    assert beats.told == ["WARNING heartbeat_lapse"]
    body = beats.sinks.webhook.bodies[0]
    assert body["message"].startswith("alive fails again and again: ")
    assert body["context"]["flapping"] == "yes"
    beats.touch()
    beats.run(4)
    assert beats.told[1:] == ["WARNING heartbeat_lapse (resolved)"]


@pytest.mark.parametrize("damage", [b"{", b"3", b'{"a": 1}', b"\xff"])
def test_a_note_of_a_run_that_cannot_be_read_is_none(beats, damage):
    beats.post.runtime.mkdir(parents=True)
    beats.post.begun.write_bytes(damage)
    assert [result.finding.status for result in beats.run()] == ["HEALTHY"]


def test_a_name_that_is_no_utf_8_stops_nothing(beats, capsys):
    secrets = beats.site.places.shared / "secrets"
    secrets.mkdir()
    odd = os.fsencode(secrets) + b"/p\xffw"
    with open(odd, "wb"):
        pass
    os.utime(odd, (beats.host.clock.now() - 91 * 86400,) * 2)
    beats.checks = [
        {"name": "age", "kind": "secret_age", "application": "shop", "options": {"path": "/srv/shop/shared/secrets"}}
    ]
    beats.run(2)
    assert [each.split()[0] for each in beats.told] == ["WARNING"]
    assert "p\\udcffw" in beats.sinks.webhook.bodies[0]["message"]
    assert beats.samples["slipway_check_escalation_level", "shop", "age"] == 2
    assert capsys.readouterr().err.count("p\\\\udcffw") == 2
