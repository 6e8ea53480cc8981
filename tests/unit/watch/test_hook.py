# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook of a check: the words of the settings and no others, with an end, and every outcome told."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.watch import hook
from ansible.module_utils.slipway.watch.check import Settings
from ansible.module_utils.slipway.watch.hook import Ran
from test_check import check, document


def settings(*argv):
    return Settings.parse(document(check(escalation=list(argv)), check("disk", name="room")))


@pytest.fixture
def configured(host):
    def configure(*argv):
        (host.configuration / "heartbeat.json").write_text(json.dumps(document(check(escalation=list(argv)))))
        return host

    return configure


def test_it_is_a_list_of_words_and_no_shell(host, tmp_path):
    target = tmp_path / "a $(touch b); c"
    assert hook.run(settings("/usr/bin/touch", str(target)), "hello/site", host, {}) == Ran(
        "success", "/usr/bin/touch succeeded"
    )
    assert [path.name for path in tmp_path.iterdir() if path.name != "host"] == ["a $(touch b); c"]


def test_it_knows_what_it_is_run_for(host, tmp_path):
    told = tmp_path / "told"
    argv = ("/bin/sh", "-c", f'echo "$SLIPWAY_APPLICATION $SLIPWAY_CHECK $SLIPWAY_RULE $TRACEPARENT" > {told}')
    hook.run(settings(*argv), "hello/site", host, {"TRACEPARENT": "a-trace"})
    assert told.read_text() == "hello site service_unavailable a-trace\n"


def test_a_failure_and_a_time_out_are_outcomes(host, monkeypatch):
    assert hook.run(settings("/bin/false"), "hello/site", host, {}) == Ran(
        "failure", "/bin/false ended with exit code 1"
    )
    assert hook.run(settings("/no/such"), "hello/site", host, {}).outcome == "failure"
    monkeypatch.setattr(hook, "SECONDS", 0.2)
    assert hook.run(settings("/bin/sleep", "60"), "hello/site", host, {}) == Ran(
        "timed_out", "/bin/sleep was stopped after 0.2 s"
    )


def test_what_it_prints_is_in_no_outcome(host):
    ran = hook.run(settings("/bin/sh", "-c", "echo hunter22; exit 3"), "hello/site", host, {})
    assert ran == Ran("failure", "/bin/sh ended with exit code 3")


@pytest.mark.parametrize("key", ["hello/room", "hello/none", "other/site", "/bin/sh"])
def test_only_a_check_that_has_one_has_one(host, key):
    assert hook.run(settings("/usr/bin/touch", "/nowhere"), key, host, {}).outcome == "not_run"


def test_it_has_thirty_seconds(configured):
    given = {}

    class Host:
        configuration = configured("/bin/true").configuration

        @staticmethod
        def run(argv, **options):
            given.update(options)
            return Finished(0, "")

    hook.answer(b'{"check": "hello/site"}\n', Host())
    assert given["timeout_seconds"] == 30


@pytest.mark.parametrize("request_", [b"", b"{", b"[]", b"3", b'{"check": 3}', b"{}", b"\xff"])
def test_a_request_of_another_kind_runs_nothing(configured, request_):
    assert json.loads(hook.answer(request_, configured("/usr/bin/touch", "/nowhere")))["outcome"] == "not_run"


def test_without_settings_nothing_is_run(host):
    assert json.loads(hook.answer(b'{"check": "hello/site"}\n', host))["outcome"] == "not_run"


def serve(path, answer):
    """What systemd does at the socket, for one connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def accept():
        connection, _ = listener.accept()
        with connection, listener, connection.makefile("rb") as stream:
            connection.sendall(answer(stream.readline()))

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    return thread


def test_the_agent_asks_at_the_socket_and_hears_how_it_ended(configured, tmp_path):
    host, path = configured("/bin/false"), tmp_path / "s"
    thread = serve(path, lambda request: hook.answer(request, host))
    assert hook.ask(path, "hello/site", "a-trace") == Ran("failure", "/bin/false ended with exit code 1")
    thread.join(20)


@pytest.mark.parametrize(
    "answer", [b"", b"\n", b'{"outcome": "fine", "detail": ""}\n', b'{"outcome": 3}\n', b"x" * 5000]
)
def test_an_answer_of_another_kind_is_an_outcome(tmp_path, answer):
    serve(tmp_path / "s", lambda _request: answer)
    assert hook.ask(tmp_path / "s", "hello/site").outcome == "not_run"


def test_nobody_at_the_socket_and_nobody_who_answers_are_outcomes(tmp_path, monkeypatch):
    assert hook.ask(tmp_path / "none", "hello/site").outcome == "not_run"
    monkeypatch.setattr(hook, "PATIENCE_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        assert hook.ask(tmp_path / "s", "hello/site").outcome == "timed_out"
