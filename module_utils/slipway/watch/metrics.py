# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus is told: the names, kinds and labels of all metrics of a host, and their text.

The table says which labels a metric has, and a label takes only short words: a message, which may hold a secret, has no place there. The
text is for node_exporter's textfile directory and for the exporter, which reads it back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..base.errors import Refusal, shown

# A label's value: what names, ids and versions are made of. No white space, so no sentence and no header of a request.
LABEL_VALUE: Final = re.compile(r"[A-Za-z0-9_.:@+/-]{1,128}\Z")
LABEL_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
LINE: Final = re.compile(r"([a-z][a-z0-9_]*)(?:\{(.*)\})? (\S+)\Z")
PAIR: Final = re.compile(r'([a-z][a-z0-9_]*)="([^"\\]*)"(?:,|\Z)')
SUFFIXES: Final = ("_bucket", "_sum", "_count")
DEPLOY_SECONDS: Final = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@dataclass(frozen=True)
class Family:
    """A metric: ``kind`` is gauge, counter or histogram; ``labels`` are the names of all of its labels."""

    kind: str
    help: str
    labels: tuple[str, ...] = ()


CHECK: Final = ("application", "check")
FAMILIES: Final[Mapping[str, Family]] = {
    "slipway_agent_last_run_timestamp_seconds": Family("gauge", "When the agent last ended a run."),
    "slipway_agent_run_duration_seconds": Family("gauge", "How long the agent's last run took."),
    "slipway_agent_queued_alerts": Family("gauge", "Alerts on this host that nobody has taken yet."),
    "slipway_alerts_total": Family("counter", "Alerts that the agent raised or resolved.", ("application", "severity")),
    "slipway_check_status": Family("gauge", "What a check found: 0 healthy, 1 degraded, 2 unhealthy.", CHECK),
    "slipway_check_duration_seconds": Family("gauge", "How long the check last took.", CHECK),
    "slipway_check_last_run_timestamp_seconds": Family("gauge", "When the check was last made.", CHECK),
    "slipway_check_escalation_level": Family("gauge", "Failures in a row as they escalate: 0 none, 1 logged, 2 warning, 3 critical.", CHECK),
    "slipway_check_errors_total": Family("counter", "How often the check itself did not work.", CHECK),
    "slipway_channel_breaker_state": Family("gauge", "The breaker of a channel of alerts: 0 closed, 1 half open, 2 open.", ("channel",)),
    "slipway_channel_errors_total": Family("counter", "Deliveries of alerts that a channel did not take.", ("channel",)),
    "slipway_security_events_total": Family("counter", "Events of the security stream.", ("event",)),
    "slipway_release_info": Family("gauge", "The active release: always 1.", ("application", "release")),
    "slipway_release_deployed_timestamp_seconds": Family("gauge", "When the active release became active.", ("application",)),
    "slipway_release_approvals": Family("gauge", "Approvals that the active release was let in with.", ("application",)),
    "slipway_deploys_total": Family("counter", "Transactions of this host's history, by how they ended.", ("application", "outcome")),
    "slipway_deploy_duration_seconds": Family("histogram", "How long this host's transactions took.", ("application",)),
    "slipway_deploy_lead_time_seconds": Family("gauge", "From the making of the active release to its activation here.", ("application",)),
    "slipway_restore_duration_seconds": Family("gauge", "From the last failed deployment to the next good state of this host.", ("application",)),
    "slipway_verification_last_success_timestamp_seconds": Family("gauge", "When all bytes of the active release were last found as signed.", ("application",)),
    "slipway_secret_changed_timestamp_seconds": Family("gauge", "When a secret that an application gets was last changed on this host.", ("application", "secret")),
    "slipway_watch_window_seconds_left": Family("gauge", "How much longer the active release is watched more sharply; 0 when it is not.", ("application",)),
    "slipway_watch_window_end_timestamp_seconds": Family("gauge", "When the watch window of the active release ends, or ended; 0 where it has none.", ("application",)),
    "slipway_watch_repeat_seconds": Family("gauge", "Inside the watch window: after how long alerts are repeated.", ("application",)),
    "slipway_watch_threshold_ratio": Family("gauge", "Inside the watch window: how much a metric may drop, as the release says.", ("application", "metric")),
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One value of a metric. ``name`` is that of a family; a histogram's has a suffix, and its buckets a label `le`."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def exposition(samples: Iterable[Sample], families: Mapping[str, Family] = FAMILIES) -> str:
    """The samples in Prometheus' text format, each family with its HELP and TYPE; the same samples in any order give the same text.

    Refusals: ``metric_invalid`` (a name, label or value that the table does not have, or a sample that is there twice).
    """
    by_family: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], Sample]] = {}
    for sample in samples:
        family = _family_of(sample, families)
        key = (sample.name, tuple(sorted(sample.labels.items())))
        if key in by_family.setdefault(family, {}):
            raise _invalid(sample.name, "each sample once", f"{dict(sample.labels)} twice")
        by_family[family][key] = sample
    lines: list[str] = []
    for name in families:
        if name not in by_family:
            continue
        lines += [f"# HELP {name} {families[name].help}", f"# TYPE {name} {families[name].kind}"]
        lines += [_line(each, families[name]) for each in sorted(by_family[name].values(), key=_order)]
    return "".join(f"{line}\n" for line in lines)


