# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tests keep secrets: memory of their own, and providers that say what a test wants."""

from __future__ import annotations

import fcntl
import http.server
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible.module_utils.slipway.secrets.provider import Entry, Standing, Unknown, overtaken
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.volatile import SHARED, Volatile, open_volatile

CANARY = "canary-5b1f-s3cr3t-value"
RUN = "run-1-2-3"


@contextmanager
def own_memory() -> Iterator[Path]:
    """An empty directory on a tmpfs, gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-secrets-test-", dir=SHARED))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def memory() -> Iterator[Path]:
    """The same for a test."""
    with own_memory() as directory:
        yield directory


@pytest.fixture
def place(memory: Path) -> Volatile:
    """What the processes of a run share."""
    return open_volatile({}, RUN, swap_accepted=True, shared=memory)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file."""
    with open(path, "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass
class FakeProvider:
    """A keeper of ``secrets`` by name; ``fails`` are raised first, one for each call, ``trouble`` by the next call of that name. ``calls``
    are what was asked of it, ``retired`` the versions that nobody reads any more, ``written`` since when (Unix seconds) secrets are as they are.
    """

    label: str
    secrets: dict[str, Secret] = field(default_factory=dict)
    fails: list[Exception] = field(default_factory=list)
    calls: list[tuple[str, str | None]] = field(default_factory=list)
    origin: Sequence[str] = ("fake",)
    before: Callable[[], None] = lambda: None
    trouble: dict[str, Exception] = field(default_factory=dict)
    retired: list[tuple[str, str, bool]] = field(default_factory=list)
    written: dict[str, int] = field(default_factory=dict)
    ends_versions: bool = True

    def read(self, name: str, version: str | None = None) -> Secret:
        self._called("read", name)
        if name not in self.secrets or version not in (None, self.secrets[name].version):
            raise Unknown(name)
        return self.secrets[name]

    def entries(self) -> list[Entry]:
        self._called("entries", None)
        return [Entry(name, each.kind, each.description, each.version) for name, each in sorted(self.secrets.items())]

    def write(self, secret: Secret) -> str:
        self._called("write", secret.name)
        before = self.secrets.get(secret.name)
        version = str(int(before.version) + 1 if before else 1)
        self.secrets[secret.name] = Secret(secret.name, secret.fields, secret.kind, secret.description, version)
        return version

    def standing(self, name: str) -> Standing:
        self._called("standing", name)
        if name not in self.secrets:
            raise Unknown(name)
        return Standing(self.secrets[name].version, self.written.get(name))

    def version_after(self, version: str) -> str:
        return str(int(version) + 1)

    def replace(self, secret: Secret, before: str) -> None:
        self._called("replace", secret.name)
        newest = self.secrets[secret.name].version if secret.name in self.secrets else ""
        if newest != before:
            raise overtaken(self.label, secret.name, before)
        self.secrets[secret.name] = secret if before else replace(secret, version="1")

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        self._called("retire", name)
        self.retired.append((name, version, destroyed))

    def remove(self, name: str) -> None:
        self._called("remove", name)
        self.secrets.pop(name, None)

    def _called(self, what: str, name: str | None) -> None:
        self.before()
        self.calls.append((what, name))
        if what in self.trouble:
            raise self.trouble.pop(what)
        if self.fails:
            raise self.fails.pop(0)


def secret(name: str = "database/main", value: str = CANARY, version: str = "1", **about: object) -> Secret:
    """A secret with two fields, one of them the canary."""
    return Secret(name, {"password": value, "username": "shop"}, version=version, **about)


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """A function that starts a server with one answer for everything but certain paths (by how they begin), and returns its address."""
    servers = []

    def start(status: int, body: str, certain: Mapping[str, tuple[int, str]] | None = None) -> str:
        usual = (status, body)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                found = [answer for path, answer in (certain or {}).items() if self.path.startswith(path)]
                status, body = found[0] if found else usual
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_PUT = do_LIST = do_POST

            def log_message(self, *_words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def dripping() -> Iterator[str]:
    """The address of a server that sends its answer byte by byte, and never to its end."""
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(250):  # else whoever waits for it would hang, and not fail
                if over.wait(0.02):
                    return
                connection.sendall(b" ")

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
