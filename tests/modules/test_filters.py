# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters by which playbooks pick what hosts returned."""

from __future__ import annotations

import importlib.util
import re

import repository
from ansible.module_utils.slipway.controller import report, wave_verdict

SPECIFICATION = importlib.util.spec_from_file_location("slipway_filters", repository.ROOT / "filter_plugins/slipway.py")
PLUGIN = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(PLUGIN)
FILTERS = PLUGIN.FilterModule().filters()


def test_what_tasks_registered_is_found_by_stage_and_host():
    hostvars = {"a": {"__release_activation": {"outcome": "switched"}}, "b": {}}
    results = FILTERS["slipway_by_stage"](["a", "b"], hostvars)
    assert results["activation"] == {"a": {"outcome": "switched"}, "b": {}}
    assert set(results) == {*report.STAGES, *report.BESIDE, *wave_verdict.STAGES}
    assert FILTERS["slipway_by_host"](["a", "b"], hostvars, "__release_activation") == results["activation"]


def test_every_stage_that_is_judged_is_registered_or_set_by_a_task():
    registered = set()
    for path in (repository.ROOT / "roles/release/tasks").glob("*.yml"):
        registered |= set(re.findall(r"__release_(\w+)(?:$|:$)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert {*report.STAGES, *wave_verdict.STAGES} - registered == set()


def test_a_rollout_is_stopped_by_any_verdict_that_says_so():
    stopped = FILTERS["slipway_is_stopped"]
    assert stopped({"a": {"decision": "go_on"}, "b": {"decision": "stop"}})
    assert not stopped({"a": {"decision": "go_on"}, "b": {}})


def test_what_is_released_is_a_path_and_no_store():
    path = FILTERS["slipway_local_path"]
    assert path("../shop") == "../shop"
    assert [path(store) for store in ("", [], "https://store.example", ["https://store.example"])] == [""] * 4


def test_hosts_are_shown_with_their_regions_and_who_keeps_them_out():
    by_host = {"a": [{"host": "lb", "backend": "shop"}], "b": {}}
    (balancer,) = FILTERS["slipway_balancers"](by_host)
    assert (balancer["host"], balancer["hosts"]) == ("lb", ["a"])
    regions = FILTERS["slipway_regions"]({"a": ["eu"], "b": {}}, {"eu": ["a"]})
    standings = [{"__release_balancer": balancer, "held": ["a"], "serving": [], "not_up": []}]
    answers = FILTERS["slipway_with_regions"]({"a": {"reason": "locked"}, "b": {}}, regions, standings)
    assert answers["a"] == {"reason": "locked", "region": "eu", "kept_out_by": ["lb (shop)"]}
    table = FILTERS["slipway_status_table"](answers, standings)
    assert "region eu: locked on 1 host; failed over at lb (shop)" in table
