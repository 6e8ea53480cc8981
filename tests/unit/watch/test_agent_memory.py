# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent remembers: whole after anything, and in memory while the disk takes nothing."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.watch.agent_memory import LIMIT, Memory, Post, Queued, Remembered
from ansible.module_utils.slipway.watch.circuit import Circuit
from ansible.module_utils.slipway.watch.escalation import State
from test_alert import LAPSE, NOW


@pytest.fixture
def post(host):
    found = Post(host)
    found.directory.mkdir(parents=True)
    found.runtime.mkdir(parents=True)
    return found


def full():
    return Memory(
        checks={"hello/alive": Remembered(State(failures=2, since=NOW), {"status": "UNHEALTHY"}, NOW, 1)},
        circuits={"slack": Circuit(failures=3, why="refused")},
        queue=[Queued("1", LAPSE, ["slack"], NOW)],
        firing={LAPSE.key: LAPSE},
        verified={"hello": NOW},
        alerts={"hello|CRITICAL": 1},
        security={"integrity_violation": 2},
        hooks={"hello/alive": True},
        lost=3,
    )


def test_all_of_it_comes_back(post):
    memory = full()
    assert memory.save(post) == ""
    found = Memory.load(post)
    assert found == memory
    assert found.serial == 1
    assert post.state.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b'{"format": 2}', b'{"format": 1}', b"\xff", b"[" * 100_000]
)
def test_what_cannot_be_read_is_begun_anew(post, damage):
    full().save(post)
    post.state.write_bytes(damage)
    found = Memory.load(post)
    assert (found.serial, found.is_new, list(found.unreadable)) == (0, True, [post.state])


def test_one_that_is_far_too_large_is_begun_anew(post):
    with post.state.open("wb") as file:
        file.truncate(LIMIT + 1)
    assert Memory.load(post).is_new


def test_while_the_disk_is_full_it_is_kept_in_memory_and_the_newer_one_counts(post, file_size_limit, host):
    memory = full()
    memory.save(post)
    memory.lost = 4
    # The directory goes away under it, as on a disk that fails.
    post.directory.rename(post.directory.with_name("gone"))
    assert "only" in memory.save(post)
    post.directory.with_name("gone").rename(post.directory)
    found = Memory.load(post)
    assert (found.lost, found.serial) == (4, 2)
    # It goes back to the disk when that takes it, and the copy in memory goes.
    assert found.save(post) == ""
    assert not post.spare.exists()
    assert Memory.load(post).serial == 3


def test_a_disk_that_takes_only_a_part_leaves_what_was_there(post, file_size_limit):
    memory = full()
    memory.save(post)
    before = post.state.read_bytes()
    memory.lost = 9
    file_size_limit(100)
    assert "not kept at all" in memory.save(post)
    assert post.state.read_bytes() == before
    assert [path.name for path in post.directory.iterdir()] == ["state.json"]


def test_what_is_no_utf_8_is_kept_as_it_is(post):
    memory = full()
    memory.checks["hello/alive"].result = {"message": "a\udcff"}
    assert memory.save(post) == ""
    assert Memory.load(post) == memory
