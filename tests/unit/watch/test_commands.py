# SPDX-License-Identifier: GPL-3.0-or-later
"""`slipway watch`: what each verb says, and how it ends."""

from __future__ import annotations

import io
import json
import sys

import pytest
from ansible.module_utils.slipway.watch import commands
from ansible.module_utils.slipway.watch.agent_memory import Memory, Post
from test_check import document

BEAT = {"name": "alive", "kind": "heartbeat", "options": {"path": "/beat"}}


@pytest.fixture
def watched(host, sinks):
    def configure(*checks, **changes):
        settings = document(*(checks or [BEAT]), channels={"slack": {"url": sinks.slack.url}}, **changes)
        (host.configuration / "heartbeat.json").write_text(json.dumps(settings))
        return host

    (host.root / "beat").touch()
    host.clock.time = (host.root / "beat").stat().st_mtime
    configure()
    return configure


def watch(host, *arguments):
    return commands.main(arguments, host)


def test_a_run_asks_and_status_says_what_it_found(host, watched, capsys):
    assert watch(host, "status") == 1
    assert "it never ran" in capsys.readouterr().out
    assert watch(host, "run") == 0
    assert watch(host, "status") == 0
    shown = capsys.readouterr().out
    assert "HEALTHY" in shown
    assert "slack" in shown
    host.clock.advance(301)
    for _ in range(2):
        assert watch(host, "run", "--all") == 0
        host.clock.advance(60)
    assert watch(host, "status", "--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert [(check["check"], check["status"], check["level"]) for check in answer["checks"]] == [
        ("alive", "UNHEALTHY", 2)
    ]
    assert answer["channels"] == [{"channel": "slack", "state": "closed", "detail": ""}]


def test_a_check_that_did_not_run_for_a_while_is_not_well(host, watched, capsys):
    watch(host, "run")
    host.clock.advance(3 * 60 + 5)
    assert watch(host, "status") == 0
    host.clock.advance(1)
    assert watch(host, "status") == 1
    assert "it did not run for 186 s" in capsys.readouterr().out


def test_a_degraded_channel_is_shown_with_its_reason(host, watched, sinks, capsys):
    sinks.slack.close()
    host.clock.advance(301)
    for _ in range(5):
        watch(host, "run", "--all")
        host.clock.advance(60)
    capsys.readouterr()
    assert watch(host, "status") == 1
    shown = capsys.readouterr().out
    assert "slack    degraded" in shown
    assert "Connection refused" in shown
    assert "alerts: 2 wait for a channel that takes them" in shown
    remarks = commands.remarks(Memory.load(Post(host)), host.clock.now())
    assert remarks[0].startswith("alerts: slack is degraded since ")
    assert commands.remarks(Memory(lost=2), 0) == ["alerts: 2 were given up, since nobody took them in time"]


def test_alerts_are_looked_up(host, watched, capsys):
    host.clock.advance(301)
    for _ in range(3):
        watch(host, "run", "--all")
        host.clock.advance(60)
    capsys.readouterr()
    assert watch(host, "alerts") == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3
    assert "CRITICAL" in shown[1]
    assert "slack" in shown[1]
    assert (
        watch(
            host,
            "alerts",
            "--severity",
            "WARNING",
            "--rule",
            "heartbeat_lapse",
            "--since",
            "2020-01-01T00:00:00Z",
            "--json",
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert [each["severity"] for each in found] == ["WARNING"]
    assert list(found[0]["delivered"]) == ["slack"]
    assert watch(host, "alerts", "--until", "2020-01-01T00:00:00Z", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    with pytest.raises(SystemExit):
        watch(host, "alerts", "--since", "yesterday")


def test_a_test_says_which_channel_took_it_then_and_later(host, watched, sinks, capsys):
    assert watch(host, "test", "--last") == 1
    assert watch(host, "test") == 0
    assert "slack    yes" in capsys.readouterr().out
    assert watch(host, "test", "--last", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["channel"] == "slack"
    sinks.slack.close()
    assert watch(host, "test") == 1
    assert "slack    no" in capsys.readouterr().out


def test_settings_are_validated_before_they_are_the_hosts(host, watched, tmp_path, capsys):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(document({"name": "x", "kind": "prayer"})))
    assert watch(host, "validate", str(wrong)) == 1
    assert "heartbeat_invalid" in capsys.readouterr().err
    wrong.write_text(json.dumps(document(BEAT)))
    assert watch(host, "validate", str(wrong)) == 0
    (host.configuration / "heartbeat.json").write_text("{")
    assert watch(host, "run") == 1
    assert watch(host, "status") == 1


def test_the_hook_answers_on_its_standard_output(host, watched, monkeypatch, tmp_path):
    watched({**BEAT, "escalation": ["/usr/bin/touch", str(tmp_path / "done")]})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"check": "hello/alive"}\n')))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said := io.BytesIO()))
    assert watch(host, "hook") == 0
    assert json.loads(said.getvalue())["outcome"] == "success"
    assert (tmp_path / "done").exists()


def test_two_runs_do_not_work_at_the_same_time(host, watched, monkeypatch, capsys):
    monkeypatch.setattr(commands, "alone", lambda *_arguments: Busy())
    assert watch(host, "run") == 1
    assert "does not end" in capsys.readouterr().err


class Busy:
    def __enter__(self):
        return False

    def __exit__(self, *_arguments):
        return None


def test_what_may_not_be_read_is_not_taken_for_nothing(host, watched, capsys):
    watch(host, "run")
    capsys.readouterr()
    post = Post(host)
    post.state.unlink()
    post.state.mkdir()
    (post.directory / "alerts.jsonl").mkdir()
    for verb in ("status", "alerts"):
        assert watch(host, verb) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert ("state.json" if verb == "status" else "alerts.jsonl") in shown.err
    assert "cannot be read" in commands.remarks(Memory.load(post), 0)[0]


def test_no_more_alerts_are_shown_than_asked_for(host, watched, capsys):
    host.clock.advance(301)
    for _ in range(3):
        watch(host, "run", "--all")
    for limit in (1, 2):
        capsys.readouterr()
        assert watch(host, "alerts", "--json", "--limit", str(limit)) == 0
        assert len(json.loads(capsys.readouterr().out)) == limit


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_number_of_alerts(host, watched, limit):
    with pytest.raises(SystemExit) as caught:
        watch(host, "alerts", "--limit", limit)
    assert caught.value.code == 2
