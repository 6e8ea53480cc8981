# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that makes what a release brings what Prometheus and Grafana take."""

from __future__ import annotations

import doors
import plugins

PLUGIN = "slipway_application_monitoring"
TESTS = "rule_files: [rules.yml]\ntests: [{interval: 1m}]"
BOARD = '{"uid": "hello", "title": "hello", "panels": []}'


def test_what_an_application_brings_is_taken_and_what_is_the_hosts_is_not():
    given = {"application": "hello", "runbooks_url": "https://wiki.example"}
    rules = "groups: [{name: x, rules: [{alert: %s, expr: up == 0}]}]"
    answer = plugins.run(PLUGIN, rules=rules % "Down", rules_test=TESTS, dashboard=BOARD, **given)
    assert "alert: Down" in answer["rules"]
    assert '"uid": "hello"' in answer["dashboard"]
    reserved = plugins.run(PLUGIN, rules=rules % "SlipwayWatchdog", rules_test=TESTS, **given)
    assert (reserved["failed"], reserved["reason"]) == (True, "rules_invalid")
    board = plugins.run(PLUGIN, dashboard=BOARD.replace("hello", "slipway-fleet"), **given)
    assert (board["failed"], board["reason"]) == (True, "dashboard_invalid")
    nothing = plugins.run(PLUGIN, **given)
    assert (nothing["rules"], nothing["dashboard"]) == ("", "")
    for each in (answer, reserved, board, nothing):
        assert doors.undocumented(PLUGIN, each) == set()
