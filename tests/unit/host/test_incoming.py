# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on its way from a store stays for the next fetch, is bounded by what that wants, and is gone in the end."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.incoming import Incoming
from ansible.module_utils.slipway.host.lease import exclusive

ONE, TWO = "1" * 64, "2" * 64


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
    with incoming.reserved(), pytest.raises(Refusal) as caught, incoming.reserved():
        pass
    assert caught.value.reason == "busy"


def test_a_fetch_does_not_hold_the_applications_lock(incoming, site):
    with incoming.reserved(), exclusive(site.places.lock, site.host.clock, wait_seconds=0):
        pass


def test_clearing_removes_all_but_not_under_a_fetch(incoming):
    incoming.clear()
    assert not incoming.places.fetching.exists()
    incoming.begin({})
    incoming.path(ONE).write_bytes(b"part")
    with incoming.reserved():
        incoming.clear()
        assert names(incoming) == [ONE]
    incoming.clear()
    assert not incoming.places.incoming.exists()
    incoming.discard()
