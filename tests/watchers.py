# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Prometheus and a real Alertmanager on loopback, what they ask, and those who hear of it: all of it ends with its test."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab import prometheus

PATIENCE_SECONDS = 60


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(found: Callable[[], Any], what: str) -> Any:
    """What `found` returns as soon as that is something; a failure that says what was waited for."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := found()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.05)
    return value


def get(url: str, data: bytes | None = None) -> Any:
    """The answer to a request as data; None where there was none yet."""
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 503:  # it is there and not ready
            return None
        raise AssertionError(f"{url}: {error.code} {error.read()!r}") from None
    except OSError:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body or b"ok"


@dataclass
class Heard:
    """A request that somebody got: its path, headers and body."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Listener:
    """Serves texts by path, and keeps what it was sent."""

    texts: dict[str, str] = field(default_factory=dict)
    status: int = 200
    heard: list[Heard] = field(default_factory=list)
    port: int = 0
    address: str = "127.0.0.1"

    def of(self, path: str) -> list[Any]:
        """The bodies that were sent to a path."""
        return [each.body for each in self.heard if each.path == path]


@contextmanager
def listening(listener: Listener, address: str = "127.0.0.1") -> Iterator[Listener]:
    """Let a listener listen."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = listener.texts.get(self.path)
            self.send_response(404 if text is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            listener.heard.append(Heard(self.path, dict(self.headers), json.loads(data)))
            self.send_response(202 if "enqueue" in self.path or self.path == "/pagerduty" else listener.status)
            self.end_headers()
            self.wfile.write(b'{"status": "success"}')

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    listener.address, listener.port = address, server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running(name: str, *words: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of Prometheus' programs; its output is in a file of the directory."""
    with (directory / f"{name}.log").open("ab") as log:
        command = [str(prometheus.ensure() / name), *words]
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=directory, env={**os.environ, "GOMAXPROCS": "2"}
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True)
class Manager:
    """An Alertmanager that runs."""

    url: str
    process: subprocess.Popen[bytes]

    def post(self, alerts: list[dict[str, Any]]) -> None:
        """Give it alerts, as an agent does."""
        get(f"{self.url}/api/v2/alerts", json.dumps(alerts).encode())


@contextmanager
def alertmanager(directory: Path, configuration: str, port: int | None = None) -> Iterator[Manager]:
    """Run an Alertmanager with this configuration."""
    (directory / "alertmanager.yml").write_text(configuration)
    port = port or free_port()
    words = (
        f"--config.file={directory}/alertmanager.yml", f"--storage.path={directory}/alertmanager", "--cluster.listen-address=",
        f"--web.listen-address=127.0.0.1:{port}",
    )  # fmt: skip
    with running("prometheus-alertmanager", *words, directory=directory) as process:
        url = f"http://127.0.0.1:{port}"
        until(lambda: get(f"{url}/-/ready"), "Alertmanager to be ready")
        yield Manager(url, process)


@dataclass(frozen=True)
class Server:
    """A Prometheus that runs."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression now."""
        answer = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@contextmanager
def prometheus_server(directory: Path, configuration: str) -> Iterator[Server]:
    """Run a Prometheus with this configuration; what `directory`/data has already, it serves too."""
    (directory / "prometheus.yml").write_text(configuration)
    port = free_port()
    words = (
        f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=200d",
    )  # fmt: skip
    with running("prometheus", *words, directory=directory):
        url = f"http://127.0.0.1:{port}"
        until(lambda: get(f"{url}/-/ready"), "Prometheus to be ready")
        yield Server(url)


def backfill(directory: Path, lines: list[str]) -> None:
    """Give a Prometheus a past: lines of OpenMetrics with times, before it starts."""
    (directory / "past.om").write_text("\n".join([*lines, "# EOF\n"]))
    command = [
        prometheus.ensure() / "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        "past.om",
        "data",
    ]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
