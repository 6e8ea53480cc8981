# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples run: what they say about themselves, and how they fail."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def hello(tmp_path):
    """A copy of the example application in a directory with the name of a release."""
    return Path(shutil.copytree(EXAMPLES / "hello", tmp_path / "v1"))


@pytest.fixture
def model(tmp_path):
    return Path(shutil.copytree(EXAMPLES / "model", tmp_path / "m1"))


def configure(release, **changes):
    path = release / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def run(release, command, *arguments):
    return subprocess.run([sys.executable, release / command, *arguments], capture_output=True, text=True, check=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """The example application at work."""

    def __init__(self, release):
        port = free_port()
        configure(release, port=port)
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, release / "bin/hello"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.first_line = self.process.stdout.readline()

    def get(self, path):
        """Return (status, type, body)."""
        try:
            answer = urllib.request.urlopen(self.url + path, timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.headers["Content-Type"], answer.read()

    def stop(self):
        """End it by SIGTERM; return its exit code and what it wrote after its first line."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=10), self.process.stdout.read()


@pytest.fixture
def serve():
    services = []

    def started(release):
        services.append(Service(release))
        return services[-1]

    yield started
    for service in services:
        service.process.kill()
        service.process.wait()
        service.process.stdout.close()


def test_hello_serves_its_release_and_ends_cleanly(hello, serve):
    service = serve(hello)
    assert service.first_line.startswith("hello 1.0.0 (v1) listens on port ")
    assert service.get("/health") == (200, "application/json", b'{"status": "ok"}\n')
    first = service.get("/heartbeat")[2]
    assert any(service.get("/heartbeat")[2] != first for _attempt in range(1000))
    status, _, body = service.get("/version")
    assert status == 200
    assert json.loads(body) == {"version": "1.0.0", "release_id": "v1", "greeting": "Hello from Slipway"}
    assert service.get("/") == (200, "text/html; charset=utf-8", (hello / "static/index.html").read_bytes())
    assert service.get("/style.css?x=1")[1] == "text/css; charset=utf-8"
    assert service.get("/absent")[0] == 404
    assert service.get("/../config.json")[0] == 404
    code, log = service.stop()
    assert code == 0
    assert '"GET /health HTTP/1.1" 200' in log
    assert log.endswith("hello stopped\n")


def test_hello_serves_what_was_there_when_it_started(hello, serve):
    service = serve(hello)
    (hello / "static/index.html").write_text("changed")
    assert b"Hello from Slipway" in service.get("/")[2]


def test_hello_can_be_ill(hello, serve):
    configure(hello, healthy=False)
    assert serve(hello).get("/health") == (503, "application/json", b'{"status": "ill"}\n')


def test_hello_ends_although_a_client_says_nothing(hello, serve):
    service = serve(hello)
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))):
        assert service.stop()[0] == 0


def test_hello_works_for_as_long_as_it_is_asked_to(hello, serve):
    service = serve(hello)
    assert service.get("/work?seconds=0") == (200, "application/json", b'{"worked_seconds": 0, "release_id": "v1"}\n')


@pytest.mark.parametrize("seconds", ["11", "-1", "1.5", "x", "9999", "²"])
def test_hello_does_not_work_for_longer_than_it_may(hello, serve, seconds):
    status, _, body = serve(hello).get(f"/work?seconds={urllib.parse.quote(seconds)}")
    assert (status, body) == (400, b'{"error": "seconds must be a whole number from 0 to 10"}\n')


def test_hello_answers_what_has_begun_before_it_ends(hello, serve):
    service = serve(hello)
    with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as client:
        client.sendall(b"GET /work?seconds=0 HTTP/1.0\r\n")
        assert service.get("/health")[0] == 200  # so the connection before this one was accepted
        service.process.send_signal(signal.SIGTERM)
        client.sendall(b"\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.0 200 ")
    assert service.process.wait(timeout=10) == 0


def test_hello_finds_itself_sound(hello):
    done = run(hello, "bin/hello", "--check")
    assert (done.returncode, done.stdout) == (0, "hello 1.0.0: configuration and 3 pages are sound\n")


@pytest.mark.parametrize(
    ("alter", "complaint"),
    [
        (lambda r: (r / "config.json").unlink(), "No such file"),
        (lambda r: (r / "config.json").write_text("{"), "is no JSON"),
        (lambda r: (r / "config.json").write_text("[]"), "must be an object"),
        (lambda r: configure(r, port="8080"), "port must be a int"),
        (lambda r: configure(r, port=True), "port must be a int"),
        (lambda r: configure(r, port=0), "from 1 to 65535"),
        (lambda r: configure(r, greeting=None), "greeting must be a str"),
        (lambda r: configure(r, healthy="yes"), "healthy must be a bool"),
        (lambda r: (r / "static/index.html").unlink(), "index.html is missing"),
    ],
)
@pytest.mark.parametrize("arguments", [("--check",), ()])
def test_hello_says_what_is_wrong_with_it(hello, alter, complaint, arguments):
    alter(hello)
    done = run(hello, "bin/hello", *arguments)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_hello_takes_no_other_argument(hello):
    assert run(hello, "bin/hello", "--chekc").returncode == 2


def test_a_model_that_loads_is_sound(model):
    done = run(model, "bin/check")
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["policy.pt", "risk_model.pt", "value_function.pt"]


@pytest.mark.parametrize("data", [b"", b"not a zip", (EXAMPLES / "model/policy.pt").read_bytes()[:-50]])
def test_a_model_that_does_not_load_is_named(model, data):
    (model / "policy.pt").write_bytes(data)
    done = run(model, "bin/check")
    assert done.returncode == 1
    assert "policy.pt does not load" in done.stderr
