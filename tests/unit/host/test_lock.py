# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock that a person takes keeps deployments away, says why, and never stands in the way back."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.host import recovery
from ansible.module_utils.slipway.host.lease import exclusive
from ansible.module_utils.slipway.host.status import remarks
from releases import snapshot


def lock(site, state="shown", **keys):
    return site.ask("lock", **{"state": state, "holder": "anna", "message": "frozen until Monday", **keys})


@pytest.mark.parametrize("state", ["taken", "released"])
def test_a_lock_is_not_changed_while_an_exchange_is_at_work(two, clock, state):
    """It has asked for a lock already, and goes on as it was answered."""
    before = snapshot(two.host.root)
    with exclusive(two.places.lock, clock):
        assert lock(two, state)["reason"] == "busy"
    assert snapshot(two.host.root) == before


@pytest.mark.parametrize("exchange", ["stage", "activate"])
@pytest.mark.parametrize("check", [False, True])
def test_a_lock_keeps_deployments_away_and_says_why(two, exchange, check):
    taken = lock(two, "taken")
    before = snapshot(two.host.root)
    answer = getattr(two, exchange)("v2", run=two.run("run-2"), check=check)
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, False, "locked_by_hand")
    assert answer["found"] == f"'frozen until Monday', by anna since {taken['lock']['since']} until it is released"
    assert answer["remedy"].endswith("playbooks/lock.yml -l prod-1 -e lock_state=released")
    assert snapshot(two.host.root) == before


def test_a_lock_stands_in_no_way_back(two, clock):
    two.activate("v2", run=two.run("run-2"))
    lock(two, "taken")
    assert two.confirm("v2", run=two.run("run-2"))["outcome"] == "confirmed", "it was switched before the lock"
    assert two.rollback("v1", run=two.run("run-3"))["outcome"] == "confirmed"
    lock(two, "released")
    two.activate("v2", run=two.run("run-4"), retry=True)
    lock(two, "taken")
    clock.boot += 900
    assert recovery.at_deadline(two.places).startswith("rolled_back: ")
    assert lock(two)["outcome"] == "locked", "what a host does by itself frees nobody's lock"


def test_a_lock_that_is_released_is_gone(two):
    taken = lock(two, "taken")["lock"]
    assert lock(two, "released", holder="bert") == {"changed": True, "outcome": "released", "lock": taken}
    assert lock(two, "released") == {"changed": False, "outcome": "free", "lock": None}
    assert two.activate("v2", run=two.run("run-2"))["outcome"] == "switched"


def test_a_lock_ends_by_itself_where_it_says_so(two, clock):
    taken = lock(two, "taken", hours=1.5)["lock"]
    assert taken["until"] == timestamp(clock.now() + 5400)
    clock.advance(5399)
    assert lock(two)["outcome"] == "locked"
    assert two.stage("v2")["reason"] == "locked_by_hand"
    clock.advance(1)
    assert lock(two) == {"changed": False, "outcome": "free", "lock": None}
    assert two.activate("v2", run=two.run("run-2"))["outcome"] == "switched"
    assert lock(two, "taken", holder="bert")["outcome"] == "taken"


def test_who_comes_second_is_told_who_was_first_and_frees_nothing(two):
    first = lock(two, "taken")["lock"]
    second = lock(two, "taken", holder="bert", message="mine")
    assert (second["reason"], "by anna" in second["found"]) == ("locked_by_hand", True)
    assert lock(two, "released", id="of another")["changed"] is False
    assert lock(two)["lock"] == first
    assert lock(two, "released", id=first["id"])["outcome"] == "released"


@pytest.mark.parametrize("other", [{"message": "until Tuesday"}, {"hours": 2}])
def test_another_lock_under_the_same_name_is_somebody_elses(two, other):
    first = lock(two, "taken")["lock"]
    assert lock(two, "taken", **other)["reason"] == "locked_by_hand"
    assert lock(two)["lock"] == first


@pytest.mark.parametrize("hours", [None, 2])
def test_the_same_lock_again_changes_nothing(two, clock, hours):
    first = lock(two, "taken", hours=hours)["lock"]
    clock.advance(60)
    assert lock(two, "taken", hours=hours) == {"changed": False, "outcome": "taken", "lock": first}


@pytest.mark.parametrize("state", ["taken", "released"])
def test_check_mode_says_what_would_be_and_changes_nothing(two, state):
    if state == "released":
        lock(two, "taken")
    before = snapshot(two.host.root)
    assert lock(two, state, check=True)["outcome"] == state
    assert snapshot(two.host.root) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": None}, {"message": ""}, {"message": "two\nlines"}, {"holder": ""}, {"hours": 0}, {"hours": -1}, {"hours": True},
        {"hours": "2"}, {"hours": 10**6},
    ],
)  # fmt: skip
def test_a_lock_that_makes_no_sense_is_refused(two, wrong):
    answer = lock(two, "taken", **wrong)
    assert (answer["reason"], answer["changed"]) == ("lock_invalid", False)
    assert lock(two)["outcome"] == "free"


def test_a_host_of_another_environment_is_not_locked(two):
    assert lock(two, "taken", environment="staging")["reason"] == "environment_mismatch"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"holder":"anna"}'])
def test_a_lock_that_cannot_be_read_keeps_deployments_away_until_it_is_removed(two, data):
    two.places.manual_lock.write_bytes(data)
    assert two.activate("v2", run=two.run("run-2"))["reason"] == "manual_lock_unreadable"
    assert lock(two)["reason"] == "manual_lock_unreadable"
    assert lock(two, "released", id="mine")["reason"] == "manual_lock_unreadable"
    assert lock(two, "released") == {"changed": True, "outcome": "free", "lock": None}
    assert two.activate("v2", run=two.run("run-2"))["outcome"] == "switched"


def test_status_shows_a_lock_and_what_is_not_confirmed(two, clock):
    assert remarks(two.inspect()) == []
    two.activate("v2", run=two.run("run-2"), confirm_within_seconds=60)
    taken = lock(two, "taken", hours=1)["lock"]
    clock.advance(20)
    answer = two.inspect()
    assert answer["lock"] == taken
    about = "v2 is unconfirmed, deploy run-2 by alice: goes back to v1"
    held = f"locked by anna since {taken['since']} until {taken['until']}: frozen until Monday"
    assert remarks(answer) == [f"{about} by itself in 40 s", held]
    clock.advance(40)
    assert remarks(two.inspect())[0] == f"{about} any moment"
    assert remarks({**answer, "transaction": {**answer["transaction"], "seconds_left": None}, "lock": None}) == [
        f"{about} when it is settled"
    ]
    assert remarks({"lock": {**taken, "until": None}})[0].endswith("until it is released: frozen until Monday")
