# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is told: a check is a line, and a mistake in it is a refusal that names it."""

from __future__ import annotations

import copy
import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.watch.check import KINDS, Settings, is_loopback

LEAST = {
    "heartbeat": {"path": "/srv/hello/shared/beat"},
    "artifact_staleness": {"path": "data/model.pkl"},
    "http": {"url": "http://127.0.0.1:8080/health"},
    "tcp": {"port": 8080},
    "unit": {"unit": "hello.service"},
    "database": {"engine": "postgresql"},
    "alert_queue": {},
    "audit_records": {"path": "/var/log/audit.jsonl"},
    "fallback": {"path": "/srv/hello/shared/fallback"},
    "integrity": {},
    "secret_age": {"path": "/etc/slipway/credentials"},
    "disk": {},
    "command": {"argv": ["/usr/bin/true"]},
}
ALL = [{"name": f"c-{kind.replace('_', '-')}", "kind": kind, "options": options} for kind, options in LEAST.items()]


def document(*checks, **changes):
    return {
        "format": 1,
        "application": "hello",
        "interval_seconds": 60,
        "escalation": {},
        "checks": list(checks),
        "channels": {},
        **changes,
    }


def check(kind="http", **changes):
    return {"name": "site", "kind": kind, "options": LEAST[kind], **changes}


def refused(value):
    with pytest.raises(Refusal) as caught:
        Settings.parse(value)
    assert caught.value.reason == "heartbeat_invalid"
    return f"{caught.value.expected}; found {caught.value.found}"


def test_every_kind_of_check_is_one_line():
    settings = Settings.parse(document(*ALL))
    assert [each.kind for each in settings.checks] == list(KINDS)
    assert {each.application for each in settings.checks} == {"hello"}
    assert [each.rule for each in settings.checks] == [kind.rule for kind in KINDS.values()]


def test_the_defaults_are_those_that_were_asked_for():
    settings = Settings.parse(
        document(check("heartbeat"), check("artifact_staleness", name="b"), check("database", name="c"))
    )
    alive, fresh, database = settings.checks
    assert alive.options["lapse_seconds"] == 300
    assert fresh.options["limit_seconds"] == 24 * 3600
    assert alive.escalates.cooldown_seconds == 3600
    assert (alive.interval_seconds, alive.escalates.severity, alive.escalates.has_hook) == (60, "CRITICAL", False)
    assert (database.options["slow_milliseconds"], database.options["port"]) == (100, 5432)


def test_a_check_may_differ_from_what_is_usual():
    given = check(
        application="bot", interval_seconds=10, timeout_seconds=2, severity="WARNING", escalation=["/usr/bin/systemctl", "restart", "a b"],
        cooldown_seconds=60, rule="site_down", runbook="https://runbooks.example/site",
    )  # fmt: skip
    found = Settings.parse(
        document(given, escalation={"cooldown_seconds": 7, "flap_falls": 9, "flap_seconds": 8, "calm_seconds": 6})
    ).checks[0]
    assert (found.key, found.rule, found.runbook) == ("bot/site", "site_down", "https://runbooks.example/site")
    assert found.escalation == ("/usr/bin/systemctl", "restart", "a b")
    rule = found.escalates
    assert (rule.severity, rule.has_hook, rule.cooldown_seconds, rule.flap_falls, rule.flap_seconds, rule.calm_seconds) == (
        "WARNING", True, 60, 9, 8, 6,
    )  # fmt: skip


