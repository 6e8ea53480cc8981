# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says whether a fleet is intact."""

from __future__ import annotations

import json

import doors
import plugins
import pytest

PLUGIN = "slipway_integrity_report"
SOUND = {"outcome": "intact", "detail": ""}
SHOP = {
    "active": "v1",
    "release": SOUND,
    "trust": SOUND,
    "witness": SOUND,
    "own_runs": {"outcome": "complete", "detail": ""},
}


def report(shop=SHOP, **options):
    return plugins.run(PLUGIN, answers={"prod-1": {"applications": {"shop": shop}}}, **options)


@pytest.mark.parametrize("check", [False, True])
def test_a_fleet_that_is_intact_is_told_and_changes_nothing(check):
    answer = report(check=check)
    assert (answer["intact"], answer["findings"], answer["changed"], answer.get("failed")) == (True, [], False, None)
    assert answer["msg"].endswith("everything is intact")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_a_finding_fails_the_task_with_what_to_do():
    answer = report({**SHOP, "witness": {"outcome": "restored", "detail": "2 records"}})
    assert (answer["failed"], answer["reason"], answer["intact"]) == (True, "not_intact", False)
    assert answer["findings"][0]["remedy"] in answer["msg"]
    assert doors.undocumented(PLUGIN, answer) == set()


def test_programs_get_data():
    answer = report(format="json")
    assert json.loads(answer["msg"]) == {key: answer[key] for key in ("intact", "hosts", "findings")}
