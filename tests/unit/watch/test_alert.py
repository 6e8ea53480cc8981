# SPDX-License-Identifier: GPL-3.0-or-later
"""What a message says in each channel, what makes two the same, and what must never be in one."""

from __future__ import annotations

import base64
import html
import json
from dataclasses import replace
from urllib.parse import quote

import pytest
from ansible.module_utils.slipway.watch import alert as alerts
from ansible.module_utils.slipway.watch.alert import FIRING, NOTICE, RESOLVED, Alert, Redactor
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_763_694_776  # 2025-11-21T03:12:56Z
LAPSE = Alert(
    severity="CRITICAL",
    rule="heartbeat_lapse",
    message="heartbeat lapsed: 420 s (threshold: 300 s) (3 failures in a row)",
    at=NOW,
    started=NOW - 120,
    host="prod-1",
    environment="prod",
    application="hello",
    check="alive",
    release="v1.2.0",
    last_deploy={"release_id": "v1.2.0", "at": "2025-11-21T02:00:00Z", "by": "alice", "outcome": "deploy success"},
    window={"open": True, "until": "2025-11-23T02:00:00Z"},
    context={"elapsed_seconds": 420, "threshold_seconds": 300},
    runbook="https://runbooks.example/heartbeat-lapse",
)
PLAIN = Alert("INFO", "alert_test", "a test", NOW, state=NOTICE, run_id="1" * 32)
EVERYTHING = (
    "CRITICAL", "heartbeat_lapse", "heartbeat lapsed: 420 s", "2025-11-21T03:12:56Z", "elapsed_seconds", "420", "v1.2.0", "deploy success",
    "2025-11-21T02:00:00Z", "alice", "2025-11-23T02:00:00Z", "https://runbooks.example/heartbeat-lapse", "prod-1", "hello",
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [json.dumps(alerts.slack(LAPSE)), json.dumps(alerts.webhook(LAPSE)), alerts.mail(LAPSE)],
    ids=["slack", "webhook", "mail"],
)
def test_a_message_says_everything_that_whoever_is_woken_needs(text):
    lacking = [part for part in EVERYTHING if part not in text and f'"{part}"' not in text]
    assert lacking in ([], ["2025-11-21T03:12:56Z"] if "Z" not in text else [])


def test_the_subject_of_a_mail_is_the_severity_in_brackets_and_the_rule():
    assert LAPSE.subject == "[CRITICAL] heartbeat_lapse"
    assert replace(LAPSE, state=RESOLVED).subject == "[CRITICAL] heartbeat_lapse (resolved)"


@pytest.mark.parametrize(("severity", "colour"), [("INFO", "good"), ("WARNING", "warning"), ("CRITICAL", "danger")])
def test_slack_shows_the_colour_of_the_severity_and_green_when_it_is_over(severity, colour):
    shown = alerts.slack(replace(LAPSE, severity=severity))
    assert shown["text"] == f"*{severity}* - heartbeat_lapse"
    assert shown["attachments"][0]["color"] == colour
    over = alerts.slack(replace(LAPSE, severity=severity, state=RESOLVED))
    assert (over["text"], over["attachments"][0]["color"]) == (f"*{severity}* - heartbeat_lapse (resolved)", "good")


def test_a_message_cannot_call_everybody_in_slack():
    shown = json.dumps(alerts.slack(replace(LAPSE, message="<!channel> & <https://evil.example|click>")))
    assert "<!channel>" not in shown
    assert "&lt;!channel&gt; &amp;" in shown


def test_alertmanager_gets_labels_that_stay_and_annotations_that_change():
    entry = alerts.alertmanager(LAPSE, ends=NOW + 300)
    assert entry["labels"] == {
        "alertname": "heartbeat_lapse", "severity": "critical", "application": "hello", "check": "alive", "instance": "prod-1",
        "environment": "prod", "source": "slipway-agent", "watch_window": "open",
    }  # fmt: skip
    assert (entry["startsAt"], entry["endsAt"]) == ("2025-11-21T03:10:56Z", "2025-11-21T03:17:56Z")
    assert entry["annotations"]["summary"] == LAPSE.message
    assert entry["annotations"]["runbook_url"] == LAPSE.runbook
    assert entry["annotations"]["release"] == "v1.2.0"
    later = replace(LAPSE, at=NOW + 60, message="another", context={}, release="v2")
    assert alerts.alertmanager(later, ends=0)["labels"] == entry["labels"]
    over = alerts.alertmanager(replace(LAPSE, state=RESOLVED, at=NOW + 60), ends=NOW + 600)
    assert (over["labels"], over["endsAt"]) == (entry["labels"], "2025-11-21T03:13:56Z")
    # It never ends before it began, which Alertmanager refuses.
    assert alerts.alertmanager(replace(LAPSE, state=RESOLVED, at=NOW - 500), ends=0)["endsAt"] > entry["startsAt"]


def test_a_notice_of_another_run_is_another_one():
    other = replace(PLAIN, run_id="2" * 32)
    assert PLAIN.key != other.key
    assert alerts.alertmanager(PLAIN, ends=1)["labels"] != alerts.alertmanager(other, ends=1)["labels"]
    assert replace(PLAIN, message="b", at=1).key == PLAIN.key


@pytest.mark.parametrize(
    "change", [{"severity": "WARNING"}, {"host": "prod-2"}, {"application": "b"}, {"check": "b"}, {"rule": "b"}]
)
def test_what_makes_two_messages_different_matters(change):
    assert replace(LAPSE, **change).key != LAPSE.key


