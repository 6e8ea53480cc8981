# SPDX-License-Identifier: GPL-3.0-or-later
"""Alertmanager's configuration: who is told of what, how often, and when not. Controller only.

A table says for each environment and severity which channels are told. A channel is only told where it is enabled; a secret of one is never
in the configuration but in a file of its own, which only Alertmanager reads.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from ..base.errors import Refusal, shown
from ..base.fields import NAME, ONE_LINE, Fields
from .scraping import MOST_PORT, is_loopback

CHANNELS: Final = ("pagerduty", "slack", "email", "webhook")
SEVERITIES: Final = ("critical", "warning", "info")
SECRETS: Final = "/etc/prometheus/secrets"
TEMPLATES: Final = "/etc/prometheus/alertmanager_templates/slipway.tmpl"
ADDRESS: Final = re.compile(r"[^\s@,<>]{1,64}@[A-Za-z0-9.-]{1,255}\Z")
HOST_PORT: Final = re.compile(r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}\Z")
URL: Final = re.compile(r"https?://[^\s'\"<>@]{1,2000}\Z")
TIMES: Final = re.compile(r"(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z")
DAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
PLACE: Final = re.compile(r"[A-Za-z0-9_+/-]{1,64}\Z")
# What an alert is one of: the same check of the same application on the same host.
GROUP_BY: Final = ("alertname", "environment", "application", "instance", "check", "metric", "run_id")
MOST: Final = 100
WATCHDOG: Final = "SlipwayWatchdog"
TEST: Final = "alert_test"  # as `slipway watch test` calls it
_REASON: Final = "alerting_invalid"
_REMEDY: Final = "Correct the alertmanager_ variables in group_vars (docs/howto/observe.md)."


@dataclass(frozen=True)
class Routing:
    """What group_vars say. ``channels`` {name: its settings} has those that are enabled; ``table`` {environment: {severity: channels}};
    ``quiet`` are the quiet hours; the repeats and waits are in the units of their names.
    """

    channels: Mapping[str, Mapping[str, Any]]
    table: Mapping[str, Mapping[str, Sequence[str]]]
    quiet: Sequence[Mapping[str, Any]] = ()
    repeat_hours: int = 6
    watch_repeat_usual_hours: int = 2
    watch_repeat_hours: Sequence[int] = field(default_factory=tuple)
    group_wait_seconds: int = 0
    group_interval_seconds: int = 60
    watchdog_url: str = ""

    @classmethod
    def parse(cls, value: object) -> Routing:
        """Read the options of ``slipway_alertmanager_configuration``. Refusals: ``alerting_invalid``."""
        fields = Fields(value, "alertmanager", _REASON, _REMEDY)
        channels = {name: read for name in CHANNELS if (read := _channel(fields.object(name), name)) is not None}
        table = _table(fields.object("routes"))
        quiet = [_quiet(each, table) for each in fields.objects("quiet_hours", maximum=MOST)]
        names = [each["name"] for each in quiet]
        if len(set(names)) < len(names):
            raise fields.refusal("quiet_hours", "each name once", names)
        repeats = fields.array("watch_repeat_hours", maximum=24)
        routing = cls(
            channels,
            table,
            quiet,
            _whole(fields, "repeat_hours", 1, 8760),
            _whole(fields, "watch_repeat_usual_hours", 1, 8760),
            sorted({_hour(fields, each) for each in repeats}),
            _whole(fields, "group_wait_seconds", 0, 3600),
            _whole(fields, "group_interval_seconds", 1, 86400),
            fields.text("watchdog_url", re.compile(rf"\Z|{URL.pattern}")),
        )
        fields.end()
        _require_somebody(routing)
        return routing


def configuration(routing: Routing) -> dict[str, Any]:
    """Alertmanager's configuration as plain data; the same routing gives the same data."""
    receivers: dict[str, dict[str, Any]] = {"nobody": {"name": "nobody"}}
    everyone = _receiver("everyone", tuple(routing.channels), routing)
    receivers["everyone"] = everyone
    # A test is of all channels, also of those that nobody would be told by in its environment or at this hour.
    test = {"matchers": [f'alertname="{TEST}"'], "receiver": "everyone", "group_wait": "0s"}
    routes: list[dict[str, Any]] = [_watchdog(routing, receivers), test]
    for environment, by_severity in routing.table.items():
        inner = []
        for severity in SEVERITIES:
            told = [channel for channel in by_severity.get(severity, ()) if channel in routing.channels]
            name = f"{environment}-{severity}" if told else "nobody"
            receivers.setdefault(name, _receiver(name, told, routing))
            inner.append(_route(environment, severity, name, routing))
        # A severity that nobody has heard of is no reason to tell nobody: it stays with everyone.
        routes.append({"matchers": [f'environment="{environment}"'], "receiver": "everyone", "routes": inner})
    made: dict[str, Any] = {
        "global": {"resolve_timeout": "5m"},
        "templates": [TEMPLATES],
        "route": {
            "receiver": "everyone",
            "group_by": list(GROUP_BY),
            "group_wait": f"{routing.group_wait_seconds}s",
            "group_interval": f"{routing.group_interval_seconds}s",
            "repeat_interval": f"{routing.repeat_hours}h",
            "routes": routes,
        },
        "inhibit_rules": _inhibitions(),
        "receivers": list(receivers.values()),
    }
    if routing.quiet:
        made["time_intervals"] = [
            {"name": each["name"], "time_intervals": [each["interval"]]} for each in routing.quiet
        ]
    return made


