# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions are groups of the inventory: each host of a run in exactly one of them, whatever operators write."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.regions import (
    Region,
    read_regions,
    region_lines,
    regions_of,
    with_regions,
)

GROUPS = {"all": ["a", "b", "c", "d"], "eu": ["b", "a"], "us": ["c", "d"], "ap": [], "both": ["a", "c"]}
HOSTS = ("a", "b", "c", "d")


def test_hosts_are_told_apart_by_their_groups_in_the_order_that_is_asked_for():
    assert read_regions(["us", "eu"], GROUPS, HOSTS) == (Region("us", ("c", "d")), Region("eu", ("a", "b")))


def test_without_an_order_there_are_no_regions():
    assert read_regions([], GROUPS, HOSTS) == read_regions(None, GROUPS, HOSTS) == ()


def test_a_region_without_hosts_of_this_run_is_left_out():
    assert read_regions(["us", "eu"], GROUPS, ["a"]) == (Region("eu", ("a",)),)


def test_a_region_is_failed_over_with_all_of_its_hosts():
    found = read_regions(["eu", "us"], GROUPS, HOSTS, {"a", "b", "c"})
    assert {each.name: each.is_failed_over for each in found} == {"eu": True, "us": False}


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (["eu", "mars", "us"], "mars is no group of the inventory"),
        (["eu", "us", "ap"], "ap has no hosts"),
        (["eu", "us", "eu"], "eu is named 2 times"),
        (["eu", "us", "both"], "a is in eu and in both; c is in us and in both"),
        (["eu"], "c is in none of them; d is in none of them"),
        (["all"], "'all' cannot be the name of a region"),
        (["eu", "us", "canary"], "'canary' cannot be the name of a region"),
        (["eu", "us", "1"], "'1' cannot be the name of a region"),
        (["eu", "us", "{{ x }}"], "'{{ x }}' cannot be the name of a region"),
        ("eu", "a list of names of groups is expected, found 'eu'"),
        ([["eu"]], "a list of names of groups is expected, found [['eu']]"),
        ({"eu": 1}, "a list of names of groups is expected, found {'eu': 1}"),
    ],
)
def test_what_is_no_order_of_regions_is_refused(order, found):
    with pytest.raises(Refusal) as refused:
        read_regions(order, GROUPS, HOSTS)
    assert refused.value.reason == "regions_invalid"
    assert found in refused.value.found
    assert "nothing was changed" in refused.value.found


def test_every_mistake_is_named_at_once():
    with pytest.raises(Refusal) as refused:
        read_regions(["mars", "ap", "eu"], GROUPS, HOSTS)
    assert refused.value.found.startswith(
        "mars is no group of the inventory; ap has no hosts; c is in none of them; d is in none of them"
    )


def test_looking_refuses_nothing():
    orders = {"a": ["eu", "both"], "b": ["eu", "us"], "c": ["us", 7], "d": {}, "e": ["eu"]}
    assert regions_of(orders, GROUPS) == {"b": "eu", "c": "us"}


OUT = {"eu": ["a", "b"], "us": ["c", "d"]}
SERVES = {"a": "v2", "b": "v2", "c": "v1"}
BEHIND = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("kept_out", "eu"),
    [
        ({}, "region eu: v2 on 2 hosts"),
        ({"lb": {"hosts": BEHIND, "held": []}}, "region eu: v2 on 2 hosts"),
        ({"lb": {"hosts": BEHIND, "held": ["a", "b"]}}, "region eu: v2 on 2 hosts; failed over at lb"),
        ({"lb": {"hosts": BEHIND, "held": ["a"]}}, "region eu: v2 on 2 hosts; lb keeps a out"),
        ({"lb": {"hosts": ["c", "d"], "held": ["c"]}}, "region eu: v2 on 2 hosts"),
        (
            {"lb": {"hosts": BEHIND, "held": ["a", "b"]}, "other": {"hosts": BEHIND, "held": []}},
            "region eu: v2 on 2 hosts; failed over at lb, but not at other",
        ),
        ({"lb": {"hosts": BEHIND}}, "region eu: v2 on 2 hosts; no answer from lb"),
    ],
)
def test_a_region_says_what_it_serves_and_who_keeps_requests_away(kept_out, eu):
    assert region_lines(OUT, SERVES, kept_out)[0] == eu


def test_what_is_not_known_of_a_host_is_said():
    assert region_lines(OUT, SERVES, {})[1] == "region us: unknown on 1 host, v1 on 1 host"


def test_answers_get_their_region_and_who_keeps_them_out():
    answers = with_regions(
        {"a": {"active": "v1"}, "e": {}}, {"a": "eu", "gone": "eu"}, {"lb": {"hosts": BEHIND, "held": ["a"]}}
    )
    assert answers == {"a": {"active": "v1", "region": "eu", "kept_out_by": ["lb"]}, "e": {}}
