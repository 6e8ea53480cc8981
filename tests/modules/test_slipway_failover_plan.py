# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that decides what every balancer is told of a region."""

from __future__ import annotations

import doors
import plugins
import pytest

PLUGIN = "slipway_failover_plan"
GROUPS = {"eu": ["a"], "us": ["b"], "balancers": ["lb"]}
BALANCER = {"host": "lb", "backend": "shop"}
ASKED = {**BALANCER, "socket": "/s", "drain_seconds": 5, "hosts": ["a", "b"]}
STANDING = {"__release_balancer": ASKED, "held": [], "serving": ["a", "b"], "not_up": []}
OPEN = {"run_id": "run-1", "deployed_by": "bob", "release_id": "v2", "seconds_left": 60, "step": "switched"}


def ask(tmp_path, **changes):
    given = {
        "application": "shop",
        "state_directory": str(tmp_path),
        "region": "eu",
        "region_order": ["eu", "us"],
        "groups": GROUPS,
        "environments": {"a": "prod", "b": "prod", "lb": "tools"},
        "everyone": {"a": "prod", "b": "prod", "lb": "tools"},
        "balancers": {"a": [BALANCER], "b": [BALANCER], "lb": "not asked for"},
        "answers": {"a": {"unreachable": True}, "b": {}, "lb": {}},
        "standings": [STANDING],
        **changes,
    }
    return plugins.run(PLUGIN, **given)


def test_every_balancer_is_told_who_is_out_and_who_is_not(tmp_path):
    answer = ask(tmp_path)
    assert answer["orders"] == [{**ASKED, "out": ["a"], "admitted": ["b"], "healthy_min": 1, "returning": []}]
    assert (answer["changed"], answer["message"][:25]) == (False, "no requests go to eu any ")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_the_way_back_is_told_as_well(tmp_path):
    assert ask(tmp_path, back=True)["orders"][0]["admitted"] == ["a"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"region": "mars"}, "region_unknown"),
        ({"region_order": []}, "region_unknown"),
        ({"groups": {**GROUPS, "eu": ["a", "a2"]}, "everyone": {"a2": "prod"}}, "region_incomplete"),
        ({"groups": {**GROUPS, "us": ["b", "b2"]}, "everyone": {"b2": "prod"}}, "region_incomplete"),
        ({"standings": [{**STANDING, "held": ["b"], "serving": ["a"]}]}, "region_readmitted"),
        ({"region_order": ["eu", "mars"]}, "regions_invalid"),
        ({"environments": {"a": "prod", "b": "staging"}}, "environments_mixed"),
        ({"balancers": {"a": [{"host": "lb"}]}}, "balancers_invalid"),
        ({"answers": {"b": {"transaction": OPEN}}}, "locked"),
        ({"healthy_min": "2"}, "capacity_too_low"),
        ({"standings": []}, "balancers_missing"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path, changes, reason):
    answer = ask(tmp_path, **changes)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert doors.undocumented(PLUGIN, answer) == set()


def test_a_run_that_has_not_ended_can_be_overruled(tmp_path):
    assert ask(tmp_path, answers={"b": {"transaction": OPEN}}, forced=True)["orders"]


def test_hosts_of_other_environments_in_a_region_are_none_of_its_business(tmp_path):
    groups = {**GROUPS, "eu": ["a", "test"]}
    assert ask(tmp_path, groups=groups, everyone={"a": "prod", "test": "staging"})["orders"]


def test_a_region_that_is_out_is_let_in_again_by_who_says_so(tmp_path):
    answer = ask(tmp_path, standings=[{**STANDING, "held": ["b"], "serving": ["a"]}], readmitted=True)
    assert answer["orders"][0]["returning"] == ["b"]
    assert answer["message"].endswith("; let in again: b at lb (shop)")


def test_a_memory_that_cannot_be_read_stops_no_failover(tmp_path):
    (tmp_path / "state.sqlite").write_bytes(b"no database at all " * 100)
    answer = ask(tmp_path)
    assert answer["orders"][0]["out"] == ["a"]
    assert "; the controller's memory was not read (" in answer["message"]
    assert ask(tmp_path, answers={"b": {"transaction": OPEN}})["reason"] == "locked"
    nowhere = ask(tmp_path, state_directory=str(tmp_path / "state.sqlite/below"))
    assert "was not read (Not a directory)" in nowhere["message"]


def test_the_memory_is_where_the_other_plugins_have_it(tmp_path):
    answer = ask(tmp_path, task_vars={"slipway_state_url": "postgresql://slipway@127.0.0.1:1/slipway"})
    assert "the controller's memory was not read (controller_memory_unusable)" in answer["message"]
    assert not (tmp_path / "state.sqlite").exists()
