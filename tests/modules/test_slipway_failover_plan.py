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
        "balancers": {"a": [BALANCER], "b": [BALANCER], "lb": "not asked for"},
        "answers": {"a": {"unreachable": True}, "b": {}, "lb": {}},
        "standings": [STANDING],
        **changes,
    }
    return plugins.run(PLUGIN, **given)


def test_every_balancer_is_told_who_is_out_and_who_is_not(tmp_path):
    answer = ask(tmp_path)
    assert answer["orders"] == [{**ASKED, "out": ["a"], "admitted": ["b"], "healthy_min": 1}]
    assert (answer["changed"], answer["message"][:25]) == (False, "no requests go to eu any ")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_the_way_back_is_told_as_well(tmp_path):
    assert ask(tmp_path, back=True)["orders"][0]["admitted"] == ["a"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"region": "mars"}, "region_unknown"),
        ({"region_order": []}, "region_unknown"),
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
