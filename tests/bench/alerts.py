# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon people hear of an alert once Alertmanager has it, and how often of the same one: python -m tests.bench.alerts

One Alertmanager on loopback as Slipway configures it, and sinks that answer at once: what is measured is ours and Alertmanager's, not the
internet's.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ansible.module_utils

ROOT = Path(__file__).resolve().parents[2]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
sys.path.insert(0, str(ROOT / "tests"))

import watchers
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.controller import monitoring_files

ALERTS, IDENTICAL, AT_ONCE = 200, 10_000, 100
TEMPLATE = ROOT / "roles/alertmanager/files/slipway.tmpl"
PATIENCE_SECONDS = 60
LIMITS = {"slack": 1.0, "pagerduty": 2.0}


def main() -> int:
    with tempfile.TemporaryDirectory() as name, watchers.listening(watchers.Listener()) as sinks:
        directory = Path(name)
        with watchers.alertmanager(directory, configuration(directory, sinks)) as manager:
            waits = {path: [one(manager, sinks, f"/{path}", number) for number in range(ALERTS)] for path in LIMITS}
            # Each of them goes to every receiver: what the last ones still wait for is none of what is counted next.
            before = {path: ALERTS * len(LIMITS) for path in LIMITS}
            watchers.until(
                lambda: all(len(sinks.of(f"/{path}")) >= count for path, count in before.items()), "all of them"
            )
            began = time.monotonic()
            for _ in range(IDENTICAL // AT_ONCE):
                manager.post([alert("identical")] * AT_ONCE)
            rate = IDENTICAL / (time.monotonic() - began)
            manager.post([alert("after")])
            for path, count in before.items():
                watchers.until(
                    lambda path=path, count=count: len(sinks.of(f"/{path}")) >= count + 2, "the alert after them"
                )
            extra = sum(len(sinks.of(f"/{path}")) - count - 2 for path, count in before.items())
    for path, seconds in waits.items():
        told = ", ".join(f"p{part} {percentile(seconds, part) * 1000:.0f} ms" for part in (50, 95, 99))
        print(
            f"POST to receipt, {path}: {told}, longest {max(seconds) * 1000:.0f} ms of {ALERTS} (limit {LIMITS[path]:.0f} s)"
        )
    share = 100 * (1 - extra / (IDENTICAL * len(LIMITS)))
    print(
        f"{IDENTICAL} identical alerts at {rate:.0f}/s: one message for each receiver and {extra} more, {share:.2f} % deduplicated (one Alertmanager)"
    )
    return int(any(percentile(seconds, 95) > LIMITS[path] for path, seconds in waits.items()) or share < 99.9)


def one(manager: watchers.Manager, sinks: watchers.Listener, path: str, number: int) -> float:
    """Seconds from an alert's POST to its receipt at a path."""
    check = f"{path.strip('/')}-{number}"
    began = time.monotonic()
    manager.post([alert(check)])
    while not any(f'"{check}"' in text or f"check={check} " in text for text in map(json.dumps, sinks.of(path)[-3:])):
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"{path} did not get {check} in {PATIENCE_SECONDS} s")
        time.sleep(0.001)
    return time.monotonic() - began


def alert(check: str) -> dict[str, object]:
    now = int(time.time())
    labels = {
        "alertname": "bench",
        "severity": "critical",
        "environment": "prod",
        "application": "hello",
        "instance": "prod-1",
        "check": check,
    }
    return {
        "labels": labels,
        "annotations": {"summary": "x"},
        "startsAt": timestamp(now),
        "endsAt": timestamp(now + 3600),
    }


def configuration(directory: Path, sinks: watchers.Listener) -> str:
    url, off = f"http://127.0.0.1:{sinks.port}", {"enabled": False}
    options = {
        "pagerduty": {"enabled": True, "routing_key_secret": "alerting/pagerduty", "url": f"{url}/pagerduty"},
        "slack": {"enabled": True, "url_secret": "alerting/slack", "channel": "#alerts"},
        "email": off, "webhook": off, "routes": {"prod": {"critical": ["pagerduty", "slack"]}}, "quiet_hours": [], "repeat_hours": 6,
        "watch_repeat_usual_hours": 2, "watch_repeat_hours": [1], "group_wait_seconds": 0, "group_interval_seconds": 60, "watchdog_url": "",
    }  # fmt: skip
    (directory / "secrets").mkdir()
    for name, value in (("pagerduty_routing_key", "key"), ("slack_url", f"{url}/slack")):
        (directory / "secrets" / name).write_text(value)
    text = monitoring_files.alertmanager(options)["configuration"]
    text = text.replace("/etc/prometheus/secrets", str(directory / "secrets"))
    return text.replace("/etc/prometheus/alertmanager_templates/slipway.tmpl", str(TEMPLATE))


def percentile(values: Sequence[float], part: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


if __name__ == "__main__":
    sys.exit(main())
