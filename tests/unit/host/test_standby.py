# SPDX-License-Identifier: GPL-3.0-or-later
"""An exchange that is handed over is done once: by the process on standby, or by the one that was started for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import ansible.module_utils.slipway
import pytest
from ansible.module_utils.slipway.host import standby

PACKAGE = Path(ansible.module_utils.slipway.__file__).parent.parent
# Serves what it is told on the command line: package, file to note exchanges in, seconds, descriptor of the socket.
SERVER = """
import os, socket, sys
from pathlib import Path
from slipway.host import standby
def exchange():
    asked = sys.stdin.buffer.read().decode()
    with open(sys.argv[2], "a") as stream:
        stream.write(f"{asked}\\n")
    if asked == "die":
        os.kill(os.getpid(), 9)
    if asked == "crash":
        raise KeyError("x")
    sys.stdout.write(f"{asked} {os.environ.get('PLACE')} {os.getcwd()} {'LISTEN' in os.environ}")
    sys.stdout.flush()
    return 7
sys.exit(standby.serve(Path(sys.argv[1]), exchange, socket.socket(fileno=int(sys.argv[4])), float(sys.argv[3])))
"""
CLIENT = """
import sys
from slipway.host import standby
code = standby.handed_over(sys.argv[1])
sys.exit(99 if code is None else code)
"""


class Standby:
    """A process on standby, and clients of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.package, self.done, self.path = directory / "slipway.pyz", directory / "done", str(directory / "socket")
        self.package.write_bytes(b"one")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()

    def start(self, idle_seconds: float = 60) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", SERVER, self.package, self.done, str(idle_seconds), str(self.listener.fileno())],
            pass_fds=[self.listener.fileno()], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": str(PACKAGE), "LISTEN": "1"},
        )  # fmt: skip

    @contextmanager
    def said_ready(self) -> Iterator[Callable[[], socket.socket]]:
        """Be a process on standby that says it is ready, and nothing more; gives a function that waits for the connection."""
        with ThreadPoolExecutor(1) as pool:
            accepted = pool.submit(lambda: self.listener.accept()[0])
            accepted.add_done_callback(lambda done: done.result().sendall(b"r"))
            yield accepted.result
            accepted.result().close()

    def ask(self, asked: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", CLIENT, self.path], input=asked, capture_output=True, text=True, check=False, cwd=self.directory,
            env={"PYTHONPATH": str(PACKAGE), **variables},
        )  # fmt: skip

    @property
    def exchanges(self) -> list[str]:
        return self.done.read_text().split() if self.done.exists() else []


@pytest.fixture
def on_standby(tmp_path):
    made = Standby(tmp_path)
    process = made.start()
    yield made
    process.kill()
    process.wait()
    made.listener.close()


def test_an_exchange_has_the_input_output_environment_and_directory_of_who_was_started_for_it(on_standby):
    done = on_standby.ask("hello", PLACE="here")
    assert (done.returncode, done.stdout, done.stderr) == (7, f"hello here {on_standby.directory} False", "")
    assert on_standby.ask("again", BIG="x" * 100_000).stdout == f"again None {on_standby.directory} False"
    assert on_standby.exchanges == ["hello", "again"]


def test_one_that_is_killed_in_the_middle_is_not_done_again(on_standby):
    assert on_standby.ask("die").returncode == 1
    assert on_standby.exchanges == ["die"]
    assert on_standby.ask("next").returncode == 7


def test_one_that_ends_before_it_is_listened_to_is_not_done_again(tmp_path, monkeypatch):
    """It has all that it needs with the last byte that is sent, and may be killed before anything else happens here."""
    made, send_fds = Standby(tmp_path), socket.send_fds

    def send_and_see_it_die(connection, *arguments):
        sent = send_fds(connection, *arguments)
        with peer() as accepted:
            _, descriptors, _, _ = socket.recv_fds(accepted, 1 << 20, 3)
            accepted.sendall(b"b")
        for descriptor in descriptors:
            os.close(descriptor)
        return sent

    monkeypatch.setattr(socket, "send_fds", send_and_see_it_die)
    with made.said_ready() as peer:
        assert standby.handed_over(made.path) == 1


def test_one_that_crashes_says_so_where_it_was_asked(on_standby):
    done = on_standby.ask("crash")
    assert done.returncode == 1
    assert "KeyError: 'x'" in done.stderr


