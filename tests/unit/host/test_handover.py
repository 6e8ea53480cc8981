# SPDX-License-Identifier: GPL-3.0-or-later
"""What was handed over is done by the process on standby, what was not is left to who was started for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest
from ansible.module_utils.slipway.host import handover, standby
from standbys import PACKAGE, Standby


def test_one_that_ends_before_it_is_listened_to_is_not_done_again(tmp_path, monkeypatch):
    """It has all that it needs with the last byte that is sent, and may be killed before anything else happens here."""
    made, send = Standby(tmp_path), handover._send

    def send_and_see_it_die(connection, message):
        send(connection, message)
        with peer() as accepted:
            _, descriptors, _, _ = socket.recv_fds(accepted, 1 << 20, 3)
            accepted.sendall(b"b")
        for descriptor in descriptors:
            os.close(descriptor)

    monkeypatch.setattr(handover, "_send", send_and_see_it_die)
    with made.said_ready() as peer:
        assert handover.handed_over(made.path) == 1


def test_without_a_process_on_standby_nothing_is_begun(tmp_path):
    assert handover.handed_over(str(tmp_path / "none")) is None
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
    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(handover, "_send", lambda *arguments: sent.append(arguments))
    assert handover.handed_over(made.path) is None
    assert sent == []


def test_who_does_not_say_in_time_that_it_begins_can_no_longer_begin(tmp_path, monkeypatch):
    made = Standby(tmp_path)
    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 0.5)
    with made.said_ready() as peer:
        assert handover.handed_over(made.path) is None
        read, write = os.pipe()
        if os.fork() == 0:  # it takes over descriptors, environment and directory
            standby._take_over(peer(), lambda: os.write(write, b"begun"))
            os._exit(0)
        os.close(write)
        os.wait()
        assert os.read(read, 5) == b""
        os.close(read)


def test_who_says_at_the_last_moment_that_it_begins_is_believed(tmp_path, monkeypatch):
    made, begins_yet = Standby(tmp_path), handover._begins_yet

    def begun_just_now(connection):
        peer().sendall(b"b")
        return begins_yet(connection)

    monkeypatch.setattr(handover, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(handover, "_begins_yet", begun_just_now)
    with made.said_ready() as peer:
        assert handover.handed_over(made.path) == 1


def test_it_imports_nothing_but_what_the_interpreter_has_built_in():
    """Every exchange pays for it, 30 or 60 at once on one machine: what ``socket`` imports alone is as long as a start."""
    program = (
        "import sys; before = set(sys.modules); import slipway.host.handover; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE)!r}); {program}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "['__future__', '_socket', 'slipway', 'slipway.host', 'slipway.host.handover']\n"
