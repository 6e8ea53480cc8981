# SPDX-License-Identifier: GPL-3.0-or-later
"""Probes against real servers on the loopback interface, well and ill-behaved ones."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from contextlib import contextmanager

import pytest
from ansible.module_utils.slipway.application.description import Patience, Probe
from ansible.module_utils.slipway.application.health import BODY_LIMIT, Prober, judge
from ansible.module_utils.slipway.application.service import Service
from ansible.module_utils.slipway.base.command import Finished, run

AT_ONCE = Patience(interval_seconds=0, retries=0, deadline_seconds=1)
UNIT = Probe("unit")


class Server:
    """Accepts connections and answers each with the next of `answers` (the last one again and again)."""

    def __init__(self, *answers, wrap=lambda connection: connection):
        self.answers = deque(answers)
        self.requests = []
        self._wrap = wrap
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path="/", scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
            thread = threading.Thread(target=self._serve, args=(connection, answer), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection, answer):
        try:
            with self._wrap(connection) as stream:
                self.requests.append(stream.recv(65536))
                for part in answer:
                    if isinstance(part, bytes):
                        stream.sendall(part)
                    elif self._over.wait(part):
                        return
        except OSError:
            return

    def close(self):
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def serving(*answers, **options):
    server = Server(*answers, **options)
    try:
        yield server
    finally:
        server.close()


def http(status=200, body=b"ok", headers=b""):
    head = b"HTTP/1.1 %d Something\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), headers)
    return [head + body]


def ask(probe, **options):
    return Prober(run, **options).ask(probe)


@pytest.fixture
def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_an_answer_with_the_expected_status_is_well():
    with serving(http()) as server:
        assert ask(Probe("http", url=server.url("/healthz?deep=1"))) is None
    assert server.requests[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [204, 301, 404, 500, 503])
def test_another_status_than_the_expected_one_is_named(status):
    with serving(http(status)) as server:
        assert ask(Probe("http", url=server.url())) == f"{server.url()} answered {status}, expected 200"


@pytest.mark.parametrize("status", [204, 302, 401, 418, 503])
def test_the_expected_status_may_be_any(status):
    with serving(http(status, body=b"")) as server:
        assert ask(Probe("http", url=server.url(), status=status)) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    with serving(http()) as other:
        with serving(http(status, headers=b"Location: %s\r\n" % other.url().encode())) as server:
            assert ask(Probe("http", url=server.url())) == f"{server.url()} answered {status}, expected 200"
        assert other.requests == []


def test_no_proxy_is_asked(monkeypatch, unused_port):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port}")
    with serving(http()) as server:
        assert ask(Probe("http", url=server.url())) is None


@pytest.mark.parametrize(("body", "well"), [(b"version v1.2.3 ok", True), (b"version v1.2.30", True), (b"v1.2", False)])
def test_an_answer_contains_what_it_must(body, well):
    with serving(http(body=body)) as server:
        found = ask(Probe("http", url=server.url(), contains="v1.2.3"))
    assert found == (None if well else f"the answer of {server.url()} does not contain 'v1.2.3'")


def test_an_error_page_contains_what_it_must_too():
    with serving(http(503, body=b"maintenance")) as server:
        assert ask(Probe("http", url=server.url(), status=503, contains="maintenance")) is None


def test_an_answer_that_is_no_text_is_searched_all_the_same():
    with serving(http(body=b"\xff\xfe ok")) as server:
        assert ask(Probe("http", url=server.url(), contains="ok")) is None


def test_of_a_long_answer_only_the_start_is_read():
    with serving(http(body=b"x" * BODY_LIMIT + b"ok")) as server:
        found = ask(Probe("http", url=server.url(), contains="ok"))
    assert found == f"the answer of {server.url()} does not contain 'ok'"


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [b"\x00\xff not http at all\r\n\r\n"],
        [b"HTTP/1.1 2000000 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"],
        [b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"],
        [b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
    ],
    ids=["nothing", "noise", "status", "chunks", "chunks of an error", "200 headers", "a long header"],
)
def test_an_answer_that_is_no_http_is_none(answer):
    with serving(answer) as server:
        assert ask(Probe("http", url=server.url())).startswith(f"no answer from {server.url()}: ")


@pytest.mark.parametrize(
    "answer",
    [
        [30],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 30],
        [b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\n", 30],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", *[b"x", 0.2] * 200],
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n", 0.2] * 90],
        [*[b"H", 0.2] * 200],
    ],
    ids=["silence", "a silent body", "a silent error", "a body in drops", "headers in drops", "a status in drops"],
)
def test_an_answer_that_takes_longer_than_its_time_out_is_none(answer):
    began = time.monotonic()
    with serving(answer) as server:
        assert ask(Probe("http", url=server.url(), timeout_seconds=0.5)).startswith(f"no answer from {server.url()}: ")
    assert time.monotonic() - began < 3


def test_a_port_where_nobody_listens_does_not_answer(unused_port):
    url = f"http://127.0.0.1:{unused_port}/"
    assert "Connection refused" in ask(Probe("http", url=url))
    assert "Connection refused" in ask(Probe("tcp", port=unused_port))


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/", "http://[::1/", "http://127.0.0.1/a b", "http:///"])
def test_an_address_that_is_none_does_not_answer(url):
    assert ask(Probe("http", url=url)).startswith(f"no answer from {url}: ")


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "no-such-host.invalid", "a\0b"])
def test_a_name_that_is_none_has_no_connection(host):
    assert ask(Probe("tcp", host=host, port=1)).startswith(f"no connection to {host}:1: ")


@pytest.fixture
def tls(tmp_path):
    """A server context with a certificate that nobody vouches for."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_a_certificate_that_nobody_vouches_for_is_not_believed(tls):
    context, _ = tls
    with serving(http(), wrap=lambda connection: context.wrap_socket(connection, server_side=True)) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in ask(Probe("http", url=server.url(scheme="https")))


