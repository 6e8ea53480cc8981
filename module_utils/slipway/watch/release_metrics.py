# SPDX-License-Identifier: GPL-3.0-or-later
"""What the history of an application says, as metrics: releases, outcomes, durations, DORA measures, the watch window.

Counters are counted from the records each time, so that they equal the history whatever was restarted meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ..base.clock import seconds_of
from ..base.errors import Refusal
from ..host import integrity
from ..host.credentials import Credentials
from ..host.evidence import Evidence
from ..host.history import Activity, History
from ..host.places import Places
from ..trust.chain import Record
from ..trust.manifest import ReleaseManifest
from .metrics import DEPLOY_SECONDS, Sample, histogram
from .window import repeat_seconds, thresholds, window_of

OUTCOMES: Final = (
    "success", "failed", "rolled_back", "interrupted", "redeployment_success", "redeployment_failed", "redeployment_rolled_back",
    "redeployment_interrupted", "rollback_success", "rollback_failed",
)  # fmt: skip


def release_samples(places: Places, now: int) -> list[Sample]:
    """The samples of one application on this host at ``now``, in Unix seconds.

    Refusals: ``history_altered``. A manifest that cannot be read only lacks its part: the check of integrity says so.
    """
    records = History(places.history).records()
    activity = Activity(records)
    manifest = None
    if activity.active:
        with suppress(Refusal):
            manifest = Evidence(places).manifest(activity.active)
    brought = activity.brought.get(activity.active or "")
    checked = integrity.bytes_checked(places, activity.active, brought["timestamp"] if brought else None)
    return [
        *samples_of(places.application, records, manifest, checked, now),
        *secret_samples(places.application, Credentials(places).summary()),
    ]


def samples_of(
    application: str, records: Sequence[Record], manifest: ReleaseManifest | None, checked: str | None, now: int
) -> list[Sample]:
    """The same from the ``records``, oldest first, the active release's ``manifest``, and when its bytes were last ``checked``."""
    labels = {"application": application}
    activity = Activity(records)
    outcomes = Counter(outcome_of(record) for record in records)
    samples = [
        Sample("slipway_deploys_total", outcomes[outcome], {**labels, "outcome": outcome})
        for outcome in (*OUTCOMES, *sorted(set(outcomes) - set(OUTCOMES)))
    ]
    durations = [sum(record["durations"].values()) / 1000 for record in records if record.get("durations")]
    samples += histogram("slipway_deploy_duration_seconds", labels, durations, DEPLOY_SECONDS)
    if (restored := restore_seconds(records)) is not None:
        samples.append(Sample("slipway_restore_duration_seconds", restored, labels))
    brought = activity.brought.get(activity.active or "")
    if activity.active and brought:
        deployed = seconds_of(brought["timestamp"])
        samples += [
            Sample("slipway_release_info", 1, {**labels, "release": activity.active}),
            Sample("slipway_release_deployed_timestamp_seconds", deployed, labels),
            Sample("slipway_release_approvals", len(brought.get("approvals", ())), labels),
        ]
        if (lead := lead_seconds(records, activity.active)) is not None:
            samples.append(Sample("slipway_deploy_lead_time_seconds", lead, labels))
    if checked:
        samples.append(Sample("slipway_verification_last_success_timestamp_seconds", seconds_of(checked), labels))
    return [*samples, *_of_window(application, records, manifest, now)]


def secret_samples(application: str, credentials: Mapping[str, Any] | None) -> list[Sample]:
    """When each secret that the service gets was last changed here, from `Credentials.summary`; of several fields the oldest counts."""
    since: dict[str, int] = {}
    for each in (credentials or {"credentials": {}})["credentials"].values():
        moment = seconds_of(each["since"])
        since[each["secret"]] = min(moment, since.get(each["secret"], moment))
    return [
        Sample("slipway_secret_changed_timestamp_seconds", moment, {"application": application, "secret": secret})
        for secret, moment in since.items()
    ]


def _of_window(application: str, records: Sequence[Record], manifest: ReleaseManifest | None, now: int) -> list[Sample]:
    labels, window = {"application": application}, window_of(records)
    samples = [
        Sample("slipway_watch_window_seconds_left", window.seconds_left(now) if window else 0, labels),
        Sample("slipway_watch_window_end_timestamp_seconds", window.end if window else 0, labels),
    ]
    monitoring = manifest.promotion.monitoring if manifest else None
    if window and window.is_open(now):
        samples.append(Sample("slipway_watch_repeat_seconds", repeat_seconds(monitoring), labels))
        samples += [
            Sample("slipway_watch_threshold_ratio", limit, {**labels, "metric": name})
            for name, limit in thresholds(monitoring).items()
        ]
    return samples


def outcome_of(record: Record) -> str:
    """One word for how a transaction ended; those of operators' rollbacks begin with `rollback_`.

    Those of the release that was active before, as where secrets are rotated, begin with `redeployment_`. A deployment that went back by itself
    is no rollback of an operator, though its record says that it is one.
    """
    if record["operation"] == "rollback":
        return f"rollback_{record['status']}"
    is_again = record["previous_release_id"] == record["release_id"]
    return f"redeployment_{record['status']}" if is_again else str(record["status"])


def lead_seconds(records: Sequence[Record], release_id: str) -> int | None:
    """From when a release was made to its first deployment here that went well; None where no record says one of them.

    Its ``sequence`` is when it was made, in Unix seconds. What is deployed or gone back to again has become no older by that.
    """
    first = next((each for each in records if each["release_id"] == release_id and outcome_of(each) == "success"), None)
    return max(0, seconds_of(first["timestamp"]) - first["sequence"]) if first and first.get("sequence") else None


def restore_seconds(records: Sequence[Record]) -> float | None:
    """How long the newest failure lasted, None where nothing failed: until an operator went back, or the transaction by itself."""
    activated: dict[str, int] = {}
    found: float | None = None
    for record in records:
        outcome = outcome_of(record)
        if outcome == "success":
            activated[record["release_id"]] = seconds_of(record["timestamp"])
        elif outcome == "rollback_success" and (since := activated.get(record["previous_release_id"] or "")):
            found = float(seconds_of(record["timestamp"]) - since)
        elif outcome == "rolled_back":
            found = sum(record.get("durations", {}).values()) / 1000
    return found
