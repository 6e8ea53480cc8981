# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that makes Alertmanager's configuration."""

from __future__ import annotations

import doors
import plugins
import yaml

PLUGIN = "slipway_alertmanager_configuration"
OPTIONS = {
    "pagerduty": {"enabled": False}, "email": {"enabled": False}, "webhook": {"enabled": False},
    "slack": {"enabled": True, "url_secret": "alerting/slack", "channel": "#alerts"},
    "routes": {"prod": {"critical": ["slack"]}}, "quiet_hours": [], "repeat_hours": 6, "watch_repeat_usual_hours": 2, "watch_repeat_hours": [1],
    "group_wait_seconds": 0, "group_interval_seconds": 60, "watchdog_url": "",
}  # fmt: skip


def test_the_table_becomes_a_configuration_and_a_deaf_one_is_refused():
    answer = plugins.run(PLUGIN, **OPTIONS)
    names = [each["name"] for each in yaml.safe_load(answer["configuration"])["receivers"]]
    assert names == ["nobody", "everyone", "prod-critical"]
    assert answer["secrets"] == {"slack_url": {"secret": "alerting/slack", "field": ""}}
    refused = plugins.run(PLUGIN, **{**OPTIONS, "slack": {"enabled": False}})
    assert (refused["failed"], refused["reason"]) == (True, "alerting_deaf")
    for each in (answer, refused):
        assert doors.undocumented(PLUGIN, each) == set()
