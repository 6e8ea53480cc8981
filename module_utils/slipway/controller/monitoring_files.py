# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of Prometheus and Alertmanager as text, from what group_vars and the inventory say. Controller only; writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from ..base.errors import Refusal, shown
from ..base.fields import Fields
from . import alert_routing, scraping, watch_rules
from .scraping import Scraping

MARKER: Final = "# Written by Slipway: changes belong into group_vars (playbooks/observe.yml).\n"
WATCH_RULES: Final = "watch-metrics.yml"
# What rules and dashboards of an application may not be called: they would be taken for those of the hosts.
RESERVED: Final = "slipway"
RULES, RULES_TEST, DASHBOARD = (
    "rules.yml",
    "rules_test.yml",
    "dashboard.json",
)  # what a release brings below monitoring/
MOST_HOURS: Final = 365 * 24
MOST_DAYS: Final = 3650
_REASON: Final = "scraping_invalid"
_REMEDY: Final = "Correct the prometheus_ and alertmanager_ variables in group_vars (docs/howto/observe.md)."


def prometheus(options: Mapping[str, Any], hosts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What Prometheus is configured by: {configuration, rules {file: text}, retention_days}.

    ``options`` are those of ``slipway_prometheus_configuration``; ``hosts`` {name: {address, environment}}. Refusals: ``scraping_invalid``,
    ``listening_unguarded``, ``watch_invalid``, ``rules_missing``.
    """
    said = {name: options[name] for name in ("applications", "alertmanagers", "agents_port", "tls")}
    parsed = Scraping.parse({**said, "hosts": dict(hosts)})
    metrics = watch_rules.parse(options["watch_metrics"])
    times = Fields(
        {name: options[name] for name in ("watch_repeat_hours", "retention_days")}, "prometheus", _REASON, _REMEDY
    )
    repeat_hours = times.integer("watch_repeat_hours", minimum=1, maximum=MOST_HOURS)
    retention_days = times.integer("retention_days", minimum=1, maximum=MOST_DAYS)
    directory = Path(options["rules_path"])
    files = sorted(directory.glob("*.yml"))
    if not files:
        raise Refusal(
            "rules_missing",
            expected=f"rule files in {directory}",
            found="none",
            remedy="Take them from a whole checkout of Slipway: roles/prometheus/files/rules.",
        )
    documents = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    documents[WATCH_RULES] = watch_rules.rules(metrics, repeat_hours)
    return {
        "configuration": _text(scraping.configuration(parsed)),
        "rules": {name: _text(scraping.rule_file(each, options["runbooks_url"])) for name, each in documents.items()},
        "retention_days": max(retention_days, watch_rules.retention_days(metrics)),
    }


def alertmanager(options: Mapping[str, Any]) -> dict[str, Any]:
    """What Alertmanager is configured by: {configuration, secrets}.

    ``options`` are those of ``slipway_alertmanager_configuration``. Refusals: ``alerting_invalid``, ``alerting_deaf``.
    """
    routing = alert_routing.Routing.parse(dict(options))
    return {
        "configuration": _text(alert_routing.configuration(routing)),
        "secrets": alert_routing.secret_files(routing),
    }


def application_rules(text: str, tests: str, application: str, runbooks: str) -> str:
    """The rule file of an application from what its release brings; ``tests`` are promtool's of it. Refusals: ``rules_invalid``.

    A release is believed about its own rules. That they are what Prometheus takes, and do what their tests say, promtool judges.
    """
    try:
        document = yaml.safe_load(text)
        groups = [(group["name"], list(group["rules"])) for group in document["groups"]]
        names = [str(rule.get("alert") or rule["record"]) for rule in _rules(groups)]
        if not all(
            isinstance(text, str) for rule in _rules(groups) for text in (rule.get("annotations") or {}).values()
        ):
            raise TypeError("an annotation is no text")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise _not_taken(
            application, RULES, "a file with `groups`, each with a name and `rules`", "another one"
        ) from None
    taken = [name for name in names if name.lower().startswith(RESERVED)]
    if taken:
        raise _not_taken(application, RULES, f"names that do not begin with {RESERVED}", ", ".join(taken))
    try:
        tested = yaml.safe_load(tests)
        judges = tested["rule_files"] == [RULES] and bool(list(tested["tests"]))
    except (yaml.YAMLError, KeyError, TypeError):
        judges = False
    if not judges:
        found = "another file" if tests.strip() else "none"
        raise _not_taken(application, RULES_TEST, f"`rule_files: [{RULES}]` and `tests` for promtool", found)
    return _text(scraping.rule_file(document, runbooks))


def _rules(groups: list[tuple[Any, list[Any]]]) -> list[Any]:
    return [rule for _name, rules in groups for rule in rules]


def application_dashboard(text: str, application: str) -> str:
    """The dashboard that a release brings, as Grafana reads it. Refusals: ``dashboard_invalid``."""
    try:
        board = json.loads(text)
        uid, well = board["uid"], bool(board["title"]) and all(isinstance(panel, dict) for panel in board["panels"])
    except (ValueError, KeyError, TypeError, RecursionError):
        uid, well = "", False
    if not well or not isinstance(uid, str) or not uid:
        expected, found = "a JSON object of Grafana's with `uid`, `title` and `panels`", "another one"
    elif uid.lower().startswith(RESERVED):
        expected, found = f"a uid that does not begin with {RESERVED}", uid
    else:
        return json.dumps(board, indent=2, sort_keys=True) + "\n"
    raise _not_taken(application, DASHBOARD, expected, found, "dashboard_invalid")


def _not_taken(application: str, name: str, expected: str, found: str, reason: str = "rules_invalid") -> Refusal:
    return Refusal(
        reason,
        expected=f"in monitoring/{name} of {application} {expected}",
        found=shown(found),
        remedy="Correct it in the application's source and release it anew; what was there before stays in force.",
    )


def listener(options: Mapping[str, Any]) -> dict[str, Any]:
    """The file by which something listens at ``options.address``: {configuration, guarded (whether it asks for a certificate), listens (the
    address with each of ``options.ports``)}. Refusals: ``listening_unguarded``, ``scraping_invalid``.
    """
    tls = scraping.take_tls(Fields({"tls": options["tls"]}, "listener", _REASON, _REMEDY))
    address = str(options["address"])
    ports = [
        scraping.port_of(Fields({"port": port}, "listener", _REASON, _REMEDY), "port") for port in options["ports"]
    ]
    made = scraping.web_configuration(address, tls)
    return {
        "configuration": _text(made) if made else MARKER,
        "guarded": made is not None,
        "listens": [scraping.at(address, port) for port in ports],
    }


def _text(value: Mapping[str, Any]) -> str:
    return MARKER + yaml.safe_dump(_plain(value), sort_keys=False, width=150, allow_unicode=True)


def _plain(value: Any) -> Any:
    """Without the classes that Ansible makes of values, which YAML would not write as they are."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, bool) or value is None:
        return value
    return next(kind for kind in (int, float, str) if isinstance(value, kind))(value)