MISTAKES = {
    "an unknown kind": check(kind="http") | {"kind": "prayer"},
    "no name": {"kind": "disk"},
    "a name that is none": check(name="A B"),
    "an option that the kind has not": check(options={"url": "http://x/", "port": 3}),
    "an option that lacks": check(options={}),
    "an option of another type": check(options={"url": ["http://x/"]}),
    "an address that is none": check(options={"url": "ftp://a/"}),
    "half an address": check(options={"url": "http://[::1"}),
    "an address with a port that there is not": check(options={"url": "http://127.0.0.1:99999/"}),
    "an address with a port that is none": check(options={"url": "https://watch.example:abc/"}),
    "an address without a host": check(options={"url": "http:///path"}),
    "a number as text": check("tcp", options={"port": "8080"}),
    "a truth as a number": check("tcp", options={"port": True}),
    "a number out of bounds": check("tcp", options={"port": 70000}),
    "two ways to the heartbeat": check("heartbeat", options={"path": "/a", "url": "http://x/"}),
    "no way to the heartbeat": check("heartbeat", options={}),
    "a path out of the release": check("artifact_staleness", options={"path": "../x"}),
    "an absolute artifact": check("artifact_staleness", options={"path": "/etc/passwd"}),
    "a database without its file": check("database", options={"engine": "sqlite"}),
    "a file for a server": check("database", options={"engine": "redis", "path": "/a"}),
    "a command as text": check("command", options={"argv": "true"}),
    "a command of numbers": check("command", options={"argv": ["/bin/sleep", 3]}),
    "an empty command": check("command", options={"argv": []}),
    "a program by its bare name": check("command", options={"argv": ["true"]}),
    "a hook as text": check(escalation="systemctl restart hello"),
    "a hook by its bare name": check(escalation=["systemctl"]),
    "a severity that is none": check(severity="LOUD"),
    "an interval of nothing": check(interval_seconds=0),
    "an interval that Prometheus takes for silence": check(interval_seconds=3601),
    "bytes that Prometheus takes for unverified": check("integrity", options={"bytes_interval_seconds": 3601}),
    "a key that nobody knows": check(frequency=3),
    "a runbook that is no address": check(runbook="look it up"),
    "a runbook that is half an address": check(runbook="https://[a/"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_check_is_refused(mistake):
    assert "heartbeat.checks[1]" in refused(document(check("disk", name="fine"), MISTAKES[mistake]))


def test_a_name_is_given_once_for_an_application():
    assert "hello/site" in refused(document(check(), check()))
    assert len(Settings.parse(document(check(), check(application="bot"))).checks) == 2


def test_a_check_needs_an_application():
    assert "application" in refused(document(check(), application=""))


SLACK = {"url_credential": "slack_url"}
MAIL = {
    "host": "mail.example",
    "user": "a",
    "password_credential": "mail",
    "from": "slipway@mail.example",
    "to": ["ops@mail.example", "b@c"],
}


def channels(**kinds):
    return document(channels=kinds)


def test_only_enabled_channels_are_channels():
    found = Settings.parse(
        channels(
            slack={**SLACK, "enabled": False}, email={**MAIL, "enabled": True}, webhook={"url": "https://a.example/x"}
        )
    )
    assert set(found.channels) == {"email", "webhook"}
    mail = found.channels["email"]
    assert (mail.port, mail.security, mail.recipients, mail.timeout_seconds) == (
        587,
        "starttls",
        ("ops@mail.example", "b@c"),
        5,
    )


def test_a_disabled_channel_may_be_unfinished():
    assert Settings.parse(channels(email={"enabled": False, "host": ""})).channels == {}


WRONG_CHANNELS = {
    "no address": {"slack": {}},
    "two addresses": {"slack": {**SLACK, "url": "https://a.example"}},
    "an unknown channel": {"pigeon": {}},
    "an unknown key": {"slack": {**SLACK, "channel": "#ops"}},
    "clear text over a network": {"webhook": {"url": "http://a.example/x"}},
    "mail in clear text over a network": {"email": {**MAIL, "security": "none"}},
    "a header with a value": {"webhook": {"url": "https://a.example", "headers": {"X": "a value with spaces"}}},
    "a header that is none": {"webhook": {"url": "https://a.example", "headers": {"X:": "x"}}},
    "a certificate without its key": {"alertmanager": {"url": "https://a.example", "certificate_file": "/etc/a.pem"}},
    "a user without a password": {"email": {key: value for key, value in MAIL.items() if key != "password_credential"}},
    "a password without a user": {"email": {key: value for key, value in MAIL.items() if key != "user"}},
    "nobody to write to": {"email": {**MAIL, "to": []}},
    "a recipient with a header in it": {"email": {**MAIL, "to": ["a@b\nBcc: c@d"]}},
    "security that is none": {"email": {**MAIL, "security": "hope"}},
}


@pytest.mark.parametrize("mistake", WRONG_CHANNELS)
def test_a_mistake_in_a_channel_is_refused(mistake):
    assert "heartbeat.channels" in refused(channels(**WRONG_CHANNELS[mistake]))


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({"slack": SLACK}, "slack_url"),
        ({"email": MAIL}, "mail"),
        ({"webhook": {"url": "https://a.example", "headers": {"X-Key": "hook"}}}, "hook"),
    ],
)
def test_a_secret_that_the_agent_does_not_get_is_refused(said, missing):
    found = refused(document(channels=said, credentials=["another", missing[:-1]]))
    assert "heartbeat_secrets" in found
    assert found.endswith(missing)
    Settings.parse(document(channels=said, credentials=[missing]))
    disabled = {kind: {**each, "enabled": False} for kind, each in said.items()}
    Settings.parse(document(channels=disabled, credentials=[]))


def test_clear_text_goes_to_loopback_or_where_somebody_said_so():
    for url in ("http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]/x"):
        assert Settings.parse(channels(webhook={"url": url})).channels["webhook"].url == url
    accepted = {"url": "http://192.0.2.1/x", "cleartext_accepted": True}
    assert Settings.parse(channels(webhook=accepted)).channels["webhook"].cleartext_accepted
    assert not is_loopback("127.0.0.1.evil.example")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"format": 2},
        document(interval_seconds=0),
        document(interval_seconds=121),  # at most once lost, and SlipwayHeartbeatStale is not to fire
        document(jitter_seconds=61),
        document(jitter_seconds=-1),
        document(more=1),
        document(checks={}),
        document(runbooks="x"),
    ],
)
def test_what_are_no_settings_are_refused(value):
    assert refused(value)


def test_they_are_read_from_the_host_and_only_as_they_are_written(host):
    path = host.configuration / "heartbeat.json"
    path.write_text(json.dumps(document(check(), runbooks="https://a.example/", metrics_path="/m", keep_hours=3)))
    found = Settings.load(host)
    assert (found.runbooks, found.metrics_path, found.keep_hours) == ("https://a.example/", "/m", 3)
    assert found == Settings.parse(json.loads(path.read_text()))
    path.unlink()
    with pytest.raises(Refusal, match="heartbeat_settings_missing"):
        Settings.load(host)


def test_reading_changes_nothing_of_what_is_read():
    value = document(*ALL, channels={"email": MAIL})
    before = copy.deepcopy(value)
    Settings.parse(value)
    assert value == before
