# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a run: which of four words, through whom, and that nobody who is away fails it."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import notice
from ansible.module_utils.slipway.controller.notice import NamedSecrets, Run

NOW = 1_763_694_776
RUN = Run("run_1", "shop", "prod", "alice", ("v2",))
BACK = Run("run_2", "shop", "prod", "alice", ("v0", "v1"), is_rollback=True)
NO_SECRETS = NamedSecrets({}, lambda name, _field: name)


def hosts(*outcomes):
    return {f"prod-{number}": {"outcome": outcome, "serves": "v2"} for number, outcome in enumerate(outcomes)}


def test_that_it_begins_is_said_with_who_began_it():
    alert = notice.started(RUN, NOW, "https://runbooks.example/")
    assert (alert.severity, alert.rule, alert.state) == ("INFO", "deploy_started", "notice")
    assert alert.message == "deploy of shop to v2 by alice begins"
    assert (alert.application, alert.environment, alert.release, alert.run_id) == ("shop", "prod", "v2", "run_1")
    assert alert.runbook == "https://runbooks.example/deploy-started"
    assert notice.started(BACK, NOW).message == "rollback of shop to v0, v1 by alice begins"


@pytest.mark.parametrize(
    ("outcomes", "severity", "rule"),
    [
        (["confirmed", "confirmed"], "INFO", "succeeded"),
        (["confirmed", "unchanged"], "INFO", "succeeded"),
        (["reverted", "reverted"], "WARNING", "rolled_back"),
        (["reverted", "untouched"], "WARNING", "rolled_back"),
        (["reverted", "confirmed"], "CRITICAL", "failed"),
        (["reverted", "stuck"], "CRITICAL", "failed"),
        (["reverted", "unreachable"], "CRITICAL", "failed"),
        (["untouched", "untouched"], "CRITICAL", "failed"),
        (["confirmed", "unwell"], "CRITICAL", "failed"),
        ([], "CRITICAL", "failed"),
    ],
)
def test_how_it_ended_is_one_of_three_words(outcomes, severity, rule):
    alert = notice.ended(RUN, hosts(*outcomes), "deploy of shop v2: so and so\nprod-1 …", NOW)
    assert (alert.severity, alert.rule) == (severity, f"deploy_{rule}")
    assert alert.message == "deploy of shop v2: so and so"
    assert notice.ended(BACK, hosts(*outcomes), "", NOW).rule == f"rollback_{rule}"


def test_what_ended_before_anything_was_switched_failed_and_says_why():
    staged = {
        "prod-1": {"changed": True, "release_id": "v2"},
        "prod-2": {"failed": True, "msg": "disk_full: expected room", "reason": "disk_full"},
    }
    alert = notice.not_staged(RUN, staged, NOW)
    assert (alert.severity, alert.rule) == ("CRITICAL", "deploy_failed")
    assert alert.message == "deploy of shop to v2: nothing was switched: disk_full: expected room"
    assert notice.not_staged(RUN, {"prod-1": {"changed": True, "release_id": "v2"}}, NOW) is None
    lost = notice.not_staged(RUN, {"prod-1": {"unreachable": True, "msg": "no route to host"}}, NOW)
    assert lost.message.endswith("nothing was switched: no route to host")
    assert "a step before failed" in notice.not_staged(RUN, {"prod-1": {}}, NOW).message


def channels(sinks, **more):
    return notice.channels_of({"slack": {"url": sinks.slack.url, "timeout_seconds": 2}, **more})


def test_each_channel_gets_it_once_and_says_whether_it_took_it(sinks):
    told = notice.send(
        notice.started(RUN, NOW), channels(sinks, webhook={"url": sinks.webhook.url}), NO_SECRETS, "00-a-b-01"
    )
    assert told == [{"channel": kind, "accepted": True, "detail": "accepted"} for kind in ("slack", "webhook")]
    assert sinks.slack.told == [("*INFO* - deploy_started", "good")]
    assert sinks.webhook.got[0].headers["traceparent"] == "00-a-b-01"
    assert notice.summary(told) == "told: slack, webhook"


def test_alertmanager_comes_first_and_the_others_only_when_it_is_away(sinks):
    given = channels(sinks, alertmanager={"url": sinks.alertmanager.url.removesuffix("/hook"), "timeout_seconds": 2})
    notice.send(notice.started(RUN, NOW), given, NO_SECRETS)
    assert (len(sinks.alertmanager.got), len(sinks.slack.got)) == (1, 0)
    sinks.alertmanager.close()
    told = notice.send(notice.started(RUN, NOW), given, NO_SECRETS)
    assert [(each["channel"], each["accepted"]) for each in told] == [("alertmanager", False), ("slack", True)]
    assert notice.summary(told).startswith("told: alertmanager did not take it (")


def test_a_channel_hears_what_is_severe_enough_for_it(sinks):
    given = channels(sinks, webhook={"url": sinks.webhook.url, "severity": "CRITICAL"})
    notice.send(notice.started(RUN, NOW), given, NO_SECRETS)
    notice.send(notice.ended(RUN, hosts("stuck"), "", NOW), given, NO_SECRETS)
    assert (len(sinks.slack.got), len(sinks.webhook.got)) == (2, 1)


def test_secrets_are_asked_for_by_their_names_and_are_in_no_message(sinks):
    asked = []

    def ask(name, field):
        asked.append((name, field))
        if name == "gone":
            raise Refusal("secret_unknown", expected="a", found="b", remedy="c")
        return "hunter22-token\n"

    secrets = NamedSecrets({"token": "alerting/hook#value", "none": "gone"}, ask)
    given = channels(sinks, webhook={"url": sinks.webhook.url, "headers": {"X-Key": "token"}})
    alert = notice.ended(RUN, hosts("stuck"), "it said hunter22-token", NOW)
    assert all(each["accepted"] for each in notice.send(alert, given, secrets))
    assert sinks.webhook.got[0].headers["X-Key"] == "hunter22-token"
    assert ("alerting/hook", "value") in asked
    assert "hunter22" not in json.dumps([sinks.slack.bodies, sinks.webhook.bodies])
    for name, said in (("none", "cannot be had: secret_unknown"), ("other", "does not name other")):
        given = channels(sinks, webhook={"url": sinks.webhook.url, "headers": {"X-Key": name}})
        told = notice.send(alert, given, secrets)
        assert [each["accepted"] for each in told] == [True, False]
        assert said in told[1]["detail"]


def test_a_secret_that_is_not_named_is_refused_before_anybody_is_told():
    given = {"slack": {"url_credential": "slack_url"}}
    with pytest.raises(Refusal) as refusal:
        notice.channels_of(given, {"slack": "alerting/slack"})
    assert refusal.value.reason == "release_notice_invalid"
    assert (refusal.value.found, "release_notice_secrets" in refusal.value.expected) == ("slack_url", True)
    assert set(notice.channels_of(given, {"slack_url": "alerting/slack"})) == {"slack"}


def test_nobody_is_told_where_nobody_is_named():
    assert notice.send(notice.started(RUN, NOW), notice.channels_of({}), NO_SECRETS) == []
    assert "nobody" in notice.summary([])
    with pytest.raises(Refusal, match="release_notice_invalid"):
        notice.channels_of({"pigeon": {}})
