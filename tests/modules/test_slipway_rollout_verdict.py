# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says whether a rollout goes on."""

from __future__ import annotations

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.rollout import Pace, Settings, plan

PLUGIN = "slipway_rollout_verdict"
SWITCHED = {"outcome": "switched", "health": {"outcome": "success", "attempts": 1, "detail": "well"}}


def ask(*, check=False, settings=None, **options):
    answers = {name: {"active": "v1", "settled": "v1"} for name in ("prod-1", "prod-2")}
    rollout = plan(Settings.parse({"waves": ["1", "100%"], **(settings or {})}), Pace(60, 10, 10), answers)
    return plugins.run(PLUGIN, check=check, rollout=rollout.as_dict(), **options)


def test_a_wave_is_judged(tmp_path):
    answer = ask(results={"activation": {"prod-1": SWITCHED}}, wave=1)
    assert (answer["decision"], answer["changed"], answer["renews"]) == ("go_on", False, False)
    assert answer["outcomes"] == {"prod-1": {"outcome": "switched", "detail": ""}}
    assert doors.undocumented(PLUGIN, answer) == set()


@pytest.mark.parametrize(("lost", "kept"), [(True, []), (False, ["prod-1", "prod-2"])])
def test_the_end_of_a_run_is_judged(lost, kept):
    second = {"unreachable": True} if lost else SWITCHED
    answer = ask(results={"activation": {"prod-1": SWITCHED, "prod-2": second}})
    assert answer["decision"] == ("stop" if lost else "go_on")
    assert (answer["keep"], answer["take_back"]) == (kept, ["prod-1", "prod-2"] if lost else [])
    assert sorted(answer["until"]) == ["prod-1", "prod-2"]


def test_check_mode_neither_soaks_nor_pauses():
    asked = {"results": {"activation": {"prod-1": SWITCHED}}, "wave": 1}
    settings = {"soak_seconds": 60, "pause_after": ["canary"], "canary_share": "10%"}
    assert ask(settings=settings, **asked)["decision"] == "soak"
    answer = ask(check=True, settings=settings, **asked)
    assert (answer["decision"], answer["renews"]) == ("go_on", False)