def test_https_answers_are_judged_like_others(tls, monkeypatch):
    context, certificate = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(http(503), wrap=lambda connection: context.wrap_socket(connection, server_side=True)) as server:
        url = server.url(scheme="https")
        assert ask(Probe("http", url=url)) == f"{url} answered 503, expected 200"
        assert ask(Probe("http", url=url, status=503)) is None


def test_a_port_that_accepts_is_well():
    with serving([]) as server:
        assert ask(Probe("tcp", port=server.port)) is None


def test_a_port_that_does_not_accept_in_time_is_not_well():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = []
        for _ in range(3):  # fills the queue, so that the kernel answers no further one
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        found = ask(Probe("tcp", port=address[1], timeout_seconds=0.3))
        for each in waiting:
            each.close()
    assert found.startswith(f"no connection to 127.0.0.1:{address[1]}: ")
    assert "timed out" in found


def test_a_command_that_succeeds_is_well():
    assert ask(Probe("command", argv=("test", "1", "=", "1"))) is None


def test_a_command_that_fails_is_shown_with_its_output():
    assert ask(Probe("command", argv=("sh", "-c", "echo no; exit 2"))) == "sh -c echo no; exit 2: exit code 2: no"


def test_a_command_that_hangs_is_not_well():
    assert ask(Probe("command", argv=("sleep", "60"), timeout_seconds=0.2)) == "sleep 60: killed at its time-out"


def test_a_command_runs_as_the_applications_user():
    asked = []

    def runner(argv, *, timeout_seconds, user=None, directory=None):
        asked.append((tuple(argv), timeout_seconds, user))
        return Finished(0, "")

    assert Prober(runner, user="shop").ask(Probe("command", argv=("check",), timeout_seconds=7)) is None
    assert asked == [(("check",), 7, "shop")]


def test_a_unit_that_runs_is_well(systemctl):
    systemctl.units["shop.service"] = ("loaded", "active", "running")
    assert ask(UNIT, service=Service("shop.service", systemctl)) is None


def test_a_unit_that_does_not_run_is_shown_with_its_state(systemctl):
    systemctl.units["shop.service"] = ("loaded", "activating", "auto-restart")
    assert ask(UNIT, service=Service("shop.service", systemctl)) == "shop.service is activating (auto-restart)"


def test_without_a_unit_there_is_none_to_ask():
    assert ask(UNIT) == "no unit to ask"
    assert not Prober(run).is_hopeless()


def test_an_error_that_nobody_foresaw_goes_up():
    with pytest.raises(AttributeError):
        ask(Probe("http", url=None))


def test_no_probes_say_nothing(clock):
    verdict = judge((), Patience(), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts) == ("inconclusive", 0)
    assert not verdict.is_failure
    assert clock.slept == []


