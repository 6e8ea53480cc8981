# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work is told of, in lines that say how far all hosts are; short work is not."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time

import pytest
from ansible.module_utils.slipway.controller import progress
from ansible.module_utils.slipway.controller.progress import (
    DONE,
    INTERVAL_SECONDS,
    PACKING,
    SENDING,
    WORKING,
    Board,
    Part,
    Progress,
    line,
    read_position,
)

MIB = 1 << 20
NOW = 1000.0
PARTS = {
    "nobody has begun": ([], "staging: 0 of 8 hosts done"),
    "one packs and the others wait": (
        [Part(PACKING, 400 * MIB, 2048 * MIB, NOW - 4), Part(PACKING), Part(PACKING)],
        "staging: 0 of 8 hosts done; 400 MiB of 2.0 GiB packed, 100 MiB/s, 16 s left",
    ),
    "a pack that has just been begun": (
        [Part(PACKING, 0, 2048 * MIB, NOW)],
        "staging: 0 of 8 hosts done; 0 B of 2.0 GiB packed",
    ),
    "some are sent to, some work, some are done": (
        [
            Part(SENDING, 50 * MIB, 100 * MIB, NOW - 10), Part(SENDING, 0, 100 * MIB, NOW - 1), Part(WORKING, 0, 100 * MIB, NOW - 20),
            Part(DONE, 0, 100 * MIB, NOW - 25),
        ],
        "staging: 1 of 8 hosts done; 250 MiB of 800 MiB sent, 10 MiB/s, 55 s left; 1 at unpacking, verifying and checking",
    ),
    "nothing has arrived yet": ([Part(SENDING, 0, 100 * MIB, NOW)], "staging: 0 of 8 hosts done; 0 B of 800 MiB sent"),
    "what is packed beside what is sent": (
        [Part(SENDING, 50 * MIB, 100 * MIB, NOW - 5), Part(PACKING, 1, 9, NOW)],
        "staging: 0 of 8 hosts done; 50 MiB of 800 MiB sent, 10 MiB/s, 1 min 15 s left",
    ),
    "hosts that had it all": (
        [Part(WORKING), Part(DONE), Part(DONE)],
        "staging: 2 of 8 hosts done; 1 at unpacking, verifying and checking",
    ),
    "a slow line": (
        [Part(SENDING, MIB, 2048 * MIB, NOW - 10)],
        "staging: 0 of 8 hosts done; 1 MiB of 16.0 GiB sent, 103 KiB/s, 45 h 30 min left",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("parts", "said"), PARTS.values(), ids=PARTS.keys())
def test_a_line_says_how_far_all_hosts_are(parts, said):
    assert line(parts, 8, NOW) == said


def test_one_host_is_one_host():
    assert line([], 1, NOW) == "staging: 0 of 1 host done"


@pytest.fixture
def board(tmp_path):
    made = Board(tmp_path / "run/progress")
    made.open()
    return made


def test_what_one_worker_notes_the_others_read(board):
    board.note("web1", Part(SENDING, 1, 2, 3.5))
    board.note("web/../2", Part(WORKING))
    board.note("web1", Part(DONE, 2, 2, 3.5))
    board.open()
    assert sorted(board.parts(), key=lambda part: part.step) == [Part(DONE, 2, 2, 3.5), Part(WORKING)]
    board.forget("web1")
    board.forget("nobody")
    assert board.parts() == [Part(WORKING)]


def test_a_line_is_due_for_one_and_not_before_an_interval_is_over(board):
    began = time.time()
    assert not board.is_due(began + INTERVAL_SECONDS / 2)
    assert [board.is_due(began + INTERVAL_SECONDS + 1) for _ in range(2)] == [True, False]
    assert board.is_due(began + 2 * INTERVAL_SECONDS + 1)


def test_who_does_not_get_to_say_it_does_not_wait(board):
    with open(board.directory / "said", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not board.is_due(time.time() + 2 * INTERVAL_SECONDS)


def test_the_steps_of_a_host_are_told_while_they_last(board, tmp_path):
    said = []
    pack = tmp_path / "pack"
    pack.write_bytes(bytes(MIB))
    later = time.time()
    with Progress(board, "web1", 2, said.append) as told:
        moved = told.packing(3 * MIB)
        moved(MIB)
        moved(MIB)
        told.tick(later := later + INTERVAL_SECONDS + 1)
        told.tick(later + 1)
        with open(pack, "rb") as sent:
            told.sending(pack)
            sent.seek(MIB // 2)
            told.tick(later := later + INTERVAL_SECONDS + 1)
        told.working()
        told.tick(later + INTERVAL_SECONDS + 1)
    assert [text.partition(",")[0] for text in said] == [
        "staging: 0 of 2 hosts done; 2 MiB of 3 MiB packed",
        "staging: 0 of 2 hosts done; 512 KiB of 2 MiB sent",
        "staging: 0 of 2 hosts done; 1 at unpacking",
    ]
    assert [(part.step, part.total) for part in board.parts()] == [(DONE, MIB)]


def test_nothing_is_said_of_short_work(board):
    said = []
    with Progress(board, "web1", 2, said.append) as told:
        told.packing(MIB)(MIB)
        told.working()
    assert said == []
    assert [part.step for part in board.parts()] == [DONE]


def test_a_host_that_failed_is_not_done(board):
    def fail():
        with Progress(board, "web1", 2, print) as told:
            told.tick(time.time())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert board.parts() == []


def test_it_ticks_by_itself(board, monkeypatch):
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0.0)
    reached = progress.threading.Event()
    with Progress(board, "web1", 1, lambda _text: reached.set()):
        assert reached.wait(60)


def test_work_goes_on_where_nothing_can_be_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.001)
    (tmp_path / "file").touch()
    ticked = progress.threading.Event()

    class Ticking(Progress):
        def tick(self, now):
            try:
                super().tick(now)
            except OSError:
                ticked.set()
                raise

    with Ticking(Board(tmp_path / "file/below"), "web1", 1, print):
        assert ticked.wait(60)


def test_how_far_a_child_of_a_child_has_read_a_file_is_seen(tmp_path):
    pack = tmp_path / "pack"
    pack.write_bytes(bytes(MIB))
    read = "import sys; f = open(sys.argv[1], 'rb', buffering=0); f.read(4711); print(flush=True); sys.stdin.read()"
    shell = ["sh", "-c", '"$0" -c "$1" "$2"; true', sys.executable, read, str(pack)]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert read_position(pack, os.getpid()) == 4711
        child.stdin.close()
    assert read_position(pack, os.getpid()) == 0
