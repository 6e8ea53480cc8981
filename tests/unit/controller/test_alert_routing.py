# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of what: Alertmanager's own tools take the configuration, and route alerts as the table says."""

from __future__ import annotations

import copy
import json
import subprocess
import zoneinfo

import pytest
import repository
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import alert_routing
from ansible.module_utils.slipway.controller.alert_routing import Routing

from lab import prometheus

TEMPLATE = repository.ROOT / "roles/alertmanager/files/slipway.tmpl"
OPTIONS = {
    "pagerduty": {"enabled": True, "routing_key_secret": "alerting/pagerduty#key", "url": "https://events.example/v2/enqueue"},
    "slack": {"enabled": True, "url_secret": "alerting/slack", "channel": "#alerts"},
    "email": {
        "enabled": True, "to": ["ops@example.com", "cto@example.com"], "from": "slipway@example.com", "smarthost": "mail.example:587",
        "username": "slipway", "password_secret": "alerting/mail#password", "authority": "",
    },
    "webhook": {
        "enabled": True, "url": "https://hook.example/x", "authorization_type": "Bearer", "authorization_secret": "alerting/hook#token",
    },
    "routes": {
        "prod": {"critical": ["pagerduty", "slack", "email"], "warning": ["slack"], "info": ["webhook"]},
        "staging": {"critical": ["slack"], "warning": ["slack"]},
    },
    "quiet_hours": [
        {
            "name": "night", "environments": ["staging"], "severities": ["warning", "info"], "start": "22:00", "end": "24:00",
            "location": "Europe/Berlin", "weekdays": ["monday:friday"],
        }
    ],
    "repeat_hours": 6,
    "watch_repeat_usual_hours": 2,
    "watch_repeat_hours": [1, 3],
    "group_wait_seconds": 0,
    "group_interval_seconds": 60,
    "watchdog_url": "https://dead.example/ping",
}  # fmt: skip


def quiet(**keys):
    """The options with other quiet hours."""
    return changed(quiet_hours=[{**OPTIONS["quiet_hours"][0], **keys}])


def changed(**keys):
    """The options with some members of some of them replaced: ``slack__enabled=False``."""
    options = copy.deepcopy(OPTIONS)
    for name, value in keys.items():
        channel, _, member = name.partition("__")
        if member:
            options[channel][member] = value
        else:
            options[channel] = value
    return options


@pytest.fixture
def written(tmp_path):
    """The configuration as files that amtool can read; secrets are files that are not there."""

    def write(options=OPTIONS):
        made = alert_routing.configuration(Routing.parse(copy.deepcopy(options)))
        made["templates"] = [str(TEMPLATE)]
        path = tmp_path / "alertmanager.yml"
        path.write_text(yaml.safe_dump(made, sort_keys=False))
        return path

    return write


def amtool(*words):
    return subprocess.run([prometheus.ensure() / "amtool", *words], capture_output=True, text=True, check=False)


def routed(path, **labels):
    """The receivers of an alert."""
    run = amtool(
        "config", "routes", "test", f"--config.file={path}", *(f"{name}={value}" for name, value in labels.items())
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().split(",")


def test_alertmanager_takes_the_configuration(written):
    run = amtool("check-config", written())
    assert run.returncode == 0, run.stderr
    assert "1 templates" in run.stdout


def test_alertmanager_would_say_what_is_wrong(written):
    path = written()
    path.write_text(path.read_text().replace("receiver: everyone", "receiver: somebody"))
    assert amtool("check-config", path).returncode == 1


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"environment": "prod", "severity": "critical"}, "prod-critical"),
        ({"environment": "prod", "severity": "CRITICAL"}, "prod-critical"),
        ({"environment": "prod", "severity": "warning"}, "prod-warning"),
        ({"environment": "prod", "severity": "info"}, "prod-info"),
        ({"environment": "staging", "severity": "critical"}, "staging-critical"),
        ({"environment": "staging", "severity": "info"}, "nobody"),
        ({"environment": "prod", "severity": "dire"}, "everyone"),
        ({"environment": "prod"}, "everyone"),
        ({"environment": "moon", "severity": "critical"}, "everyone"),
        ({"severity": "critical"}, "everyone"),
        ({"alertname": "SlipwayWatchdog", "severity": "none"}, "watchdog"),
        ({"environment": "prod", "severity": "critical", "repeat_seconds": "3600"}, "prod-critical"),
        ({"environment": "prod", "severity": "critical", "watch_window": "open"}, "prod-critical"),
    ],
)
def test_an_alert_goes_where_the_table_says(written, labels, receiver):
    assert routed(written(), **labels) == [receiver]


