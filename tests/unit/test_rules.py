# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule has a test in which it fires and one in which it does not, and Prometheus' own evaluation passes them."""

from __future__ import annotations

import re
import subprocess

import pytest
import repository
import yaml
from ansible.module_utils.slipway.watch.check import KINDS

from lab import prometheus

RULES = repository.ROOT / "roles/prometheus/files/rules"
TESTS = repository.ROOT / "tests/rules"
# What application rules of the examples are tested by stands beside them.
PAIRS = [
    pytest.param(path, TESTS / path.name, id=path.stem) for path in sorted(RULES.glob("*.yml")) if path.stem != "watch"
]
EXAMPLES = [
    pytest.param(path, path.with_name("rules_test.yml"), id=path.parts[-3])
    for path in sorted((repository.ROOT / "examples").glob("*/monitoring/rules.yml"))
]
RUNBOOKS = repository.ROOT / "docs/runbooks"


def rules_of(path):
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def promtool(*words):
    return subprocess.run([prometheus.ensure() / "promtool", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("rules", "tests"), PAIRS + EXAMPLES)
def test_prometheus_does_what_the_tests_say(rules, tests):
    assert promtool("check", "rules", rules).returncode == 0
    run = promtool("test", "rules", tests)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("rules", "tests"), PAIRS + EXAMPLES)
def test_every_alert_is_seen_firing_and_not_firing(rules, tests):
    cases = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test.get("alert_rule_test", ())]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    alerts = {rule["alert"] for rule in rules_of(rules) if "alert" in rule}
    assert firing == alerts
    assert quiet | {"SlipwayWatchdog"} >= alerts  # that one is always there


@pytest.mark.parametrize(
    "rules", [*sorted(RULES.glob("*.yml")), *(parameter.values[0] for parameter in EXAMPLES)], ids=str
)
def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do(rules):
    for rule in rules_of(rules):
        if "alert" not in rule:
            assert re.fullmatch(r"[a-z_]+:[a-z_]+(:[a-z0-9_]+)?", rule["record"])
            continue
        assert rule["labels"]["severity"] in ("critical", "warning", "info", "none")
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page, _, anchor = (
            rule["annotations"]["runbook_url"].removeprefix("https://slipway.example/runbooks/").partition("#")
        )
        text = (RUNBOOKS / page).read_text(encoding="utf-8")
        assert f"\n### {rule['alert']}\n" in text
        assert anchor == rule["alert"].lower()


def test_every_rule_of_an_agent_and_every_end_of_a_run_that_is_no_good_is_in_the_runbook():
    text = (RUNBOOKS / "alerts.md").read_text(encoding="utf-8")
    rules = {kind.rule for kind in KINDS.values()} | {"escalation_hook_failed", "channel_recovered"}
    ends = {"deploy_failed", "deploy_rolled_back", "rollback_failed"}
    assert {rule for rule in rules | ends if f"\n### {rule.replace('_', '-')}\n" not in text} == set()
