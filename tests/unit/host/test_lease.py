# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers, one host: who may, who waits, who takes over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.lease import LEASE_LIMIT, POLL_SECONDS, Lease, LeaseFile, Run, exclusive

NOW = signed.NOW
ANNA = Run("run_1", "controller_a", "anna", lease_seconds=900)
BERT = Run("run_2", "controller_b", "bert", lease_seconds=600)
HOLDER = """
import fcntl, sys
with open(sys.argv[1], "r+") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def leases(tmp_path):
    return LeaseFile(tmp_path / "lease.json")


def test_a_run_is_read_from_a_request():
    values = {"run_id": "r", "controller_id": "c", "deployed_by": "d", "dead_runs": ["x"], "lease_seconds": 60}
    assert Run.parse(values) == Run("r", "c", "d", ("x",), 60)


@pytest.mark.parametrize("values", [{}, {"dead_runs": None, "lease_seconds": None}])
def test_a_run_has_no_dead_runs_and_a_quarter_of_an_hour_by_default(values):
    run = Run.parse({"run_id": "r", "controller_id": "c", "deployed_by": "d", **values})
    assert run == Run("r", "c", "d", (), 900)
    assert run.identity() == {"run_id": "r", "controller_id": "c", "deployed_by": "d"}


def test_where_there_is_no_lease_everybody_may(leases):
    assert leases.read() is None
    assert leases.require_free(ANNA, NOW) is None


def test_a_lease_says_who_holds_it_why_and_until_when(leases):
    lease = leases.take(ANNA, reason="deploy of v1", now=NOW)
    assert lease == Lease("run_1", "controller_a", "anna", "deploy of v1", NOW, NOW + 900, NOW)
    assert leases.read() == lease
    assert lease.described() == (
        "anna (run run_1, deploy of v1, since 2026-11-18T11:06:40Z, until 2026-11-18T11:21:40Z)"
    )


def test_a_lease_is_on_disk_before_it_counts(leases, syscalls):
    leases.take(ANNA, reason="deploy", now=NOW)
    assert [call for call in syscalls.calls if call[0] in ("fsync", "rename")] == [
        ("fsync", "temporary"), ("rename", "lease.json"), ("fsync", leases.path.parent.name),
    ]  # fmt: skip


def test_a_lease_that_cannot_be_written_leaves_the_old_one(leases, syscalls):
    before = leases.take(ANNA, reason="deploy", now=NOW)
    syscalls.fail("fsync", 5)
    with pytest.raises(OSError, match="Input/output error"):
        leases.take(ANNA, reason="deploy", now=NOW + 60)
    assert leases.read() == before


@pytest.mark.parametrize("later", [0, 899])
def test_another_run_is_told_who_holds_the_lease(leases, later):
    before = leases.take(ANNA, reason="deploy of v1", now=NOW)
    with pytest.raises(Refusal) as refused:
        leases.take(BERT, reason="deploy of v2", now=NOW + later)
    assert refused.value.reason == "locked"
    assert refused.value.found == f"held by {before.described()}"
    assert leases.read() == before


def test_an_expired_lease_yields_to_everybody(leases):
    leases.take(ANNA, reason="deploy", now=NOW)
    assert leases.take(BERT, reason="deploy", now=NOW + 900).run_id == "run_2"


def test_a_controller_takes_over_from_its_own_dead_run(leases):
    leases.take(ANNA, reason="deploy", now=NOW)
    next_run = Run("run_3", "controller_a", "anna", dead_runs=("run_0", "run_1"))
    taken = leases.take(next_run, reason="deploy", now=NOW + 1)
    assert (taken.run_id, taken.since, taken.token) == ("run_3", NOW + 1, NOW + 1)


def test_a_controller_does_not_take_over_from_its_own_living_run(leases):
    leases.take(ANNA, reason="deploy", now=NOW)
    with pytest.raises(Refusal, match="locked"):
        leases.require_free(Run("run_3", "controller_a", "anna", dead_runs=("run_0",)), NOW + 1)


def test_nobody_declares_another_controllers_run_dead(leases):
    leases.take(ANNA, reason="deploy", now=NOW)
    with pytest.raises(Refusal, match="locked"):
        leases.require_free(replace(BERT, dead_runs=("run_1",)), NOW + 1)


def test_a_run_renews_its_own_lease_and_stays_the_same_holder(leases):
    first = leases.take(ANNA, reason="deploy", now=NOW)
    second = leases.take(ANNA, reason="deploy", now=NOW + 600)
    assert (second.since, second.token, second.expires) == (first.since, first.token, NOW + 1500)


def test_the_token_of_a_new_lease_is_greater_even_when_the_clock_stands_still(leases):
    before = leases.take(ANNA, reason="deploy", now=NOW)
    after = leases.take(Run("run_3", "controller_a", "anna", dead_runs=("run_1",)), reason="deploy", now=NOW)
    assert after.token == before.token + 1


def test_who_gives_the_lease_up_gives_up_its_own(leases):
    leases.take(ANNA, reason="deploy", now=NOW)
    leases.release("run_1")
    assert leases.read() is None


def test_the_loser_does_not_free_the_winners_lease(leases):
    lease = leases.take(ANNA, reason="deploy", now=NOW)
    leases.release("run_2")
    assert leases.read() == lease


def test_a_lease_that_is_gone_is_given_up_already(leases):
    leases.release("run_1")
    assert not leases.path.exists()


BROKEN_LEASES = {
    "empty": b"",
    "torn": b'{"run_id":"run_1",',
    "a list": b"[]",
    "too little": b'{"run_id":"run_1"}',
    "too much": canonical.encode({**Lease("r", "c", "h", "x", 1, 2, 3).as_dict(), "colour": "red"}),
}


@pytest.mark.parametrize("data", BROKEN_LEASES.values(), ids=BROKEN_LEASES.keys())
def test_a_lease_that_nobody_can_read_is_no_free_pass(leases, data):
    leases.path.write_bytes(data)
    with pytest.raises(Refusal) as refused:
        leases.take(ANNA, reason="deploy", now=NOW)
    assert refused.value.reason == "lease_unreadable"
    assert leases.path.read_bytes() == data


def test_a_lease_longer_than_any_is_not_read(leases):
    leases.path.write_bytes(b" " * (LEASE_LIMIT + 1))
    with pytest.raises(Refusal, match="lease_too_large"):
        leases.read()


def test_a_fifo_in_place_of_a_lease_blocks_nobody(leases):
    os.mkfifo(leases.path)
    with pytest.raises(Refusal, match="lease_not_regular"):
        leases.read()


@pytest.fixture
def held(tmp_path):
    """The lock file, held by another process until that is killed."""
    path = tmp_path / "lock"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield path, process
        process.kill()


def test_an_exchange_waits_for_another_process_and_then_names_the_lock(held, clock):
    path, _ = held
    with pytest.raises(Refusal) as refused, exclusive(path, clock, wait_seconds=1):
        pytest.fail("entered while another process holds the lock")
    assert refused.value.reason == "busy"
    assert str(path) in refused.value.expected
    assert set(clock.slept) == {POLL_SECONDS}
    assert 1 <= sum(clock.slept) + POLL_SECONDS / 2 < 1.2


@pytest.mark.parametrize(
    ("lease", "named"),
    [
        (None, "it is still running on this host"),
        (b"damaged", "it is still running on this host"),
        (ANNA, "it is still running, for anna (run run_1, deploy of v1, since "),
    ],
)
def test_who_waits_in_vain_is_told_who_is_at_work_as_far_as_the_lease_says(held, leases, clock, lease, named):
    path, _ = held
    if isinstance(lease, Run):
        leases.take(lease, reason="deploy of v1", now=NOW)
    elif lease:
        leases.path.write_bytes(lease)
    with pytest.raises(Refusal) as refused, exclusive(path, clock, wait_seconds=0):
        pytest.fail("entered while another process holds the lock")
    assert refused.value.found.startswith(named)


def test_an_exchange_goes_on_as_soon_as_the_other_process_is_dead_however_it_died(held):
    path, process = held

    class Killing(SystemClock):
        def sleep(self, seconds):
            process.kill()
            super().sleep(seconds)

    with exclusive(path, Killing(), wait_seconds=10):
        assert process.wait(5) == -9


def test_a_free_lock_is_entered_at_once_and_left_free(tmp_path, clock):
    for _ in range(2):
        with exclusive(tmp_path / "lock", clock):
            assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    assert clock.slept == []


def test_an_error_inside_leaves_the_lock_free(tmp_path, clock):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "lock", clock):
        raise ZeroDivisionError
    with exclusive(tmp_path / "lock", clock, wait_seconds=0):
        pass


def test_two_exchanges_of_one_process_exclude_each_other_too(tmp_path, clock):
    with (
        exclusive(tmp_path / "lock", clock),
        pytest.raises(Refusal, match="busy"),
        exclusive(tmp_path / "lock", clock, wait_seconds=0),
    ):
        pytest.fail("entered twice")


def test_a_command_that_an_exchange_starts_does_not_keep_its_lock(tmp_path, clock):
    with exclusive(tmp_path / "lock", clock):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with exclusive(tmp_path / "lock", clock, wait_seconds=0):
            assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_lock_is_not_taken_through_a_link(tmp_path, clock):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match="lock_not_regular"), exclusive(tmp_path / "lock", clock):
        pytest.fail("entered")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(("number", "reason"), [(errno.EROFS, "file_system_read_only"), (errno.ENOSPC, "disk_full")])
def test_a_lock_that_cannot_be_made_is_a_refusal_before_anything_is_done(tmp_path, clock, monkeypatch, number, reason):
    def fails(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(Refusal) as refused, exclusive(tmp_path / "lock", clock):
        pytest.fail("held")
    assert refused.value.reason == reason