def secret_files(routing: Routing) -> dict[str, dict[str, str]]:
    """Which files hold which secrets: {file name: {secret, field}}."""
    return {
        name: {"secret": secret.partition("#")[0], "field": secret.partition("#")[2]}
        for name, secret in sorted(
            (f"{channel}_{key.removesuffix('_secret')}", settings[key])
            for channel, settings in routing.channels.items()
            for key in settings
            if key.endswith("_secret") and settings[key]
        )
    }


def _route(environment: str, severity: str, receiver: str, routing: Routing) -> dict[str, Any]:
    """The route of one severity; below it those of alerts that ask for their own repeat, as those of a watch window do."""
    muted = [
        each["name"] for each in routing.quiet if environment in each["environments"] and severity in each["severities"]
    ]
    mute = {"mute_time_intervals": muted} if muted else {}
    route: dict[str, Any] = {"matchers": [f'severity=~"(?i:{severity})"'], "receiver": receiver, **mute}
    route["routes"] = [
        {"matchers": [f'repeat_seconds="{hours * 3600}"'], "receiver": receiver, "repeat_interval": f"{hours}h", **mute}
        for hours in routing.watch_repeat_hours
    ]
    usual = f"{routing.watch_repeat_usual_hours}h"
    route["routes"].append(
        {"matchers": ['watch_window="open"'], "receiver": receiver, "repeat_interval": usual, **mute}
    )
    return route


def _watchdog(routing: Routing, receivers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The alert that is always there: to the dead-man's switch outside, and to nobody else."""
    route = {"matchers": [f'alertname="{WATCHDOG}"'], "receiver": "nobody"}
    if routing.watchdog_url:
        receivers["watchdog"] = {
            "name": "watchdog",
            "webhook_configs": [{"url": routing.watchdog_url, "send_resolved": False}],
        }
        route |= {"receiver": "watchdog", "repeat_interval": "1m", "group_interval": "1m"}
    return route


def _inhibitions() -> list[dict[str, Any]]:
    """What needs no message of its own, since a worse one says it: who wakes up for a host need not hear of its checks."""
    return [
        {
            "source_matchers": ['severity=~"(?i:critical)"'],
            "target_matchers": ['severity=~"(?i:warning|info)"'],
            "equal": list(GROUP_BY),
        },
        {
            "source_matchers": ['alertname="SlipwayHostUnreachable"'],
            "target_matchers": ['alertname!~"SlipwayHostUnreachable|SlipwayWatchdog"', 'instance!=""'],
            "equal": ["instance"],
        },
        {
            "source_matchers": ['alertname="SlipwayErrorBudgetBurnsFast"'],
            "target_matchers": ['alertname=~"SlipwayErrorBudgetBurnsSlowly|SlipwayErrorRateHigh"'],
            "equal": ["environment", "application"],
        },
    ]


def _receiver(name: str, channels: Sequence[str], routing: Routing) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    for channel in channels:
        made[f"{channel}_configs"] = _CONFIGS[channel](routing.channels[channel])
    return made


def _pagerduty(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "routing_key_file": f"{SECRETS}/pagerduty_routing_key",
            "url": settings["url"],
            "send_resolved": True,
            "severity": '{{ template "slipway.pagerduty_severity" . }}',
            "description": '{{ template "slipway.title" . }}',
            "client": "Slipway",
            "client_url": '{{ template "slipway.runbook" . }}',
            "details": {
                name: f'{{{{ template "slipway.{name}" . }}}}'
                for name in ("rule", "message", "time", "context", "release", "last_deploy", "window", "runbook")
            },
        }
    ]


