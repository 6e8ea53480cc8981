# SPDX-License-Identifier: GPL-3.0-or-later
"""The module and plugin slipway_lock, against a real host."""

from __future__ import annotations

import doors
import plugins
import pytest
from ansible.module_utils.slipway.host import handler

NAME = "slipway_lock"


@pytest.fixture
def plugin(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)
    monkeypatch.setenv("SUDO_USER", "anna")

    def run(state, **options):
        given = {"state": state, "application": "shop", "environment": "prod", **options}
        return plugins.run_on_host(NAME, task_vars=site.variables(), **given)

    return run


def test_a_lock_is_taken_by_who_runs_ansible(site, plugin):
    assert plugin("shown")["outcome"] == "free"
    taken = plugin("taken", message="frozen", hours=2.0, holder="somebody else")
    assert (taken["changed"], taken["outcome"], taken["lock"]["holder"]) == (True, "taken", "anna")
    assert site.inspect()["lock"] == taken["lock"]
    for answer in (taken, plugin("shown"), plugin("released", id=taken["lock"]["id"])):
        assert doors.undocumented(NAME, answer) == set()
    assert plugin("shown")["outcome"] == "free"


def test_check_mode_takes_nothing(site, plugin):
    assert plugin("taken", message="frozen", check=True)["outcome"] == "taken"
    assert plugin("shown")["lock"] is None


def test_a_lock_needs_a_message():
    answer = doors.run(NAME, state="taken", application="shop", environment="prod")
    assert "message" in answer["msg"]
