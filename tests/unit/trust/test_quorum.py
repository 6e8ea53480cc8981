# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether those who agreed are enough of those who must."""

from __future__ import annotations

from itertools import permutations

import pytest
from ansible.module_utils.slipway.trust import quorum
from hypothesis import given
from hypothesis import strategies as st

CASES = {
    "nobody is asked": ({}, {"lead": {"ann"}}, {}, {}),
    "nobody agreed": ({"lead": 2, "risk": 1}, {}, {"lead": 2, "risk": 1}, {"lead": 2, "risk": 1}),
    "each role has its holder": ({"lead": 1, "risk": 1}, {"lead": {"ann"}, "risk": {"bob"}}, {}, {}),
    "one holder for two roles": ({"lead": 1, "risk": 1}, {"lead": {"ann"}, "risk": {"ann"}}, {"risk": 1}, {}),
    "who can do both makes room": ({"lead": 1, "risk": 1}, {"lead": {"ann", "bob"}, "risk": {"ann"}}, {}, {}),
    "a chain of three": (
        {"a": 1, "b": 1, "c": 1}, {"a": {"ann", "bob"}, "b": {"bob", "cy"}, "c": {"ann"}}, {}, {},
    ),
    "two of one role": ({"lead": 2}, {"lead": {"ann"}}, {"lead": 1}, {"lead": 1}),
    "more than enough": ({"lead": 1}, {"lead": {"ann", "bob"}, "risk": {"cy"}}, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_missing_are(name):
    needed, given_by, distinct, together = CASES[name]
    assert quorum.missing(needed, given_by, distinct=True) == distinct
    assert quorum.missing(needed, given_by, distinct=False) == together


ROLES = st.sampled_from(["a", "b", "c"])
HOLDERS = st.sets(st.sampled_from(["ann", "bob", "cy", "dee"]))


@given(st.dictionaries(ROLES, st.integers(1, 2)), st.dictionaries(ROLES, HOLDERS))
def test_as_many_places_are_taken_as_can_be(needed, given_by):
    places = [role for role, count in needed.items() for _ in range(count)]
    holders = sorted(set().union(*given_by.values())) + [None] * len(places)
    best = max(
        sum(holder in given_by.get(role, ()) for role, holder in zip(places, order, strict=False))
        for order in permutations(holders, len(places))
    )
    assert len(places) - sum(quorum.missing(needed, given_by, distinct=True).values()) == best