def _slack(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "api_url_file": f"{SECRETS}/slack_url",
            "channel": settings["channel"],
            "send_resolved": True,
            "color": '{{ template "slipway.color" . }}',
            "title": '{{ template "slipway.title" . }}',
            "title_link": '{{ template "slipway.runbook" . }}',
            "text": '{{ template "slipway.text" . }}',
            "fallback": '{{ template "slipway.title" . }}',
        }
    ]


def _email(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One message for each recipient, so that one address that is refused does not keep the others from theirs."""
    login = (
        {"auth_username": settings["username"], "auth_password_file": f"{SECRETS}/email_password"}
        if settings["username"]
        else {}
    )
    authority = {"tls_config": {"ca_file": settings["authority"]}} if settings["authority"] else {}
    return [
        {
            "to": address,
            "from": settings["from"],
            "smarthost": settings["smarthost"],
            "require_tls": True,
            "send_resolved": True,
            "headers": {"Subject": '{{ template "slipway.title" . }}'},
            "html": "",
            "text": '{{ template "slipway.text" . }}',
            **login,
            **authority,
        }
        for address in settings["to"]
    ]


def _webhook(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    login = (
        {
            "http_config": {
                "authorization": {
                    "type": settings["authorization_type"],
                    "credentials_file": f"{SECRETS}/webhook_authorization",
                }
            }
        }
        if settings["authorization_secret"]
        else {}
    )
    return [{"url": settings["url"], "send_resolved": True, **login}]


_CONFIGS: Final = {"pagerduty": _pagerduty, "slack": _slack, "email": _email, "webhook": _webhook}
SECRET: Final = re.compile(r"[a-z0-9][a-z0-9_./-]{0,127}(#[a-z0-9_]{1,64})?\Z")
_MAYBE_SECRET: Final = re.compile(rf"\Z|{SECRET.pattern}")
_MAYBE_LINE: Final = re.compile(rf"\Z|{ONE_LINE.pattern}")


def _channel(fields: Fields, name: str) -> dict[str, Any] | None:
    """The settings of one channel, None where it is not enabled: then nothing else of it is looked at."""
    if not _truth(fields, "enabled"):
        return None
    if name == "pagerduty":
        read: dict[str, Any] = {
            "routing_key_secret": fields.text("routing_key_secret", SECRET),
            "url": fields.text("url", URL),
        }
    elif name == "slack":
        read = {"url_secret": fields.text("url_secret", SECRET), "channel": fields.text("channel", ONE_LINE)}
    elif name == "email":
        read = {
            "to": [_address(fields, each) for each in fields.array("to", maximum=MOST)],
            "from": _address(fields, fields.take("from")),
            "smarthost": fields.text("smarthost", HOST_PORT),
            "username": fields.text("username", _MAYBE_LINE),
            "password_secret": fields.text("password_secret", _MAYBE_SECRET),
            "authority": fields.text("authority", _MAYBE_LINE),
        }
        if not 0 < int(read["smarthost"].rpartition(":")[2]) <= MOST_PORT:
            raise fields.refusal("smarthost", "a server and a port, such as mail.example:587", read["smarthost"])
        if not read["to"]:
            raise fields.refusal("to", "at least one address", read["to"])
        if bool(read["username"]) != bool(read["password_secret"]):
            raise fields.refusal(
                "password_secret", "with a username the secret of its password", "one without the other"
            )
    else:
        read = {
            "url": fields.text("url", URL),
            "authorization_type": fields.text("authorization_type", re.compile(r"[A-Za-z0-9_-]{1,32}\Z")),
            "authorization_secret": fields.text("authorization_secret", _MAYBE_SECRET),
        }
        if read["authorization_secret"] and _is_clear(fields, read["url"]):
            raise fields.refusal("url", "an address that begins with https://, since a secret goes there", read["url"])
    fields.end()
    return read


def _table(fields: Fields) -> dict[str, dict[str, list[str]]]:
    table: dict[str, dict[str, list[str]]] = {}
    for environment in fields.keys_like(NAME, maximum=MOST):
        by_severity = fields.object(environment)
        table[environment] = {}
        for severity in SEVERITIES:
            channels = by_severity.array(severity, maximum=len(CHANNELS)) if severity in by_severity else []
            unknown = [each for each in channels if each not in CHANNELS]
            if unknown:
                raise by_severity.refusal(severity, f"some of {', '.join(CHANNELS)}", unknown)
            table[environment][severity] = [str(each) for each in channels]
        by_severity.end()
    return table


def _quiet(fields: Fields, table: Mapping[str, Any]) -> dict[str, Any]:
    """Hours in which warnings and less are held back. What is critical is never: then quiet hours would hide a page."""
    environments, severities = (
        fields.array("environments", maximum=MOST),
        fields.array("severities", maximum=len(SEVERITIES)),
    )
    unknown = [each for each in environments if each not in table]
    if unknown or not environments:
        raise fields.refusal("environments", f"some of {', '.join(table)}", environments)
    if not severities or any(each not in SEVERITIES[1:] for each in severities):
        raise fields.refusal(
            "severities", f"some of {', '.join(SEVERITIES[1:])}, since nothing keeps a critical alert back", severities
        )
    start, end, place = fields.text("start", TIMES), fields.text("end", TIMES), fields.text("location", PLACE)
    if start >= end:
        raise fields.refusal(
            "end",
            f"a time of the same day after {start}; across midnight take two entries, until 24:00 and from 00:00",
            end,
        )
    if not _is_known(place):
        raise fields.refusal("location", "a place of the time zone database, such as Europe/Berlin", place)
    interval: dict[str, Any] = {"times": [{"start_time": start, "end_time": end}], "location": place}
    if "weekdays" in fields:
        interval["weekdays"] = [_day(fields, each) for each in fields.array("weekdays", maximum=7)]
    read = {
        "name": fields.text("name", NAME),
        "environments": environments,
        "severities": severities,
        "interval": interval,
    }
    fields.end()
    return read


def _is_clear(fields: Fields, url: str) -> bool:
    """Whether others on the way can read what is sent there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise fields.refusal("url", "an address such as https://hook.example/x", url) from None
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")


def _is_known(place: str) -> bool:
    """Whether it is a place of the time zone database; where there is none on the controller, amtool judges it on the host."""
    for name in (place, "UTC"):
        try:
            zoneinfo.ZoneInfo(name)
        except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
            continue
        return name == place
    return True


def _require_somebody(routing: Routing) -> None:
    """What is critical must reach somebody; that nobody would hear of it is known now and not at night."""
    deaf = [
        environment
        for environment, by_severity in routing.table.items()
        if not any(channel in routing.channels for channel in by_severity["critical"])
    ]
    if deaf or not routing.table:
        raise Refusal(
            "alerting_deaf",
            expected="for each environment of alertmanager_routes a channel that is enabled and told of what is critical",
            found=", ".join(deaf) or "no environment",
            remedy="Enable a channel (alertmanager_slack_enabled …) or name one that is, in group_vars.",
        )


def _truth(fields: Fields, name: str) -> bool:
    value = fields.take(name)
    if not isinstance(value, bool):
        raise fields.refusal(name, "true or false", value)
    return value


def _whole(fields: Fields, name: str, minimum: int, maximum: int) -> int:
    value = fields.take(name)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise fields.refusal(name, f"an integer from {minimum} to {maximum}", value)
    return int(value)


def _hour(fields: Fields, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 8760:
        raise fields.refusal("watch_repeat_hours", "integers from 1 to 8760", value)
    return int(value)


def _day(fields: Fields, value: object) -> str:
    first, _, last = str(value).partition(":")
    if (
        not isinstance(value, str)
        or not {first, last or first} <= set(DAYS)
        or DAYS.index(first) > DAYS.index(last or first)
    ):
        raise fields.refusal(
            "weekdays", "days such as saturday, or monday:friday, of a week that begins with sunday", value
        )
    return str(value)


def _address(fields: Fields, value: object) -> str:
    if not isinstance(value, str) or not ADDRESS.match(value):
        raise fields.refusal("to", "addresses such as ops@example.com", shown(value))
    return str(value)
