# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets an alert while everything works, while something is away, and when it comes back: nothing is lost, and nothing said twice for nothing."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
import sinks as receivers
from ansible.module_utils.slipway.watch import delivery as deliveries
from ansible.module_utils.slipway.watch.agent_memory import Memory
from ansible.module_utils.slipway.watch.alert import NOTICE, RESOLVED, Redactor
from ansible.module_utils.slipway.watch.alert_history import AlertHistory
from ansible.module_utils.slipway.watch.channels import Credentials, Sender
from ansible.module_utils.slipway.watch.check import Channel, Settings
from ansible.module_utils.slipway.watch.delivery import Delivery
from ansible.module_utils.slipway.watch.events import Events, Trace
from test_alert import LAPSE

WARNING = replace(LAPSE, severity="WARNING")


class Post:
    """An agent's deliveries, process after process: what one leaves, the next one takes up."""

    def __init__(self, tmp_path, clock, channels):
        self.directory, self.clock = tmp_path, clock
        self.settings = Settings(60, (), channels)
        self.memory = Memory()
        self.history = AlertHistory(tmp_path / "alerts.jsonl")
        self.events = []

    def process(self):
        self.memory = Memory.of(json.loads(json.dumps(self.memory.as_dict())))
        events = Events(self.directory / "nowhere", self.clock, Trace.begin())
        events.write = lambda _kind, event, _message, **_details: self.events.append(event)
        sender = Sender(Credentials(self.directory / "credentials"), Redactor())
        return Delivery(
            self.settings, self.memory, sender, self.history, events, self.clock.now, lambda: 1.0, "prod-1", "prod"
        )

    def say(self, *alerts):
        delivery = self.process()
        numbers = [delivery.add(replace(alert, at=self.clock.now())) for alert in alerts]
        delivery.deliver()
        self.clock.advance(60)
        return numbers

    def only(self, kind):
        self.settings = replace(self.settings, channels={kind: self.settings.channels[kind]})

    @property
    def waiting(self):
        return [(each.alert.subject, each.pending) for each in self.memory.queue]

    def taken(self):
        return {each["number"]: sorted(each["delivered"]) for each in self.history.find()}


