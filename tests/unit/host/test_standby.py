# SPDX-License-Identifier: GPL-3.0-or-later
"""An exchange that is handed over is done once, as if the process that was started for it did it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from standbys import PACKAGE, Standby


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


def test_one_that_crashes_says_so_where_it_was_asked(on_standby):
    done = on_standby.ask("crash")
    assert done.returncode == 1
    assert "KeyError: 'x'" in done.stderr


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
