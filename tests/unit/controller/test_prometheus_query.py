# SPDX-License-Identifier: GPL-3.0-or-later
"""One number from Prometheus, or why there is none: asked of a real one in tests/e2e/test_observe.py, here of all that it may answer."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import prometheus_query
from ansible.module_utils.slipway.controller.authority import Authority
from ansible.module_utils.slipway.controller.prometheus_query import Prometheus


@pytest.fixture
def answering():
    """A server that gives one answer: (status, body)."""
    servers = []

    def serve(status, body, context=None):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return Prometheus(f"http://127.0.0.1:{server.server_port}/")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def vector(*values):
    return {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, value]} for value in values]},
    }


@pytest.mark.parametrize(
    ("answer", "number", "why"),
    [
        (vector("1.5"), 1.5, ""),
        ({"data": {"resultType": "scalar", "result": [1, "2"]}}, 2.0, ""),
        (vector(), None, "0 values instead of one"),
        (vector("1", "2"), None, "2 values instead of one"),
        ({"data": {"resultType": "matrix", "result": []}}, None, "0 values instead of one"),
        ({"status": "error"}, None, "no answer as Prometheus gives it"),
        (vector("one"), None, "no answer as Prometheus gives it"),
        ([], None, "no answer as Prometheus gives it"),
    ],
)
def test_an_answer_is_one_number_or_none(answering, answer, number, why):
    assert answering(200, json.dumps(answer).encode()).number("up") == (number, why)


def test_one_that_asks_for_a_certificate_is_shown_one(answering, tmp_path):
    issued = Authority(tmp_path).issue("watch-1", [], int(time.time()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.load_verify_locations(issued.authority)
    context.verify_mode = ssl.CERT_REQUIRED
    url = answering(200, json.dumps(vector("1.5")).encode(), context).url.replace("http:", "https:")
    files = [str(path) for path in (issued.certificate, issued.key, issued.authority)]
    assert Prometheus(url, *files).number("up") == (1.5, "")
    assert Prometheus(url, "", "", "").number("up")[0] is None


def test_an_error_of_prometheus_is_why_there_is_none(answering):
    assert answering(422, b"{}").number("up{") == (None, "Prometheus answered 422")
    assert answering(200, b"<html>").number("up")[0] is None


def test_one_that_is_not_there_is_why_there_is_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening
        number, why = Prometheus(f"http://127.0.0.1:{taken.getsockname()[1]}").number("up")
    assert number is None
    assert why.startswith("Prometheus did not answer: ")


@pytest.fixture
def raw():
    """A server that says these bytes to whoever connects, each after a moment, and hangs up: what a broken one, or no Prometheus at all, may say."""
    ended = threading.Event()
    servers = []

    def serve(*parts, pause=0.0):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer():
            connection, _address = server.accept()
            with connection, suppress(OSError):
                asked = b""
                while b"query=" not in asked:
                    asked += connection.recv(65536)
                for part in parts:
                    connection.sendall(part)
                    if ended.wait(pause):
                        return

        threading.Thread(target=answer, daemon=True).start()
        return Prometheus(f"http://127.0.0.1:{server.getsockname()[1]}")

    yield serve
    ended.set()
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "Remote end closed connection"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "property name"),
        (b"HTTP/1.1 200 OK\r\n" + b"a" * 70000, "got more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200000, "recursion"),
    ],
)
def test_an_answer_that_is_broken_is_why_there_is_none(raw, answer, why):
    number, found = raw(answer).number("up")
    assert number is None
    assert why in found


def test_one_that_answers_byte_by_byte_is_not_waited_for(raw, monkeypatch):
    monkeypatch.setattr(prometheus_query, "TIMEOUT_SECONDS", 0.2)
    endless = (b"HTTP/1.1 200 OK\r\n\r\n", *[b" "] * 10000)
    assert raw(*endless, pause=0.05).number("up") == (None, "Prometheus did not answer within 0.2 s")


def test_what_group_vars_say_is_read():
    found = Prometheus.parse({"url": "https://watch.example:9090", "certificate": "/a", "key": "/b", "authority": "/c"})
    assert found == Prometheus("https://watch.example:9090", "/a", "/b", "/c")
    for wrong in ({}, {"url": "ftp://x"}, {"url": "http://x", "token": "y"}):
        with pytest.raises(Refusal, match="analysis_invalid"):
            Prometheus.parse(wrong)