def histogram(name: str, labels: Mapping[str, str], values: Iterable[float], bounds: Sequence[float]) -> list[Sample]:
    """The samples of a histogram of ``values``, with a bucket for each of ``bounds`` and one for all."""
    found = list(values)
    buckets = [*((_number(bound), sum(value <= bound for value in found)) for bound in bounds), ("+Inf", len(found))]
    return [
        *(Sample(f"{name}_bucket", count, {**labels, "le": bound}) for bound, count in buckets),
        Sample(f"{name}_sum", sum(found), labels),
        Sample(f"{name}_count", len(found), labels),
    ]


def parse(text: str, families: Mapping[str, Family] = FAMILIES) -> list[Sample]:
    """Read what `exposition` wrote. Refusals: ``metric_invalid``."""
    samples = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = LINE.match(line)
        pairs = PAIR.findall(match[2] or "") if match else []
        if match is None or ",".join(f'{name}="{value}"' for name, value in pairs) != (match[2] or ""):
            raise _invalid("a line", "a sample as Slipway writes it", shown(line))
        try:
            value = float(match[3])
        except ValueError:
            raise _invalid(match[1], "a number", shown(match[3])) from None
        sample = Sample(match[1], int(value) if value.is_integer() else value, dict(pairs))
        _family_of(sample, families)
        samples.append(sample)
    return samples


def _family_of(sample: Sample, families: Mapping[str, Family]) -> str:
    """The family that a sample belongs to, once nothing is wrong with the sample."""
    name, suffix = sample.name, ""
    if name not in families:
        suffix = next((each for each in SUFFIXES if name.endswith(each)), "")
        name = name.removesuffix(suffix)
    family = families.get(name)
    if family is None or (family.kind == "histogram") != bool(suffix):
        raise _invalid(sample.name, "a metric of the table in watch/metrics.py", "another name")
    names = {*family.labels, *(("le",) if suffix == "_bucket" else ())}
    if set(sample.labels) != names:
        raise _invalid(sample.name, f"the labels {', '.join(sorted(names)) or 'none'}", shown(sorted(sample.labels)))
    for label, value in sample.labels.items():
        if not isinstance(value, str) or not LABEL_VALUE.match(value):
            # The value itself is not said: it may be what must not be known.
            raise _invalid(
                sample.name, f"in {label} a word of at most 128 letters, digits and _.:@+/-", "another value"
            )
    if isinstance(sample.value, bool) or not isinstance(sample.value, int | float) or not math.isfinite(sample.value):
        raise _invalid(sample.name, "a finite number", shown(sample.value))
    if family.kind != "gauge" and sample.value < 0:
        raise _invalid(sample.name, "no negative number", shown(sample.value))
    return name


def _order(sample: Sample) -> tuple[tuple[tuple[str, str], ...], int, float]:
    """Series by series; within a histogram the buckets by their bounds, then sum and count."""
    labels = dict(sample.labels)
    bound = float(labels.pop("le", "inf"))
    suffix = next((number for number, each in enumerate(SUFFIXES) if sample.name.endswith(each)), 0)
    return tuple(sorted(labels.items())), suffix, bound


def _line(sample: Sample, family: Family) -> str:
    names = [name for name in (*family.labels, "le") if name in sample.labels]
    labels = ",".join(f'{name}="{sample.labels[name]}"' for name in names)
    return f"{sample.name}{{{labels}}} {_number(sample.value)}" if labels else f"{sample.name} {_number(sample.value)}"


def _number(value: float) -> str:
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 2**53)
    return str(int(value)) if whole else repr(float(value))


def _invalid(name: str, expected: str, found: str) -> Refusal:
    return Refusal(
        "metric_invalid",
        expected=f"{expected} in {name}",
        found=found,
        remedy="Correct what made this sample; names and labels are in module_utils/slipway/watch/metrics.py.",
    )
