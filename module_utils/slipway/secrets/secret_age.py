# SPDX-License-Identifier: GPL-3.0-or-later
"""How old secrets are, beside how old they may get: for people, for programs, and for an alert. Names, never values.

The age is that of the newest version, as its provider says; where that does not know, it is counted from the newest line of the access log that says
that the secret was set or rotated on this controller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..base.clock import seconds_of, timestamp
from ..base.table import table
from .keeper import Keeper
from .rotation_policy import DAY
from .rotation_record import ADOPTED, RotationRecords

SET: Final = ("written", ADOPTED)
LABELS: Final = ("environment", "provider", "secret")
METRICS: Final = {
    "age_seconds": ("slipway_secret_age_seconds", "How old the newest version of a secret was when this was written."),
    "max_age_seconds": ("slipway_secret_max_age_seconds", "How old it may get before it has to be rotated."),
    "written": ("slipway_secret_written_timestamp_seconds", "When that version was made, in Unix time."),
    "is_open": ("slipway_secret_rotation_open", "Whether a rotation of it was begun and did not end."),
}


@dataclass(frozen=True)
class Age:
    """One secret. ``state``: fresh, due (time for a rotation), overdue, unknown (nobody knows its age), missing, or undeclared (no age is too old)."""

    name: str
    provider: str | None
    version: str
    written: int | None
    age_seconds: int | None
    max_age_seconds: int | None
    made_by: str | None
    state: str
    rotation: str | None

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data, the time as text."""
        return {**dataclasses.asdict(self), "written": None if self.written is None else timestamp(self.written)}


def ages(keeper: Keeper, records: RotationRecords) -> list[Age]:
    """The secrets that are declared or have a policy, sorted by name. A provider that does not answer is said aloud."""
    policies = {policy.name: policy for policy in keeper.settings.rotation}
    open_ones = {rotation.name: rotation.state for rotation in records.all() if rotation.is_open}
    found = []
    for name in sorted({*policies, *(each.name for each in keeper.settings.declared)}):
        policy, there = policies.get(name), keeper.standings(name)
        label, standing = there or (None, None)
        written = standing.written if standing else None
        if label and written is None:
            written = _noted(keeper, name, label)
        age = None if written is None else max(0, keeper.clock.now() - written)
        if not there:
            state = "missing"
        elif policy is None:
            state = "undeclared"
        elif age is None:
            state = "unknown"
        else:
            state = "overdue" if policy.is_overdue(age) else "due" if policy.is_due(age) else "fresh"
        found.append(
            Age(
                name, label, standing.version if standing else "", written, age, policy.max_age_seconds if policy else None,
                policy.made_by if policy else None, state, open_ones.get(name),
            )
        )  # fmt: skip
    return found


def _noted(keeper: Keeper, name: str, label: str) -> int | None:
    times = [
        each["timestamp"] for each in keeper.log.found(name=name)
        if each["outcome"] in SET and each["provider"] == label and each["environment"] == keeper.caller.environment
    ]  # fmt: skip
    return seconds_of(max(times)) if times else None


def ages_table(found: Sequence[Age]) -> str:
    """One line a secret; ages in whole days."""
    rows = [
        (
            each.name, each.provider or "-", each.version or "-", _days(each.age_seconds), _days(each.max_age_seconds), each.made_by or "-",
            each.state if each.rotation is None else f"{each.state}, rotation {each.rotation}",
        )
        for each in found
    ]  # fmt: skip
    head = ("SECRET", "PROVIDER", "VERSION", "DAYS", "AT MOST", "MADE BY", "STATE")
    return table(head, rows) if rows else "no secret is declared, in secrets_declared or secrets_rotation"


def _days(seconds: int | None) -> str:
    return "-" if seconds is None else str(seconds // DAY)


def metrics(found: Sequence[Age], environment: str) -> str:
    """The same for a textfile collector, in Prometheus' text format; of what nobody knows there is no line."""
    lines = []
    for key, (name, words) in METRICS.items():
        series = []
        for each in found:
            value = int(each.rotation is not None) if key == "is_open" else getattr(each, key)
            given = zip(LABELS, (environment, each.provider or "", each.name), strict=True)
            labels = ",".join(f'{label}="{text}"' for label, text in given)
            if value is not None and each.max_age_seconds is not None:
                series.append(f"{name}{{{labels}}} {value}")
        if series:
            lines += [f"# HELP {name} {words}", f"# TYPE {name} gauge", *series]
    return "".join(f"{line}\n" for line in lines)
