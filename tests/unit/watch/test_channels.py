# SPDX-License-Identifier: GPL-3.0-or-later
"""How an alert goes out, to receivers that keep to the protocols, and what is said when one does not take it."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace

import pytest
import sinks as receivers
from aiosmtpd.controller import Controller
from ansible.module_utils.slipway.watch.alert import RESOLVED, Redactor
from ansible.module_utils.slipway.watch.channels import Credentials, NotDelivered, Sender, exchange
from ansible.module_utils.slipway.watch.check import Channel
from test_alert import LAPSE

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def credentials(tmp_path):
    directory = tmp_path / "credentials"
    directory.mkdir()
    for name, text in {
        "mail": receivers.MAIL_PASSWORD,
        "wrong": "wrong horse",
        "bearer": "Bearer t0ken-of-mine\n",
        "lines": "a\nb",
    }.items():
        (directory / f"watch_{name}").write_text(text)
    return Credentials(directory)


@pytest.fixture
def sender(credentials):
    return Sender(credentials, Redactor.of(credentials.values()), TRACEPARENT)


def mail(sink, **changes):
    channel = Channel(
        "email", host="127.0.0.1", port=sink.port, user=receivers.MAIL_USER, password_credential="mail", sender="slipway@mail.example",
        recipients=("ops@mail.example", "lead@mail.example"), ca_file=str(sink.certificate.path),
    )  # fmt: skip
    return replace(channel, **changes)


def why(sender, channel, *batch):
    with pytest.raises(NotDelivered) as caught:
        sender.send(channel, batch or (LAPSE,), ends=0)
    return caught.value


def test_slack_gets_a_message_that_it_understands_at_an_address_that_is_a_secret(sender, credentials, sinks):
    (credentials.directory / "watch_slack").write_text(sinks.slack.url)
    sender.send(Channel("slack", url_credential="slack"), [LAPSE, replace(LAPSE, state=RESOLVED)], ends=0)
    assert sinks.slack.told == [
        ("*CRITICAL* - heartbeat_lapse", "danger"),
        ("*CRITICAL* - heartbeat_lapse (resolved)", "good"),
    ]


def test_a_webhook_gets_headers_from_secrets_and_the_trace(sender, sinks):
    sender.send(Channel("webhook", url=sinks.webhook.url, headers={"Authorization": "bearer"}), [LAPSE], ends=0)
    request = sinks.webhook.got[0]
    assert request.headers["Authorization"] == "Bearer t0ken-of-mine"
    assert request.headers["traceparent"] == TRACEPARENT
    assert (request.path, request.body["key"], request.body["severity"]) == ("/hook", LAPSE.key, "CRITICAL")
    assert request.body["last_deploy"]["by"] == "alice"


def test_alertmanager_gets_all_of_them_in_one_request_at_its_api(sender, sinks):
    base = sinks.alertmanager.url.removesuffix("/hook")
    sender.send(Channel("alertmanager", url=base), [LAPSE, replace(LAPSE, check="b")], ends=LAPSE.at + 300)
    assert [request.path for request in sinks.alertmanager.got] == ["/api/v2/alerts"]
    assert [entry["labels"]["check"] for entry in sinks.alertmanager.bodies[0]] == ["alive", "b"]


def test_a_certificate_is_verified(sender, tmp_path):
    directory = tmp_path / "tls"
    directory.mkdir()
    sink = receivers.HttpSink(receivers.Certificate.make(directory))
    try:
        assert "certificate verify failed" in str(why(sender, Channel("webhook", url=sink.url)))
        sender.send(Channel("webhook", url=sink.url, ca_file=str(sink.certificate.path)), [LAPSE], ends=0)
        assert len(sink.got) == 1
        assert "cannot be read" in str(why(sender, Channel("webhook", url=sink.url, ca_file=str(tmp_path / "none"))))
    finally:
        sink.close()


def test_mail_goes_out_under_tls_with_a_login_to_all_recipients(sender, sinks):
    sender.send(mail(sinks.mail), [LAPSE], ends=0)
    message = sinks.mail.got[0]
    assert message["Subject"] == "[CRITICAL] heartbeat_lapse"
    assert sinks.mail.recipients == [["ops@mail.example", "lead@mail.example"]]
    assert (message["From"], message["Auto-Submitted"]) == ("slipway@mail.example", "auto-generated")
    assert message["Date"].datetime.timestamp() == LAPSE.at
    text = message.get_content()
    assert "https://runbooks.example/heartbeat-lapse" in text
    assert sinks.mail.tried == [receivers.MAIL_USER]


def test_no_mail_and_no_password_go_out_in_clear_text(sender, sinks):
    """One who takes STARTTLS out of the conversation gets neither."""
    said = []
    listener = socket.create_server(("127.0.0.1", 0))

    def play():
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"220 mail\r\n")
            stream.flush()
            while line := stream.readline():
                said.append(line)
                verb = line.split()[0].upper()
                stream.write({b"EHLO": b"250 mail\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"502 no\r\n"))
                stream.flush()

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    channel = replace(mail(sinks.mail), port=listener.getsockname()[1])
    assert "STARTTLS" in str(why(sender, channel))
    listener.close()
    thread.join(20)
    assert not thread.is_alive()
    assert {line.split()[0].upper() for line in said} <= {b"EHLO", b"QUIT"}


def test_a_wrong_password_is_said_without_the_password(sender, sinks):
    found = why(sender, mail(sinks.mail, password_credential="wrong"))
    assert str(found).startswith("answer 535")
    assert "wrong horse" not in str(found)
    assert sinks.mail.got == []


def test_recipients_that_are_refused_are_counted(sender, sinks):
    sinks.mail.refuses = {"lead@mail.example"}
    found = why(sender, mail(sinks.mail))
    assert (str(found), found.refused, found.is_partial) == ("1 of 2 recipients were refused", True, True)
    sinks.mail.refuses = {"lead@mail.example", "ops@mail.example"}
    found = why(sender, mail(sinks.mail))
    assert (str(found), found.refused, found.is_partial) == ("2 of 2 recipients were refused", False, False)


def test_a_recipient_who_is_refused_for_now_may_be_asked_again(sender, sinks):
    sinks.mail.defers = {"lead@mail.example"}
    found = why(sender, mail(sinks.mail))
    assert (found.refused, found.left, found.is_partial) == (False, ("lead@mail.example",), True)
    assert str(found) == "1 of 2 recipients were refused, 1 of them for now"


@pytest.mark.parametrize(
    ("status", "refused"),
    [(400, True), (413, True), (422, True)]
    + [(status, False) for status in (302, 401, 403, 404, 405, 408, 409, 410, 415, 429, 451, 500, 503)],
)
def test_what_will_never_be_taken_is_told_apart_from_what_may_be_later(sender, sinks, status, refused):
    sinks.webhook.answers = [status]
    found = why(sender, Channel("webhook", url=sinks.webhook.url))
    assert str(found).startswith(f"answer {status}")
    assert found.refused == refused


def test_nobody_there_is_said_as_it_is(sender, sinks):
    sinks.slack.close()
    assert "refused" in str(why(sender, Channel("slack", url=sinks.slack.url)))


def test_one_that_says_nothing_ends_at_its_time_out(sender, sinks):
    sinks.webhook.held.clear()
    assert "timed out" in str(why(sender, Channel("webhook", url=sinks.webhook.url, timeout_seconds=1)))


def test_a_secret_address_that_would_go_in_clear_text_is_no_address(sender, credentials):
    (credentials.directory / "watch_slack").write_text("http://hooks.example/secret-part")
    found = why(sender, Channel("slack", url_credential="slack"))
    assert "clear text" in str(found)
    assert "secret-part" not in str(found)
    (credentials.directory / "watch_slack").write_text("file:///etc/passwd")
    assert "no address" in str(why(sender, Channel("slack", url_credential="slack")))
    (credentials.directory / "watch_slack").write_text("https://[hooks.example/secret-part")
    assert str(why(sender, Channel("slack", url_credential="slack"))) == "the credential slack is no address"


@pytest.mark.parametrize(("name", "said"), [("none", "cannot be read"), ("lines", "more than one line")])
def test_a_credential_that_is_not_there_or_would_forge_a_header_sends_nothing(sender, sinks, name, said):
    assert said in str(why(sender, Channel("webhook", url=sinks.webhook.url, headers={"X-Key": name})))
    assert sinks.webhook.got == []


def test_what_a_receiver_says_back_does_not_bring_a_secret_into_the_log(credentials, sinks):
    class Echo(receivers.HttpSink):
        def fault(self, _body):
            return "your token t0ken-of-mine is wrong"

    sink = Echo()
    try:
        (credentials.directory / "watch_bare").write_text("t0ken-of-mine")
        sender = Sender(credentials, Redactor.of(credentials.values()))
        found = why(sender, Channel("webhook", url=sink.url, headers={"Authorization": "bare"}))
    finally:
        sink.close()
    assert "t0ken-of-mine" not in str(found)


def test_a_process_without_credentials_says_so():
    assert Credentials(None).values() == []
    with pytest.raises(NotDelivered, match="gave this process no credentials"):
        Credentials(None).read("mail")


def test_credentials_are_those_that_systemd_names(monkeypatch, credentials):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials.directory))
    assert Credentials.of_process() == credentials
    assert "Bearer t0ken-of-mine" in credentials.values()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert Credentials.of_process() == Credentials(None)


def test_a_redirect_is_an_answer_and_not_followed(sinks):
    sinks.webhook.answers = [302]
    assert exchange(sinks.webhook.url, "", b"{}", {"Content-Type": "application/json"}, timeout_seconds=5)[0] == 302
    assert sinks.webhook.got == []


def spoken(answer, hang_up=True):
    """A server that hears a request and says this; what was asked of it."""
    listener, heard = socket.create_server(("127.0.0.1", 0)), []
    done = threading.Event()

    def play():
        connection, _ = listener.accept()
        with connection, listener:
            heard.append(connection.recv(65536))
            connection.sendall(answer)
            if not hang_up:
                done.wait(20)

    threading.Thread(target=play, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/a/b?c=d", heard, done


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nbody", (200, b"body")),
        (b"HTTP/1.0 503\r\nA: b\r\n\r\n", (503, b"")),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", (404, b"none")),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000, (200, b"x" * 4000)),
    ],
)
def test_an_answer_in_clear_is_its_status_and_its_beginning(answer, expected):
    url, heard, _ = spoken(answer)
    status, body = exchange(url, "", None, {"User-Agent": "slipway"}, timeout_seconds=5)
    assert (status, body[: len(expected[1])]) == expected
    assert len(body) <= 4096
    assert heard[0].startswith(b"GET /a/b?c=d HTTP/1.0\r\nHost: 127.0.0.1:")


def test_a_server_that_does_not_hang_up_is_not_waited_for():
    url, heard, done = spoken(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", hang_up=False)
    assert exchange(url, "/x", b"{}", {}, timeout_seconds=15) == (200, b"ok")
    done.set()
    assert heard[0].startswith(b"POST /a/b/x?c=d HTTP/1.0")
    assert heard[0].endswith(b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/2 200\r\n\r\n"])
def test_what_is_no_http_is_no_answer(answer):
    with pytest.raises(OSError, match="no answer of HTTP"):
        exchange(spoken(answer)[0], "", None, {}, timeout_seconds=5)


def test_what_is_no_http_under_tls_is_no_answer(sinks):
    listener = socket.create_server(("127.0.0.1", 0))
    served = sinks.certificate.context().wrap_socket(listener, server_side=True)

    def play():
        connection, _ = served.accept()
        with connection, served:
            connection.recv(65536)
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    threading.Thread(target=play, daemon=True).start()
    context = ssl.create_default_context(cafile=str(sinks.certificate.path))
    url = f"https://127.0.0.1:{served.getsockname()[1]}/"
    with pytest.raises(OSError, match="no answer of HTTP: BadStatusLine"):
        exchange(url, "", None, {}, timeout_seconds=5, context=context)


def test_https_that_is_none_is_no_answer(sinks):
    with pytest.raises(OSError, match="SSL"):
        exchange(sinks.webhook.url.replace("http:", "https:"), "", None, {}, timeout_seconds=5)


def test_a_receiver_that_asks_for_a_certificate_is_shown_one(sender, tmp_path):
    directory = tmp_path / "tls"
    directory.mkdir()
    certificate = receivers.Certificate.make(directory)

    class Strict(receivers.Certificate):
        def context(self):
            context = super().context()
            context.load_verify_locations(self.path)
            context.verify_mode = ssl.CERT_REQUIRED
            return context

    sink = receivers.HttpSink(Strict(certificate.path, certificate.key))
    try:
        channel = Channel("webhook", url=sink.url, ca_file=str(certificate.path))
        assert why(sender, channel)
        sender.send(
            replace(channel, certificate_file=str(certificate.path), key_file=str(certificate.key)), [LAPSE], ends=0
        )
    finally:
        sink.close()
    assert len(sink.got) == 1


def test_mail_may_be_under_tls_from_the_beginning_or_in_clear_on_this_machine(sender, sinks, tmp_path):
    certificate = sinks.certificate
    for security, arguments in (("tls", {"ssl_context": certificate.context()}), ("none", {})):
        got = []

        class Handler:
            async def handle_DATA(self, _server, _session, envelope, got=got):
                got.append(envelope.content)
                return "250 OK"

        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Controller(Handler(), hostname="127.0.0.1", port=port, ready_timeout=30, **arguments)
        server.start()
        try:
            sender.send(replace(mail(sinks.mail), port=port, security=security, user=""), [LAPSE], ends=0)
        finally:
            server.stop()
        assert b"[CRITICAL] heartbeat_lapse" in got[0]


def test_a_credential_that_cannot_be_read_hides_no_other(credentials):
    (credentials.directory / "watch_bytes").write_bytes(b"\xff")
    assert receivers.MAIL_PASSWORD in credentials.values()


def test_what_is_no_utf_8_goes_out_by_each_channel(sender, sinks):
    odd = replace(LAPSE, message="a\udcff", check="b\udcff", context={"c": "d\udcff"})
    sender.send(Channel("slack", url=sinks.slack.url), [odd], ends=0)
    sender.send(Channel("webhook", url=sinks.webhook.url), [odd], ends=0)
    sender.send(mail(sinks.mail), [odd], ends=0)
    assert "a\udcff" in sinks.slack.bodies[0]["attachments"][0]["fallback"]
    assert sinks.webhook.bodies[0]["message"] == "a\udcff"
    assert "a\\udcff" in sinks.mail.got[0].get_content()


class Echo(receivers.HttpSink):
    """Says back, as a reason, what it was given in a header."""

    said = ""

    def fault(self, _body):
        return self.said


@pytest.mark.parametrize(
    "secret",
    ["".join(f"{number:03x}" for number in range(81)), "pa\"ss'w\\ord-of-mine", "f" * 5000, "pässwörd-of-mine"],
)
def test_no_part_of_a_secret_is_left_of_a_long_answer(credentials, secret):
    sink = Echo()
    sink.said = f"your token {secret} is wrong"
    (credentials.directory / "watch_long").write_text(secret)
    sender = Sender(credentials, Redactor.of(credentials.values()))
    try:
        found = why(sender, Channel("webhook", url=sink.url))
    finally:
        sink.close()
    assert str(found) == "answer 400: 'your token [hidden]" + ("'" if len(secret) == 5000 else " is wrong'")


def test_a_secret_that_a_header_cannot_say_is_a_failure_that_does_not_name_it(credentials, tmp_path):
    directory = tmp_path / "tls"
    directory.mkdir()
    sink = receivers.HttpSink(receivers.Certificate.make(directory))
    (credentials.directory / "watch_odd").write_text("t0ken-€-of-mine")
    sender = Sender(credentials, Redactor.of(credentials.values()))
    channel = Channel("webhook", url=sink.url, headers={"X-Key": "odd"}, ca_file=str(sink.certificate.path))
    try:
        found = why(sender, channel)
    finally:
        sink.close()
    assert "UnicodeEncodeError" in str(found)
    assert "of-mine" not in str(found)


def test_what_is_no_http_may_be_the_request_itself_and_is_not_said():
    with pytest.raises(OSError, match="no answer of HTTP: b'POST /se'"):
        exchange(spoken(b"POST /services/secret HTTP/1.0")[0], "", None, {}, timeout_seconds=5)