@pytest.fixture
def direct(tmp_path, clock, sinks):
    """Slack for everything, a webhook for what is CRITICAL, and mail from WARNING on."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/watch_mail").write_text(receivers.MAIL_PASSWORD)
    mail = Channel(
        "email", host="127.0.0.1", port=sinks.mail.port, user=receivers.MAIL_USER, password_credential="mail", sender="s@mail.example",
        recipients=("ops@mail.example",), ca_file=str(sinks.certificate.path), severity="WARNING",
    )  # fmt: skip
    channels = {
        "slack": Channel("slack", url=sinks.slack.url, timeout_seconds=2),
        "webhook": Channel("webhook", url=sinks.webhook.url, severity="CRITICAL", timeout_seconds=2),
        "email": mail,
    }
    return Post(tmp_path, clock, channels)


@pytest.fixture
def routed(direct, sinks):
    """The same with an Alertmanager before them."""
    url = sinks.alertmanager.url.removesuffix("/hook")
    direct.settings = replace(
        direct.settings,
        channels={**direct.settings.channels, "alertmanager": Channel("alertmanager", url=url, timeout_seconds=2)},
    )
    return direct


def counts(sinks):
    return len(sinks.slack.got), len(sinks.webhook.got), len(sinks.mail.got)


def test_without_an_alertmanager_each_channel_gets_what_it_wants(direct, sinks):
    (number,) = direct.say(LAPSE)
    assert counts(sinks) == (1, 1, 1)
    direct.say(WARNING)
    assert counts(sinks) == (2, 1, 2)
    direct.say(replace(LAPSE, severity="INFO", state=NOTICE, run_id="1"))
    assert counts(sinks) == (3, 1, 2)
    assert direct.waiting == []
    assert direct.taken()[number] == ["email", "slack", "webhook"]


def test_with_an_alertmanager_that_alone_gets_them(routed, sinks):
    routed.say(WARNING, LAPSE)
    assert counts(sinks) == (0, 0, 0)
    assert [[entry["labels"]["severity"] for entry in body] for body in sinks.alertmanager.bodies] == [
        ["warning", "critical"]
    ]
    assert routed.waiting == []


def test_what_fires_is_told_to_alertmanager_again_each_time_and_what_is_over_once(routed, sinks):
    routed.say(LAPSE)
    routed.say()
    routed.say(replace(LAPSE, state=RESOLVED))
    routed.say()
    entries = sinks.alertmanager.bodies
    assert [len(body) for body in entries] == [1, 1, 1]
    assert entries[0][0]["labels"] == entries[1][0]["labels"] == entries[2][0]["labels"]
    assert entries[0][0]["startsAt"] == entries[1][0]["startsAt"]
    # Four runs long it fires without another word; then it is over by itself.
    assert entries[0][0]["endsAt"] < entries[1][0]["endsAt"]


def test_while_alertmanager_is_away_people_are_told_directly_once(routed, sinks):
    sinks.alertmanager.close()
    routed.say(LAPSE)
    assert counts(sinks) == (1, 1, 1)
    routed.say()
    routed.say()
    assert counts(sinks) == (1, 1, 1)
    assert routed.waiting == []
    routed.say(replace(LAPSE, state=RESOLVED))
    assert [text for text, _colour in sinks.slack.told] == [
        "*CRITICAL* - heartbeat_lapse",
        "*CRITICAL* - heartbeat_lapse (resolved)",
    ]


def test_when_alertmanager_returns_it_learns_what_fires(routed, sinks):
    sinks.alertmanager.close()
    routed.say(LAPSE)
    sinks.alertmanager.open()
    routed.say()
    assert [entry["labels"]["check"] for body in sinks.alertmanager.bodies for entry in body] == ["alive"]


def test_when_nothing_is_reachable_it_waits_on_disk_and_nothing_is_lost(routed, sinks):
    for sink in (sinks.alertmanager, sinks.slack, sinks.webhook, sinks.mail):
        sink.close()
    routed.say(LAPSE)
    routed.say(WARNING)
    assert [subject for subject, _pending in routed.waiting] == [
        "[CRITICAL] heartbeat_lapse",
        "[WARNING] heartbeat_lapse",
    ]
    sinks.slack.open()
    routed.clock.advance(300)
    routed.say()
    assert [text for text, _colour in sinks.slack.told[:2]] == [
        "*CRITICAL* - heartbeat_lapse",
        "*WARNING* - heartbeat_lapse",
    ]
    # The webhook takes nothing less than CRITICAL.
    assert [pending for _subject, pending in routed.waiting] == [["webhook", "email"], ["email"]]
    sinks.alertmanager.open()
    routed.clock.advance(300)
    routed.say()
    assert routed.waiting == []
    assert {entry["labels"]["severity"] for body in sinks.alertmanager.bodies for entry in body} >= {
        "warning",
        "critical",
    }


def test_ten_thousand_identical_alerts_are_one_message_to_each(direct, sinks):
    delivery = direct.process()
    numbers = {
        delivery.add(replace(LAPSE, at=direct.clock.now(), message=f"the {number}th")) for number in range(10_000)
    }
    delivery.deliver()
    assert counts(sinks) == (1, 1, 1)
    assert len(numbers) == 1
    assert direct.memory.alerts == {"hello|CRITICAL": 1}
    assert sinks.webhook.bodies[0]["message"] == "the 9999th"


def test_a_channel_that_is_away_is_tried_less_and_less_and_says_when_it_is_back(direct, sinks):
    sinks.slack.close()
    for number in range(4):
        direct.say(replace(LAPSE, check=f"c{number}"))
    circuit = direct.memory.circuits["slack"]
    assert (circuit.failures, circuit.degraded is not None) == (4, True)
    assert "refused" in circuit.why
    assert direct.events.count("channel_degraded") == 1
    sinks.slack.open()
    direct.say()
    direct.say()
    assert [text for text, _colour in sinks.slack.told] == ["*CRITICAL* - heartbeat_lapse"] * 4 + [
        "*INFO* - channel_recovered"
    ]
    assert "refused" in json.dumps(sinks.slack.bodies[-1])
    assert direct.memory.circuits["slack"].degraded is None
    assert direct.events.count("channel_recovered") == 1
    # The others did not wait for it, and nobody got anything twice.
    assert (len(sinks.webhook.got), len(sinks.mail.got)) == (4, 4)


def test_after_ten_failures_nobody_tries_for_two_minutes(direct, sinks):
    sinks.slack.answers = [500] * 100
    tried = []
    for _ in range(14):
        before = len(sinks.slack.answers)
        direct.say(LAPSE)
        tried.append(before - len(sinks.slack.answers))
    assert tried == [1] * 10 + [0, 1, 0, 1]
    assert direct.events.count("breaker_opened") == 1


def test_what_a_channel_will_never_take_does_not_stand_in_the_way(direct, sinks):
    sinks.webhook.answers = [400]
    direct.say(LAPSE)
    assert direct.waiting == []
    assert direct.events == ["alert_refused", "channel_failed"]
    assert direct.memory.circuits["webhook"].failures == 1
    assert direct.memory.lost == 0
    direct.say(replace(LAPSE, check="b"))
    assert len(sinks.webhook.got) == 1
    assert direct.memory.circuits["webhook"].failures == 0


def test_what_the_only_channel_refuses_is_lost_and_that_is_said(direct, sinks):
    direct.only("webhook")
    sinks.webhook.answers = [400] * 3
    numbers = [direct.say(replace(LAPSE, check=f"c{number}"))[0] for number in range(3)]
    assert direct.waiting == []
    assert direct.memory.lost == 3
    assert direct.events.count("alert_lost") == 3
    assert [direct.taken()[number] for number in numbers] == [["nobody"]] * 3
    # One that refuses everything is not well.
    assert direct.memory.circuits["webhook"].degraded is not None


def test_a_channel_that_is_archived_is_one_that_is_away(direct, sinks):
    direct.only("slack")
    sinks.slack.answers = [410, 405]
    direct.say(LAPSE)
    direct.say()
    assert direct.waiting == [("[CRITICAL] heartbeat_lapse", ["slack"])]
    direct.say()
    assert (direct.waiting, direct.memory.lost) == ([], 0)
    assert len(sinks.slack.got) == 1


def test_people_hear_last_what_was_said_last(direct, sinks):
    direct.only("slack")
    sinks.slack.close()
    direct.say(LAPSE)
    direct.say(replace(LAPSE, state=RESOLVED))
    direct.say(LAPSE)
    sinks.slack.open()
    direct.clock.advance(300)
    direct.say()
    firing, resolved = "*CRITICAL* - heartbeat_lapse", "*CRITICAL* - heartbeat_lapse (resolved)"
    assert [text for text, _colour in sinks.slack.told[:3]] == [firing, resolved, firing]


def test_alertmanager_hears_the_newest_of_each_matter(routed, sinks):
    routed.only("alertmanager")
    sinks.alertmanager.close()
    for state in ("firing", RESOLVED, "firing"):
        routed.say(replace(LAPSE, state=state))
    sinks.alertmanager.open()
    routed.clock.advance(300)
    routed.say()
    assert [entry["annotations"]["kind"] for entry in sinks.alertmanager.bodies[0]] == ["firing"]


def test_what_is_said_again_reaches_also_who_took_it_the_first_time(direct, sinks):
    sinks.webhook.close()
    direct.say(LAPSE)
    direct.say(replace(LAPSE, message="for an hour"))
    assert [len(sinks.slack.got), len(sinks.mail.got)] == [2, 2]
    assert [pending for _subject, pending in direct.waiting] == [["webhook"]]
    sinks.webhook.open()
    direct.clock.advance(300)
    direct.say()
    assert [body["message"] for body in sinks.webhook.bodies] == ["for an hour"]


def test_what_a_channel_took_before_it_hung_is_not_sent_to_it_again(direct):
    taken, done = [], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def play():
            for _ in range(2):
                connection, _address = listener.accept()
                with connection:
                    taken.append(connection.recv(65536))
                    if len(taken) == 1:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    # The second answer drips: no part of it is late, and it never ends.
                    while len(taken) == 2 and not done.wait(0.05):
                        with suppress(OSError):
                            connection.sendall(b"H")

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        direct.settings = replace(
            direct.settings,
            channels={
                "webhook": Channel("webhook", url=f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout_seconds=0.2)
            },
        )
        direct.say(LAPSE, replace(LAPSE, check="b"))
        done.set()
        thread.join(20)
    assert [each.alert.check for each in direct.memory.queue] == ["b"]
    assert "no answer within" in direct.memory.circuits["webhook"].why
    assert len(taken) == 2


def test_no_more_is_begun_than_there_is_time_for(direct, sinks):
    direct.only("slack")
    times = iter(range(0, 1000, 3))  # each takes three seconds of the twelve that there are
    delivery = direct.process()
    delivery.elapsed = lambda: float(next(times))
    for number in range(5):
        delivery.add(replace(LAPSE, check=f"c{number}"))
    delivery.deliver()
    assert len(sinks.slack.got) == 3
    assert [each.alert.check for each in direct.memory.queue] == ["c3", "c4"]
    assert direct.memory.circuits["slack"].failures == 0


def test_a_recipient_who_was_refused_for_now_gets_it_later_and_no_other_twice(direct, sinks):
    direct.settings = replace(
        direct.settings,
        channels={
            "email": replace(direct.settings.channels["email"], recipients=("ops@mail.example", "lead@mail.example"))
        },
    )
    sinks.mail.defers = {"lead@mail.example"}
    (number,) = direct.say(LAPSE)
    direct.say(replace(LAPSE, check="b"))
    direct.say()
    assert sinks.mail.recipients == [["ops@mail.example"]] * 2
    assert len(direct.waiting) == 2
    assert direct.memory.circuits["email"].failures == 0
    assert "alert_deferred" in direct.events
    sinks.mail.defers = set()
    direct.say()
    assert sinks.mail.recipients == [["ops@mail.example"]] * 2 + [["lead@mail.example"]] * 2
    assert (direct.waiting, direct.memory.lost) == ([], 0)
    assert direct.taken()[number] == ["email"]


def test_a_recipient_who_is_refused_for_good_is_asked_no_more(direct, sinks):
    direct.settings = replace(
        direct.settings,
        channels={
            "email": replace(direct.settings.channels["email"], recipients=("ops@mail.example", "lead@mail.example"))
        },
    )
    sinks.mail.defers = {"lead@mail.example"}
    direct.say(LAPSE)
    sinks.mail.defers, sinks.mail.refuses = set(), {"lead@mail.example"}
    direct.say()
    assert (direct.waiting, direct.memory.lost) == ([], 0)
    assert direct.events[-1] == "alert_refused"


def test_one_that_hangs_holds_no_other_up(direct, sinks):
    sinks.webhook.held.clear()
    direct.settings = replace(
        direct.settings,
        channels={
            **direct.settings.channels,
            "webhook": replace(direct.settings.channels["webhook"], timeout_seconds=1),
        },
    )
    direct.say(LAPSE)
    assert (len(sinks.slack.got), len(sinks.mail.got)) == (1, 1)
    assert direct.waiting == [("[CRITICAL] heartbeat_lapse", ["webhook"])]


def test_what_nobody_takes_is_given_up_after_a_while_and_that_is_said(direct, sinks):
    for sink in (sinks.slack, sinks.webhook, sinks.mail):
        sink.close()
    direct.settings = replace(direct.settings, keep_hours=1)
    (number,) = direct.say(LAPSE)
    for _ in range(60):
        direct.say()
    assert direct.memory.lost == 0
    direct.say()
    assert direct.waiting == []
    assert direct.memory.lost == 1
    assert "alert_lost" in direct.events
    assert direct.taken()[number] == ["nobody"]


def test_a_clock_that_is_set_forward_and_a_host_that_was_off_lose_nothing(direct, sinks):
    direct.only("slack")
    sinks.slack.close()
    direct.say(LAPSE)
    direct.clock.advance(3 * 86400)
    direct.say()
    assert (direct.memory.lost, len(direct.waiting)) == (0, 1)
    sinks.slack.open()
    direct.say()
    assert len(sinks.slack.got) == 1


def test_a_program_hears_the_end_of_what_people_need_not(direct, sinks):
    direct.settings = replace(
        direct.settings,
        channels={**direct.settings.channels, "webhook": replace(direct.settings.channels["webhook"], severity="INFO")},
    )
    direct.say(WARNING, LAPSE)
    delivery = direct.process()
    delivery.add(replace(WARNING, state=RESOLVED), is_for_people=False)
    delivery.add(replace(LAPSE, state=RESOLVED))
    delivery.deliver()
    assert {body["key"] for body in sinks.webhook.bodies if body["state"] == RESOLVED} == {WARNING.key, LAPSE.key}
    assert len(sinks.slack.got) == 3


def test_a_queue_has_an_end_and_the_least_severe_goes_first(direct, sinks, monkeypatch):
    monkeypatch.setattr(deliveries, "MOST_QUEUED", 3)
    for sink in (sinks.slack, sinks.webhook, sinks.mail):
        sink.close()
    direct.say(
        *[replace(LAPSE, check=f"c{number}", severity="WARNING" if number == 2 else "CRITICAL") for number in range(5)]
    )
    assert [each.alert.check for each in direct.memory.queue] == ["c1", "c3", "c4"]
    assert direct.memory.lost == 2


def test_what_only_alertmanager_was_to_hear_people_do_not(routed, sinks):
    routed.say(WARNING, LAPSE)
    sinks.alertmanager.close()
    delivery = routed.process()
    delivery.add(replace(WARNING, state=RESOLVED), is_for_people=False)
    delivery.add(replace(LAPSE, state=RESOLVED))
    delivery.deliver()
    assert [text for text, _colour in sinks.slack.told] == ["*CRITICAL* - heartbeat_lapse (resolved)"]
    assert routed.waiting == []
    assert routed.memory.firing == {}


def test_a_history_that_cannot_be_written_holds_nothing_up(direct, sinks):
    direct.history.path.mkdir()
    direct.history = AlertHistory(direct.directory / "no/such/alerts.jsonl")
    direct.say(LAPSE)
    assert counts(sinks) == (1, 1, 1)
    assert "alert_history_failed" in direct.events


def test_an_alertmanager_that_is_left_alone_is_not_waited_for(routed, sinks):
    sinks.alertmanager.answers = [500] * 10
    for number in range(10):
        routed.say(replace(LAPSE, check=f"c{number}"))
    assert routed.events.count("breaker_opened") == 1
    routed.say(replace(LAPSE, check="next"))
    assert sinks.alertmanager.got == []
    assert len(sinks.slack.got) == 11
    routed.say()
    first, second = sinks.alertmanager.bodies
    assert len(first) == 11
    assert "channel_recovered" in {entry["labels"]["alertname"] for entry in second}


def test_without_any_channel_nothing_waits(direct):
    direct.settings = replace(direct.settings, channels={})
    direct.say(LAPSE)
    assert direct.waiting == []
    assert len(direct.history.find()) == 1