def test_without_a_process_on_standby_nothing_is_begun(tmp_path):
    assert standby.handed_over(str(tmp_path / "none")) is None
    made = Standby(tmp_path)
    made.listener.close()
    assert made.ask("hello").returncode == 99


@pytest.mark.parametrize("said", [b"", b"x", b"r", b"rx"])
def test_one_that_is_not_begun_is_left_to_who_was_started_for_it(tmp_path, said):
    made = Standby(tmp_path)

    def refuse():
        connection, _ = made.listener.accept()
        with connection:
            connection.sendall(said)

    thread = threading.Thread(target=refuse)
    thread.start()
    assert made.ask("hello").returncode == 99
    thread.join()


def test_who_does_not_answer_gets_nothing_that_could_keep_a_pipe_open(tmp_path, monkeypatch):
    made, sent = Standby(tmp_path), []
    monkeypatch.setattr(standby, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "send_fds", lambda *arguments: sent.append(arguments))
    assert standby.handed_over(made.path) is None
    assert sent == []


def test_who_does_not_say_in_time_that_it_begins_can_no_longer_begin(tmp_path, monkeypatch):
    made = Standby(tmp_path)
    monkeypatch.setattr(standby, "PATIENCE_SECONDS", 0.5)
    with made.said_ready() as peer:
        assert standby.handed_over(made.path) is None
        read, write = os.pipe()
        if os.fork() == 0:  # it takes over descriptors, environment and directory
            standby._take_over(peer(), lambda: os.write(write, b"begun"))
            os._exit(0)
        os.close(write)
        os.wait()
        assert os.read(read, 5) == b""
        os.close(read)


def test_who_says_at_the_last_moment_that_it_begins_is_believed(tmp_path, monkeypatch):
    made, shutdown = Standby(tmp_path), socket.socket.shutdown

    def begun_just_now(connection, how):
        peer().sendall(b"b")
        shutdown(connection, how)

    monkeypatch.setattr(standby, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(socket.socket, "shutdown", begun_just_now)
    with made.said_ready() as peer:
        assert standby.handed_over(made.path) == 1


def test_it_ends_when_nobody_comes(tmp_path):
    assert Standby(tmp_path).start(idle_seconds=0.05).wait(60) == 0


def test_another_package_is_left_to_the_next_process(on_standby):
    """Whoever asks then waits in the socket's queue, and is answered by what is in place now."""
    assert on_standby.ask("one").returncode == 7
    other = on_standby.directory / "other"
    other.write_bytes(b"two")
    other.rename(on_standby.package)
    waiting = threading.Thread(target=lambda: on_standby.ask("two"))
    waiting.start()
    time.sleep(0)
    successor = None
    try:
        deadline = time.monotonic() + 60
        while on_standby.exchanges == ["one"] and time.monotonic() < deadline:
            if successor is None:
                successor = on_standby.start()
            waiting.join(0.05)
        waiting.join(60)
        assert on_standby.exchanges == ["one", "two"]
    finally:
        if successor:
            successor.send_signal(signal.SIGKILL)
            successor.wait()


# Prints what an exchange imports that the process on standby had not.
LATE = """
import io, socket, sys
from slipway.base import frame
from slipway.host import door
def serve(_path, _exchange, _listener):
    before = set(sys.modules)
    options = {"application": "shop", "limit": 1, "witnessed": None}
    content = {"package": "x", "module": "slipway_history_info", "options": options, "check": False, "attached": None}
    request = frame.encoded_request(frame.Request("0" * 32, content))
    assert door.exchange(io.BytesIO(request), io.StringIO(), "x") == 0
    print(sorted(set(sys.modules) - before))
    return 0
door.serve = serve
sys.exit(door.stand_by("/nowhere", "x"))
"""


def test_an_exchange_imports_nothing_more():
    """Else each would pay for it: that is what the process on standby is there for."""
    listener = socket.socket(socket.AF_UNIX)
    program = LATE.replace("door.stand_by(", f"__import__('os').dup2({listener.fileno()}, 3) and door.stand_by(")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, pass_fds=[listener.fileno()],
        env={"PYTHONPATH": str(PACKAGE)},
    )  # fmt: skip
    listener.close()
    assert (done.stdout, done.stderr) == ("[]\n", "")