@pytest.mark.parametrize("environment", ["prod", "staging", "other"])
def test_a_test_goes_to_every_channel_wherever_it_comes_from(written, environment):
    labels = {"alertname": "alert_test", "severity": "info", "environment": environment}
    assert routed(written(), **labels) == ["everyone"]


def test_each_receiver_has_the_channels_of_the_table_and_no_other(written):
    receivers = {
        each["name"]: sorted(set(each) - {"name"}) for each in yaml.safe_load(written().read_text())["receivers"]
    }
    everything = [f"{channel}_configs" for channel in sorted(alert_routing.CHANNELS)]
    assert receivers == {
        "nobody": [],
        "everyone": everything,
        "watchdog": ["webhook_configs"],
        "prod-critical": ["email_configs", "pagerduty_configs", "slack_configs"],
        "prod-warning": ["slack_configs"],
        "prod-info": ["webhook_configs"],
        "staging-critical": ["slack_configs"],
        "staging-warning": ["slack_configs"],
    }


def routes(path, environment, severity):
    """The route of a severity in an environment."""
    tree = yaml.safe_load(path.read_text())["route"]
    (of_environment,) = [each for each in tree["routes"] if each["matchers"] == [f'environment="{environment}"']]
    (found,) = [each for each in of_environment["routes"] if each.get("matchers") == [f'severity=~"(?i:{severity})"']]
    return found


def test_a_watch_window_repeats_more_often_as_its_release_says_or_else_every_two_hours(written):
    path = written()
    assert yaml.safe_load(path.read_text())["route"]["repeat_interval"] == "6h"
    told = [(each["matchers"], each["repeat_interval"]) for each in routes(path, "prod", "critical")["routes"]]
    assert told == [
        (['repeat_seconds="3600"'], "1h"),
        (['repeat_seconds="10800"'], "3h"),
        (['watch_window="open"'], "2h"),
    ]


def test_quiet_hours_hold_back_what_they_name_and_nothing_critical(written):
    path = written()
    assert routes(path, "staging", "warning")["mute_time_intervals"] == ["night"]
    assert all(each["mute_time_intervals"] == ["night"] for each in routes(path, "staging", "warning")["routes"])
    for environment, severity in (("staging", "critical"), ("prod", "warning"), ("prod", "critical")):
        assert "mute_time_intervals" not in routes(path, environment, severity)


