# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: one line of JSON each, in the right stream of the journal, joined by run and trace, without secrets."""

from __future__ import annotations

import json
import re
import socket

import pytest
from ansible.module_utils.slipway.watch.alert import Redactor
from ansible.module_utils.slipway.watch.events import SECURITY_EVENT, SYSTEM_EVENT, TYPES, Events, Trace

PARENT = f"00-{'a' * 32}-{'b' * 16}-00"


@pytest.fixture
def journal(tmp_path):
    """A socket where journald's is, and what came there, as fields."""
    place = tmp_path / "run/systemd/journal"
    place.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(place / "socket"))
        listener.settimeout(20)
        yield lambda: dict(line.split("=", 1) for line in listener.recv(65536).decode().splitlines())


def events(tmp_path, clock, **changes):
    return Events(tmp_path, clock, Trace.begin(PARENT), **changes)


def test_an_event_is_one_line_of_json_with_what_joins_it_to_others(tmp_path, clock, journal):
    events(tmp_path, clock, run_id="run-1").write(
        SYSTEM_EVENT, "check_failed", "two\nlines", application="hello", release="v1", milliseconds=3
    )
    fields = journal()
    said = json.loads(fields["MESSAGE"])
    assert said["type"] == "SYSTEM_EVENT"
    assert (said["event"], said["application"], said["release_id"], said["run_id"]) == (
        "check_failed",
        "hello",
        "v1",
        "run-1",
    )
    assert (said["trace_id"], said["parent_id"], said["milliseconds"]) == ("a" * 32, "b" * 16, 3)
    assert said["message"] == "two\nlines"
    assert (fields["SYSLOG_IDENTIFIER"], fields["SLIPWAY_TYPE"], fields["SLIPWAY_RUN_ID"], fields["SLIPWAY_RELEASE_ID"]) == (
        "slipway", "SYSTEM_EVENT", "run-1", "v1",
    )  # fmt: skip


@pytest.mark.parametrize("kind", TYPES)
def test_security_has_a_stream_of_its_own(tmp_path, clock, journal, kind):
    found = events(tmp_path, clock)
    found.write(kind, "something", "happened")
    fields = journal()
    assert fields["SYSLOG_IDENTIFIER"] == ("slipway-security" if kind == SECURITY_EVENT else "slipway")
    assert found.counts == {kind: 1}
    assert found.security == ({"something": 1} if kind == SECURITY_EVENT else {})


def test_no_secret_is_in_an_event(tmp_path, clock, journal):
    found = events(tmp_path, clock, redactor=Redactor.of(["hunter22"]))
    found.write(SYSTEM_EVENT, "x", "it is hunter22", detail="hunter22", password="other")
    assert "hunter22" not in json.dumps(said := journal())
    assert "other" not in json.dumps(said)


def test_without_a_journal_standard_error_gets_it(tmp_path, clock, capsys):
    events(tmp_path, clock).write(SYSTEM_EVENT, "x", "said all the same")
    assert json.loads(capsys.readouterr().err)["message"] == "said all the same"


def test_a_trace_that_came_along_goes_on():
    trace = Trace.begin(PARENT)
    assert (trace.trace_id, trace.parent_id, trace.flags) == ("a" * 32, "b" * 16, "00")
    assert re.fullmatch(rf"00-{'a' * 32}-[0-9a-f]{{16}}-00", trace.traceparent)
    assert "b" * 16 not in trace.traceparent


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "0" * 16 + "-01",
        "01-" + "a" * 32 + "-" + "b" * 16 + "-01",
        PARENT.upper(),
        PARENT + "\n",
    ],
)
def test_what_is_no_trace_begins_one(text):
    trace = Trace.begin(text)
    assert re.fullmatch(r"[0-9a-f]{32}", trace.trace_id)
    assert trace.trace_id != "a" * 32
    assert trace.parent_id == ""


def test_a_run_is_its_own_trace():
    assert Trace.begin(None, "12345678-9ABC-4def-8123-456789abcdef").trace_id == "123456789abc4def8123456789abcdef"
    assert Trace.begin(None, "run-1").trace_id != "run-1"
    assert Trace.begin(PARENT, "1" * 32).trace_id == "a" * 32


def test_what_is_no_utf_8_is_said_all_the_same(tmp_path, clock, journal):
    events(tmp_path, clock).write(SYSTEM_EVENT, "odd", "a\udcff", check="b\udcff", release="c\udcff")
    fields = journal()
    said = json.loads(fields["MESSAGE"])
    assert (said["message"], said["check"]) == ("a\\udcff", "b\\udcff")
    assert fields["SLIPWAY_RELEASE_ID"] == "c\\udcff"
