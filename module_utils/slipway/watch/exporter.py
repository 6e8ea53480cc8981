# SPDX-License-Identifier: GPL-3.0-or-later
"""What the exporter answers: the host's metrics, and its health in the routes that balancers and people ask.

A pure function of what the agent wrote last. The server around it, with its TLS, its access log and nothing of this, is
roles/exporter/files/slipway-exporter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.files import read_if_there
from .metrics import FAMILIES, SUFFIXES, Sample, exposition, parse

STATUSES: Final = ("HEALTHY", "DEGRADED", "UNHEALTHY")
BREAKERS: Final = ("closed", "half_open", "open")
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
JSON: Final = "application/json"
LIMIT: Final = 16 << 20
# After so long without a run of the agent nobody can say how the host is.
SILENCE_SECONDS: Final = 300


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP: status, type and body."""

    status: int
    kind: str
    body: bytes


@dataclass(frozen=True)
class Told:
    """What the agent last wrote, or why it cannot be read."""

    samples: Sequence[Sample] = ()
    problem: str = ""

    @classmethod
    def read(cls, path: Path) -> Told:
        """The agent's file in the textfile directory."""
        try:
            data = read_if_there(path, limit=LIMIT, what="the agent's metrics")
            return cls(parse((data or b"").decode("utf-8"))) if data else cls(problem="the agent has not run yet")
        except (Refusal, OSError, UnicodeDecodeError) as error:
            return cls(problem=f"the agent's metrics cannot be read: {error}")

    def value(self, name: str) -> float | None:
        """The value of a metric without labels."""
        return next((each.value for each in self.samples if each.name == name), None)

    def of(self, name: str) -> list[Sample]:
        """All samples of one name."""
        return [each for each in self.samples if each.name == name]


def answer(route: str, told: Told, now: int) -> Answer:
    """What is answered to a GET of ``route`` at ``now``, in Unix seconds.

    /metrics is the text for Prometheus. /health/live: this process answers. /health/ready: 200 while no check is UNHEALTHY and the agent
    beats, else 503. /health/check: every check and every breaker. /health/summary: the same in numbers. /health/metrics: all metrics as
    JSON. /health/security: what the security stream has counted.
    """
    if route == "/metrics":
        return Answer(200, TEXT, exposition(told.samples).encode()) if not told.problem else _failed(told.problem)
    handler = _ROUTES.get(route)
    if handler is None:
        return _json(404, {"error": "not found", "routes": ["/metrics", *_ROUTES]})
    return handler(told, now)


def status_of(told: Told, now: int) -> str:
    """The worst of all checks; UNHEALTHY too where the agent is silent."""
    if told.problem or _silence(told, now) > SILENCE_SECONDS:
        return STATUSES[2]
    found = [_named(STATUSES, each) for each in told.of("slipway_check_status")]
    return max(found, key=STATUSES.index, default=STATUSES[0])


def _named(names: Sequence[str], sample: Sample) -> str:
    """What a number stands for; one that stands for nothing is no good sign."""
    number = int(sample.value)
    return names[number] if 0 <= number < len(names) else names[-1]


def _live(_told: Told, _now: int) -> Answer:
    return _json(200, {"status": "alive"})


def _ready(told: Told, now: int) -> Answer:
    status = status_of(told, now)
    return _json(503 if status == STATUSES[2] else 200, {"status": status, "why": _why(told, now)})


def _check(told: Told, now: int) -> Answer:
    durations, levels, runs = (
        {tuple(sorted(each.labels.items())): each.value for each in told.of(f"slipway_check_{name}")}
        for name in ("duration_seconds", "escalation_level", "last_run_timestamp_seconds")
    )
    checks = []
    for each in told.of("slipway_check_status"):
        key = tuple(sorted(each.labels.items()))
        checks.append(
            {
                "application": each.labels["application"],
                "check": each.labels["check"],
                "status": _named(STATUSES, each),
                "milliseconds": round(durations.get(key, 0) * 1000),
                "level": int(levels.get(key, 0)),
                "at": timestamp(int(runs[key])) if key in runs else None,
            }
        )
    breakers = {each.labels["channel"]: _named(BREAKERS, each) for each in told.of("slipway_channel_breaker_state")}
    return _json(200, {"status": status_of(told, now), "why": _why(told, now), "checks": checks, "breakers": breakers})


def _summary(told: Told, now: int) -> Answer:
    found = [_named(STATUSES, each) for each in told.of("slipway_check_status")]
    releases = {each.labels["application"]: each.labels["release"] for each in told.of("slipway_release_info")}
    windows = {
        each.labels["application"]: int(each.value)
        for each in told.of("slipway_watch_window_seconds_left")
        if each.value
    }
    return _json(
        200,
        {
            "status": status_of(told, now),
            "checks": {status: found.count(status) for status in STATUSES},
            "releases": releases,
            "watched_seconds_left": windows,
            "queued_alerts": int(told.value("slipway_agent_queued_alerts") or 0),
        },
    )


def _metrics(told: Told, _now: int) -> Answer:
    kinds: dict[str, list[dict[str, Any]]] = {"counters": [], "gauges": [], "histograms": []}
    for each in told.samples:
        family = (
            FAMILIES.get(each.name)
            or FAMILIES[next(each.name.removesuffix(end) for end in SUFFIXES if each.name.endswith(end))]
        )
        kinds[f"{family.kind}s"].append({"name": each.name, "labels": dict(each.labels), "value": each.value})
    return _json(200, kinds)


def _security(told: Told, _now: int) -> Answer:
    events = {each.labels["event"]: int(each.value) for each in told.of("slipway_security_events_total")}
    verified = {
        each.labels["application"]: timestamp(int(each.value))
        for each in told.of("slipway_verification_last_success_timestamp_seconds")
    }
    return _json(200, {"events": events, "bytes_verified": verified})


_ROUTES: Final = {
    "/health/live": _live,
    "/health/ready": _ready,
    "/health/check": _check,
    "/health/summary": _summary,
    "/health/metrics": _metrics,
    "/health/security": _security,
}


def _silence(told: Told, now: int) -> float:
    return now - (told.value("slipway_agent_last_run_timestamp_seconds") or 0)


def _why(told: Told, now: int) -> str:
    if told.problem:
        return told.problem
    if _silence(told, now) > SILENCE_SECONDS:
        return f"the agent has been silent for more than {SILENCE_SECONDS} s"
    ill = [
        f"{each.labels['application']}/{each.labels['check']}" for each in told.of("slipway_check_status") if each.value
    ]
    return ", ".join(ill)


def _failed(problem: str) -> Answer:
    return Answer(503, TEXT, f"# {problem}\n".encode())


def _json(status: int, value: Mapping[str, Any]) -> Answer:
    return Answer(status, JSON, json.dumps(value, indent=2).encode() + b"\n")