@pytest.mark.parametrize(
    "keys",
    [
        {"start": "00:00", "end": "06:00", "weekdays": ["sunday:saturday"]},
        {"weekdays": ["saturday", "sunday"]},
        {"location": "UTC"},
    ],
)
def test_quiet_hours_that_are_taken_here_alertmanager_takes_too(written, keys):
    done = amtool("check-config", written(quiet(**keys)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_without_a_time_zone_database_the_host_judges_the_place(tmp_path):
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert Routing.parse(quiet(location="Europe/Nowhere")).quiet[0]["interval"]["location"] == "Europe/Nowhere"
    finally:
        zoneinfo.reset_tzpath()


def test_clear_text_goes_to_a_webhook_on_loopback_or_without_a_secret():
    for keys in (
        {"webhook__url": "http://127.0.0.1:9095/"},
        {"webhook__url": "http://hook.example/", "webhook__authorization_secret": ""},
    ):
        assert Routing.parse(changed(**keys)).channels["webhook"]["url"] == keys["webhook__url"]


def test_a_channel_that_is_not_enabled_is_nowhere(written):
    path = written(
        changed(
            pagerduty={"enabled": False},
            slack__enabled=False,
            routes={"prod": OPTIONS["routes"]["prod"]},
            quiet_hours=[],
        )
    )
    text = path.read_text()
    assert "pagerduty" not in text
    assert "slack_configs" not in text
    assert routed(path, environment="prod", severity="warning") == ["nobody"]


def test_without_a_switch_outside_the_watchdog_is_for_nobody(written):
    assert routed(written(changed(watchdog_url="")), alertname="SlipwayWatchdog") == ["nobody"]


def test_secrets_are_named_and_nowhere_in_the_configuration(written):
    text = written().read_text()
    assert "alerting/" not in text
    assert alert_routing.secret_files(Routing.parse(OPTIONS)) == {
        "email_password": {"secret": "alerting/mail", "field": "password"},
        "pagerduty_routing_key": {"secret": "alerting/pagerduty", "field": "key"},
        "slack_url": {"secret": "alerting/slack", "field": ""},
        "webhook_authorization": {"secret": "alerting/hook", "field": "token"},
    }
    for name in alert_routing.secret_files(Routing.parse(OPTIONS)):
        assert f"/etc/prometheus/secrets/{name}" in text


def test_a_mail_goes_to_each_recipient_by_itself_over_tls(written):
    (receiver,) = [
        each for each in yaml.safe_load(written().read_text())["receivers"] if each["name"] == "prod-critical"
    ]
    assert [each["to"] for each in receiver["email_configs"]] == ["ops@example.com", "cto@example.com"]
    assert all(each["require_tls"] is True for each in receiver["email_configs"])


@pytest.mark.parametrize(
    ("options", "reason", "expected"),
    [
        (changed(routes={}, quiet_hours=[]), "alerting_deaf", "a channel that is enabled"),
        (changed(routes={"prod": {"warning": ["slack"]}}, quiet_hours=[]), "alerting_deaf", "a channel that is enabled"),
        (changed(slack={"enabled": False}), "alerting_deaf", "a channel that is enabled"),
        (changed(routes={"prod": {"critical": ["sms"]}}), "alerting_invalid", "some of pagerduty"),
        (changed(routes={"prod": {"critical": ["slack"], "dire": []}}), "alerting_invalid", "no further member"),
        (changed(slack__enabled="yes"), "alerting_invalid", "true or false"),
        (changed(slack__url_secret="https://hooks.example/T0/B0/xyz"), "alerting_invalid", "a string like"),
        (changed(email__to=[]), "alerting_invalid", "at least one address"),
        (changed(email__to=["ops"]), "alerting_invalid", "addresses such as"),
        (changed(email__password_secret=""), "alerting_invalid", "the secret of its password"),
        (changed(email__smarthost="mail.example"), "alerting_invalid", "a string like"),
        (changed(email__smarthost="mail.example:99999"), "alerting_invalid", "a port"),
        (changed(webhook__url="https://x@hook.example"), "alerting_invalid", "a string like"),
        (changed(repeat_hours=0), "alerting_invalid", "an integer from 1"),
        (changed(repeat_hours=True), "alerting_invalid", "an integer from 1"),
        (changed(watch_repeat_hours=[0]), "alerting_invalid", "integers from 1"),
        (changed(quiet_hours=[{**OPTIONS["quiet_hours"][0], "severities": ["critical"]}]), "alerting_invalid", "nothing keeps a critical alert back"),
        (changed(quiet_hours=[{**OPTIONS["quiet_hours"][0], "environments": ["moon"]}]), "alerting_invalid", "some of prod, staging"),
        (changed(quiet_hours=[{**OPTIONS["quiet_hours"][0], "weekdays": [1]}]), "alerting_invalid", "days such as"),
        (quiet(weekdays=["someday"]), "alerting_invalid", "days such as"),
        (quiet(weekdays=["friday:monday"]), "alerting_invalid", "days such as"),
        (quiet(start="22:00", end="06:00"), "alerting_invalid", "two entries"),
        (quiet(start="22:00", end="22:00"), "alerting_invalid", "two entries"),
        (quiet(start="29:00"), "alerting_invalid", "a string like"),
        (quiet(start="24:00", end="24:00"), "alerting_invalid", "two entries"),
        (quiet(end="24:01"), "alerting_invalid", "a string like"),
        (quiet(location="Europe/Nowhere"), "alerting_invalid", "a place of the time zone database"),
        (quiet(location="Europe"), "alerting_invalid", "a place of the time zone database"),
        (quiet(location="../x"), "alerting_invalid", "a string like"),
        (changed(quiet_hours=OPTIONS["quiet_hours"] * 2), "alerting_invalid", "each name once"),
        (changed(webhook__url="http://hook.example/x"), "alerting_invalid", "an address that begins with https://"),
        (changed(webhook__url="http://[::1"), "alerting_invalid", "an address such as"),
    ],
)  # fmt: skip
def test_what_would_tell_nobody_or_is_no_routing_is_refused(options, reason, expected):
    with pytest.raises(Refusal) as refusal:
        Routing.parse(copy.deepcopy(options))
    assert refusal.value.reason == reason
    assert expected in refusal.value.expected


ALERT = {
    "status": "firing",
    "labels": {"alertname": "SlipwayApplicationDown", "severity": "critical", "environment": "prod", "application": "hello", "instance": "prod-1"},
    "annotations": {
        "summary": "hello on prod-1 gives no metrics", "description": "Prometheus has had none from it for 30 seconds.",
        "runbook_url": "https://wiki.example/alerts.md#slipwayapplicationdown", "release": "v2", "last_deployment": "2026-11-22 03:00:00 +0000 UTC",
        "watch_window": "open for 47h 0m 0s",
    },
    "startsAt": "2026-11-22T04:00:00Z", "endsAt": "2026-11-22T04:05:00Z",
}  # fmt: skip


def rendered(tmp_path, name, **changes):
    """One of the words of a message, as Alertmanager's own renderer says it."""
    alert = {**ALERT, **changes}
    data = {
        "status": alert["status"],
        "alerts": [alert],
        "commonLabels": alert["labels"],
        "commonAnnotations": alert["annotations"],
        "groupLabels": {},
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    run = amtool(
        "template", "render", f"--template.glob={TEMPLATE}", f"--template.data={tmp_path}/data.json",
        f'--template.text={{{{ template "slipway.{name}" . }}}}',
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_a_message_says_all_that_somebody_needs_at_night(tmp_path):
    assert rendered(tmp_path, "text") == (
        "hello on prod-1 gives no metrics\n"
        "Prometheus has had none from it for 30 seconds.\n"
        "severity: CRITICAL\n"
        "rule: SlipwayApplicationDown\n"
        "time: 2026-11-22T04:00:00Z\n"
        "context: application=hello environment=prod instance=prod-1 (1 in all)\n"
        "release: v2\n"
        "last deploy: 2026-11-22 03:00:00 +0000 UTC\n"
        "watch window: open for 47h 0m 0s\n"
        "runbook: https://wiki.example/alerts.md#slipwayapplicationdown"
    )


def test_a_recovery_says_so_and_when(tmp_path):
    assert rendered(tmp_path, "title", status="resolved") == "[RESOLVED] SlipwayApplicationDown"
    assert rendered(tmp_path, "time", status="resolved") == "2026-11-22T04:05:00Z"


def test_what_is_not_known_is_said_to_be(tmp_path):
    found = rendered(tmp_path, "text", annotations={"summary": "x"})
    assert found.count("not said") == 3


@pytest.mark.parametrize(
    ("severity", "status", "colour", "pagerduty"),
    [
        ("critical", "firing", "danger", "critical"),
        ("CRITICAL", "firing", "danger", "critical"),
        ("warning", "firing", "warning", "warning"),
        ("info", "firing", "good", "info"),
        ("critical", "resolved", "good", "critical"),
    ],
)
def test_the_title_is_severity_and_rule_and_the_colour_is_the_severitys(tmp_path, severity, status, colour, pagerduty):
    changes = {"labels": {**ALERT["labels"], "severity": severity}, "status": status}
    said = "RESOLVED" if status == "resolved" else severity.upper()
    assert rendered(tmp_path, "title", **changes) == f"[{said}] SlipwayApplicationDown"
    assert rendered(tmp_path, "color", **changes) == colour
    assert rendered(tmp_path, "pagerduty_severity", **changes) == pagerduty