def test_the_same_matter_has_the_same_key_whatever_is_said_of_it():
    assert (
        replace(LAPSE, message="b", at=1, started=2, context={}, release="v9", state=RESOLVED, window={}).key
        == LAPSE.key
    )


def test_it_comes_back_from_plain_data_as_it_was():
    for each in (LAPSE, PLAIN):
        assert Alert.of(json.loads(json.dumps(each.as_dict()))) == each


@pytest.mark.parametrize("change", [{"severity": "LOUD"}, {"state": "perhaps"}, {"at": "now"}, {"more": 1}])
def test_what_is_no_alert_is_none(change):
    with pytest.raises((TypeError, ValueError)):
        Alert.of({**LAPSE.as_dict(), **change})


SECRET = 'p4ss/w0rd+"é>?>?~~~'
FORMS = [
    SECRET, json.dumps(SECRET)[1:-1], quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode(), SECRET.encode().hex(),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_that_the_agent_holds_is_in_no_message_in_whatever_form(form):
    redactor = Redactor.of([SECRET, "", "abc"])
    assert form.rstrip("=") not in redactor.text(f"it said: {form}!")
    assert form.rstrip("=") not in json.dumps(
        redactor.context({"answer": [form], "n": 3, form: "x"}), ensure_ascii=False
    )


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("no connection to postgres://shop:hunter22@db/shop", "hunter22"),
        ("password=hunter22 is wrong", "hunter22"),
        ('{"api_key": "hunter22"}', "hunter22"),
        ("Authorization: Bearer hunter22hunter22", "hunter22"),
        ("sent bearer hunter22hunter22", "hunter22"),
        ("token: hunter22, next", "hunter22"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text, hidden):
    shown = Redactor().text(text)
    assert hidden not in shown
    assert "[hidden]" in shown


@pytest.mark.parametrize(
    "name", ["password", "db_passwd", "API_KEY", "apikey", "slack_token", "Authorization", "private_key", "cookie"]
)
def test_a_member_of_a_context_that_is_called_a_secret_is_hidden(name):
    assert Redactor().context({name: 12345, "unit": "a.service"}) == {name: "[hidden]", "unit": "a.service"}


def test_what_is_no_secret_is_left_as_it_is():
    text = "heartbeat lapsed: 420 s (threshold: 300 s); http://127.0.0.1:8080/health answered 503"
    assert Redactor.of(["hunter22"]).text(text) == text
    assert Redactor().context({"elapsed_seconds": 420, "none": None, "flag": True}) == {
        "elapsed_seconds": 420,
        "none": None,
        "flag": True,
    }


@given(
    st.text(min_size=4, max_size=40).filter(lambda text: len(text.strip()) >= 4),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_no_secret_is_left_in_any_text(secret, before, after):
    assert secret.strip() not in Redactor.of([secret]).text(f"{before}{secret}{after}").replace("[hidden]", "\0")


ODD = "pa\"ss'w\\\\örd/€<&>-of-mine"


@pytest.mark.parametrize(
    "written",
    [
        ascii, repr, json.dumps, lambda text: repr(text.encode()), lambda text: ascii(f"{text} 'quoted'"), lambda text: ascii({text: 1}),
        lambda text: json.dumps(text, ensure_ascii=False), lambda text: json.dumps(text).replace("/", "\\/"), html.escape,
    ],
)  # fmt: skip
@pytest.mark.parametrize("secret", [ODD, "it's-a-secret", 'so-"called"'])
def test_a_secret_is_found_however_it_is_escaped(written, secret):
    shown = Redactor.of([secret]).text(f"it said {written(secret)} and more")
    assert "[hidden]" in shown
    assert not {part for part in ("of-mine", "called", "a-secret") if part in shown}


@pytest.mark.parametrize("before", ["", "u", "us", "user:"])
@pytest.mark.parametrize("written", [lambda data: base64.b64encode(data).decode(), lambda data: data.hex().upper()])
def test_a_secret_is_found_behind_a_name_that_was_encoded_with_it(before, written):
    shown = Redactor.of(["t0ken-of-mine?>"]).text(written(f"{before}t0ken-of-mine?>".encode()))
    assert "[hidden]" in shown
    assert len(shown) < len("[hidden]") + 18


def test_a_number_that_is_a_secret_is_hidden():
    assert Redactor.of(["12345678"]).context({"pin": 12345678, "n": 7}) == {"pin": "[hidden]", "n": 7}


@pytest.mark.parametrize("length", [8, 50, 242])
@pytest.mark.parametrize("end", ["", "…", "…'; again"])
def test_a_secret_that_was_cut_off_is_hidden_as_far_as_it_goes(length, end):
    token = "".join(f"{number:03x}" for number in range(81))
    assert Redactor.of([token]).text(f"it said '{token[:length]}{end}") == f"it said '[hidden]{end}"


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("Bearer abcdefghijkl", "no such token: abcdefghijkl"),
        ("https://hooks.example/services/T1/abcdefghijkl", "Cannot POST /services/T1/abcdefghijkl"),
        ("https://hooks.example/services/T1/abcdefghijkl?x=1", "no hook abcdefghijkl"),
        ("-----BEGIN KEY-----\nabcdefghijkl\n-----END KEY-----", "last line: abcdefghijkl"),
    ],
)
def test_what_of_a_secret_may_be_said_alone_is_hidden(secret, said):
    assert "abcdefghijkl" not in Redactor.of([secret]).text(said)


def test_texts_are_short_enough_for_every_channel():
    assert len(Redactor().text("x" * 100_000)) == 1000


def test_states_are_what_they_are_called():
    assert (FIRING, RESOLVED, NOTICE) == ("firing", "resolved", "notice")
