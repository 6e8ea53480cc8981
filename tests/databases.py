# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL for tests: one server for all tests of a process, a database of its own for each test that asks for one.

Below one temporary directory, on loopback alone, as a user who is not root. It lives no longer than the process that started it.
"""

from __future__ import annotations

import itertools
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from ansible.module_utils.slipway.controller.state_place import StatePlace
from psycopg import sql

from lab import postgres as programs

START_SECONDS = 60
USER = "slipway"
# Passwords over TCP; the socket is in a directory that only its owner and root can enter.
ACCESS = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
READY = b"Z\0\0\0\5I"  # ReadyForQuery, idle: the end of a login
SETTINGS = (
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_connections=60",
    "logging_collector=off",
)


@dataclass
class Postgres:
    """One server. ``password`` is that of USER, who owns every database that `new` makes."""

    directory: Path
    port: int
    password: str
    process: subprocess.Popen[bytes] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    made: list[str] = field(default_factory=list)

    @property
    def owner(self) -> str | None:
        """Who runs it: root must not."""
        return "nobody" if os.geteuid() == 0 else None

    def run(self, *words: str, data: bytes = b"") -> None:
        """Run one of its programs to its end."""
        command = [str(programs.ensure() / words[0]), *words[1:]]
        done = subprocess.run(
            command, input=data, capture_output=True, user=self.owner, cwd=self.directory, check=False
        )
        assert done.returncode == 0, done.stderr.decode()

    def set_up(self) -> None:
        """Make its files."""
        if self.owner:
            account = pwd.getpwnam(self.owner)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self.run("initdb", "-D", str(self.data), "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        (self.data / "pg_hba.conf").write_text(ACCESS, encoding="ascii")

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        settings = [word for each in (*SETTINGS, f"unix_socket_directories={self.directory}") for word in ("-c", each)]
        postgres = str(programs.ensure() / "postgres")
        command = [
            "setpriv",
            "--pdeathsig",
            "QUIT",
            postgres,
            "-D",
            str(self.data),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        with open(self.directory / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, *settings], stdout=log, stderr=log, user=self.owner, cwd=self.directory
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with suppress(psycopg.OperationalError):
                self.admin().close()
                return
            assert self.process.poll() is None, (self.directory / "server.log").read_text()
            time.sleep(0.05)
        raise TimeoutError((self.directory / "server.log").read_text())

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it, with whoever is connected to it; for good with SIGQUIT, after which nobody can rely on what is in it."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let it take connections and answer nothing, on none of them."""
        self.process.send_signal(signal.SIGSTOP)
        processes = _children(self.process.pid)
        _signal(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(processes, signal.SIGCONT)
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def silent_after_login(self) -> Iterator[int]:
        """Let it take connections by another port, log everybody in, and answer nothing that is asked then; yields the port."""
        with socket.create_server(("127.0.0.1", 0)) as door, ExitStack() as ended:
            threading.Thread(target=self._relay, args=(door, ended), daemon=True).start()
            try:
                yield door.getsockname()[1]
            finally:
                door.shutdown(socket.SHUT_RDWR)

    def _relay(self, door: socket.socket, ended: ExitStack) -> None:
        with suppress(OSError):
            while True:
                client = ended.enter_context(door.accept()[0])
                server = ended.enter_context(socket.create_connection(("127.0.0.1", self.port)))
                for source, target, last in ((client, server, None), (server, client, READY)):
                    threading.Thread(target=_carry, args=(source, target, last), daemon=True).start()

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """A connection as who may do everything."""
        return psycopg.connect(
            host=str(self.directory), port=self.port, user="admin", dbname=database, autocommit=True, connect_timeout=5
        )

    def new(self) -> str:
        """Make an empty database; returns its name."""
        name = f"state_{next(self.numbers)}"
        self.made.append(name)
        with self.admin() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(USER))
            )
        return name

    def drop(self) -> None:
        """Remove every database that `new` has made, with whoever is connected to it."""
        with self.admin() as connection:
            while self.made:
                name = sql.Identifier(self.made.pop())
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def url(self, database: str, parameters: str = "") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}{parameters}"

    def place(self, directory: Path, database: str, **about: object) -> StatePlace:
        """The state of a controller in a database of this server."""
        given = {"password": lambda: self.password, **about}
        return StatePlace(directory, self.url(database), **given)

    def ask(self, database: str, statement: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Do something to a database past all that is tested; the rows of its answer."""
        with self.admin(database) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


def _carry(source: socket.socket, target: socket.socket, last: bytes | None) -> None:
    """Hand on what comes, to the end or until it ends with ``last``; what is asked after that, nobody reads."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            if last and data.endswith(last):
                return
        target.shutdown(socket.SHUT_WR)


def _signal(processes: Sequence[int], number: int) -> None:
    """Send a signal to those that are still there: a connection may have ended."""
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, number)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run(directory: Path) -> Postgres:
    """A server with its files below a directory that is empty."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Postgres(directory, port, secrets.token_urlsafe(16))
    server.set_up()
    server.start()
    with server.admin() as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(USER), sql.Literal(server.password))
        )
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Return the server of this process; not below pytest's directories, which another user cannot enter."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="slipway-pg-", dir=memory if os.access(memory, os.W_OK) else None))
    server = run(directory)
    yield server
    server.stop(signal.SIGQUIT)
    shutil.rmtree(directory)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[Postgres]:
    """Return the server, running; it runs again for the next test whatever this one did to it, without its databases."""
    yield postgres_server
    if postgres_server.process is None:
        postgres_server.start()
    postgres_server.drop()


@pytest.fixture(params=["sqlite", "postgresql"])
def state_place(request: pytest.FixtureRequest, tmp_path: Path) -> StatePlace:
    """Return an empty place for a controller's state: a test that asks for it runs over both."""
    if request.param == "sqlite":
        return StatePlace(tmp_path / "state")
    server = request.getfixturevalue("postgres")
    return server.place(tmp_path / "state", server.new())
