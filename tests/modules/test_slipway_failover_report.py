# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says how a failover ended, and fails unless every balancer does what was asked."""

from __future__ import annotations

import doors
import plugins
import pytest

PLUGIN = "slipway_failover_report"
ASKED = {"host": "lb", "backend": "shop", "socket": "/s", "drain_seconds": 5, "hosts": ["a", "b"]}
ORDER = {**ASKED, "out": ["a"], "admitted": ["b"], "healthy_min": 1, "returning": []}


def ask(held, *, check=False):
    standing = {"__release_balancer": ORDER, "held": held, "serving": ["b"], "not_up": []}
    return plugins.run(PLUGIN, check=check, region="eu", orders=[ORDER], standings=[standing])


def test_a_failover_that_every_balancer_has_done_is_done():
    answer = ask(["a"])
    assert (answer["as_asked"], answer["balancers"], answer.get("failed")) == (True, {"lb (shop)": "away"}, None)
    assert doors.undocumented(PLUGIN, answer) == set()


@pytest.mark.parametrize(("check", "failed"), [(False, True), (True, None)])
def test_one_that_is_not_done_fails_unless_nothing_was_to_be_done_yet(check, failed):
    answer = ask([], check=check)
    assert (answer.get("failed"), answer["as_asked"]) == (failed, not failed)
    assert "lb (shop)" in answer["msg"]
    assert doors.undocumented(PLUGIN, answer) == set()
