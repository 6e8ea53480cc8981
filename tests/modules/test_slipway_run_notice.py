# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that tells people of a run, as Ansible calls it."""

from __future__ import annotations

import plugins
import pytest

RUN = {"run_id": "run_20261121T040648Z_3f09ab", "deployed_by": "alice"}


@pytest.fixture
def tell(sinks, safehouse):
    def told(moment, check=False, **options):
        given = {
            "moment": moment, "channels": {"slack": {"url": sinks.slack.url, "timeout_seconds": 2}}, "application": "shop",
            "environment": "prod", "run": RUN, "release_id": "v2", **options,
        }  # fmt: skip
        return plugins.run("slipway_run_notice", check=check, task_vars=safehouse.variables, **given)

    return told


@pytest.mark.parametrize(
    ("moment", "options", "expected"),
    [
        ("started", {}, "*INFO* - deploy_started"),
        ("staged", {"staged": {"prod-1": {"failed": True, "msg": "no room"}}}, "*CRITICAL* - deploy_failed"),
        ("ended", {"hosts": {"prod-1": {"outcome": "confirmed"}}, "report": "done"}, "*INFO* - deploy_succeeded"),
        (
            "ended",
            {"hosts": {"prod-1": {"outcome": "reverted"}}, "targets": {"prod-1": "v1"}},
            "*WARNING* - rollback_rolled_back",
        ),
    ],
)
def test_people_are_told_once(tell, sinks, moment, options, expected):
    answer = tell(moment, **options)
    assert (answer["changed"], answer["msg"]) == (False, "told: slack")
    assert [text for text, _colour in sinks.slack.told] == [expected]


def test_nothing_is_told_where_all_is_staged_or_nothing_is_done(tell, sinks):
    assert tell("staged", staged={"prod-1": {"outcome": "staged"}})["told"] == []
    assert tell("started", check=True)["told"] == []
    assert tell("started", channels={})["told"] == []
    assert sinks.slack.got == []


def test_a_channel_that_is_away_fails_nothing(tell, sinks):
    sinks.slack.close()
    answer = tell("started")
    assert not answer.get("failed")
    assert answer["told"][0]["accepted"] is False


def test_a_mistake_in_the_channels_is_refused(tell):
    assert tell("started", channels={"pigeon": {}})["reason"] == "release_notice_invalid"
    assert tell("started", channels={"slack": {"url_credential": "slack_url"}})["reason"] == "release_notice_invalid"