def test_all_probes_well_is_success_at_once(clock):
    with serving(http()) as server:
        probes = (Probe("http", url=server.url()), Probe("tcp", port=server.port), Probe("command", argv=("true",)))
        verdict = judge(probes, Patience(), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts) == ("success", 1)
    assert verdict.detail == f"http {server.url()}, tcp 127.0.0.1:{server.port}, command true"
    assert clock.slept == []


def test_one_probe_ill_is_failure_and_later_ones_are_not_asked(clock, tmp_path):
    probes = (Probe("command", argv=("false",)), Probe("command", argv=("touch", str(tmp_path / "asked"))))
    verdict = judge(probes, AT_ONCE, Prober(run), clock)
    assert verdict.is_failure
    assert verdict.detail == "false: exit code 1 (after 1 attempts)"
    assert not (tmp_path / "asked").exists()


def test_what_gets_well_in_time_is_a_success(clock):
    with serving(http(503), http(503), http(200)) as server:
        verdict = judge((Probe("http", url=server.url()),), Patience(2, 5, 30), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts) == ("success", 3)
    assert clock.slept == [2, 2]


def test_all_must_be_well_in_the_same_round(clock):
    with serving(http(200), http(503), http(200)) as first, serving(http(503), http(200)) as second:
        probes = (Probe("http", url=first.url()), Probe("http", url=second.url()))
        verdict = judge(probes, Patience(1, 5, 30), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts) == ("success", 3)
    assert (len(first.requests), len(second.requests)) == (3, 2)


def test_retries_are_counted_and_nothing_is_slept_after_the_last(clock, systemctl):
    service = Service("shop.service", systemctl)
    verdict = judge((Probe("command", argv=("false",)),), Patience(1, 3, 30), Prober(run, service=service), clock)
    assert (verdict.outcome, verdict.attempts) == ("failure", 4)
    assert clock.slept == [1, 1, 1]
    assert len(systemctl.calls) == 3


def test_the_deadline_ends_the_retries(clock):
    verdict = judge((Probe("command", argv=("false",)),), Patience(4, 60, 10), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts) == ("failure", 3)
    assert clock.slept == [4, 4]


def test_time_that_the_probes_take_counts_for_the_deadline(clock):
    def slow(argv, **_options):
        clock.advance(6)
        return Finished(1, "")

    verdict = judge((Probe("command", argv=("slow",)),), Patience(1, 60, 10), Prober(slow), clock)
    assert verdict.attempts == 2
    assert clock.slept == [1]


def test_a_wall_clock_that_jumps_does_not_move_the_deadline(clock):
    def jumping(argv, **_options):
        clock.time += 86400
        return Finished(1, "")

    verdict = judge((Probe("command", argv=("x",)),), Patience(1, 3, 30), Prober(jumping), clock)
    assert verdict.attempts == 4


def test_a_unit_that_failed_for_good_is_not_waited_for(clock, systemctl):
    systemctl.units["shop.service"] = ("loaded", "failed", "failed")
    verdict = judge((UNIT,), Patience(), Prober(run, service=Service("shop.service", systemctl)), clock)
    assert (verdict.outcome, verdict.attempts) == ("failure", 1)
    assert verdict.detail == "shop.service is failed (failed) (after 1 attempts)"
    assert clock.slept == []


CANNOT_TELL = Probe("command", argv=("sh", "-c", "echo too little traffic; exit 75"))


def test_a_command_that_cannot_tell_yet_makes_the_verdict_inconclusive(clock):
    verdict = judge((CANNOT_TELL, Probe("command", argv=("true",))), Patience(1, 2, 30), Prober(run), clock)
    assert (verdict.outcome, verdict.attempts, verdict.is_failure) == ("inconclusive", 3, False)
    assert "too little traffic (after 3 attempts)" in verdict.detail


def test_what_is_ill_counts_more_than_what_cannot_tell(clock):
    verdict = judge((CANNOT_TELL, Probe("command", argv=("false",))), AT_ONCE, Prober(run), clock)
    assert verdict.is_failure
    assert verdict.detail.startswith("false: exit code 1")


def test_what_cannot_tell_at_first_may_become_a_success(clock):
    answers = deque([75, 75, 0])

    def runner(argv, **_options):
        return Finished(answers.popleft(), "")

    verdict = judge((Probe("command", argv=("x",)),), Patience(1, 5, 30), Prober(runner), clock)
    assert (verdict.outcome, verdict.attempts) == ("success", 3)
