# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on its way from a store stays for the next fetch, is bounded by what that wants, and is gone in the end."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.incoming import Incoming
from ansible.module_utils.slipway.host.lease import Run, exclusive

ONE, TWO = "1" * 64, "2" * 64
RUN = Run("run-3", "controller-1", "anna")


@pytest.fixture
def incoming(site):
    return Incoming(site.places)


def names(incoming):
    return sorted(path.name for path in incoming.places.incoming.glob("*"))


def test_it_is_roots_alone(incoming):
    incoming.begin({ONE: 3})
    assert incoming.places.incoming.stat().st_mode & 0o777 == 0o700


def test_what_is_not_wanted_is_removed_and_the_rest_stays(incoming):
    incoming.begin({})
    for name in (ONE, TWO):
        incoming.path(name).write_bytes(b"part")
    incoming.begin({ONE: 10})
    assert names(incoming) == [ONE]


def test_what_is_held_counts_to_its_size(incoming):
    assert incoming.held({ONE: 10}) == {}
    incoming.begin({})
    incoming.path(ONE).write_bytes(b"part")
    incoming.path(TWO).write_bytes(b"too long")
    assert incoming.held({ONE: 10, TWO: 2, "3" * 64: 1}) == {ONE: 4, TWO: 2}


def test_one_fetch_at_a_time(incoming):
    with incoming.reserved(RUN), pytest.raises(Refusal) as caught, incoming.reserved(RUN):
        pass
    assert caught.value.reason == "busy"


@pytest.fixture
def other_fetch(incoming):
    """A fetch of run-1 in another process."""
    program = (
        "import fcntl, signal, sys; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print('run-1', end='', file=lock, flush=True); print('held', flush=True); signal.pause()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, incoming.places.fetching], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    yield holder
    holder.kill()
    holder.communicate()


def test_a_fetch_whose_run_is_over_is_ended_and_gone_on_with(incoming, other_fetch):
    """Its controller was killed: it would go on for as long as the bytes come, and nobody waits for them."""
    with incoming.reserved(replace(RUN, dead_runs=("run-1",))):
        assert other_fetch.wait(10) == -signal.SIGKILL
    with incoming.reserved(RUN):
        assert incoming.places.fetching.read_text() == RUN.run_id


def test_a_fetch_of_a_run_that_may_live_is_waited_for(incoming, other_fetch):
    with pytest.raises(Refusal, match="busy"), incoming.reserved(replace(RUN, dead_runs=("run-0",))):
        pass
    assert other_fetch.poll() is None


def test_a_fetch_that_has_just_begun_is_not_taken_for_the_one_before(incoming, other_fetch, clock, monkeypatch):
    sleep = clock.sleep

    def noted_meanwhile(seconds):
        incoming.places.fetching.write_text("run-2")
        sleep(seconds)

    monkeypatch.setattr(clock, "sleep", noted_meanwhile)
    with pytest.raises(Refusal, match="busy"), incoming.reserved(replace(RUN, dead_runs=("run-1",))):
        pass
    assert other_fetch.poll() is None


def test_a_fetch_does_not_hold_the_applications_lock(incoming, site):
    with incoming.reserved(RUN), exclusive(site.places.lock, site.host.clock, wait_seconds=0):
        pass


def test_clearing_removes_all_but_not_under_a_fetch(incoming):
    incoming.clear()
    assert not incoming.places.fetching.exists()
    incoming.begin({})
    incoming.path(ONE).write_bytes(b"part")
    with incoming.reserved(RUN):
        incoming.clear()
        assert names(incoming) == [ONE]
    incoming.clear()
    assert not incoming.places.incoming.exists()
    incoming.discard()
