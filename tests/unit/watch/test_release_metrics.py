# SPDX-License-Identifier: GPL-3.0-or-later
"""Every counter equals what the history says, and the metrics of a release are those of the one that is active."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.host.credentials import Credentials
from ansible.module_utils.slipway.host.history import History
from ansible.module_utils.slipway.trust.promotion import Monitoring
from ansible.module_utils.slipway.watch import release_metrics
from ansible.module_utils.slipway.watch.metrics import exposition
from releases import V1, V2

START = 1_800_000_000


def told(samples):
    """The samples as {text of the series: value}."""
    lines = [line for line in exposition(samples).splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def record(release_id, status="success", operation="deploy", at=START, previous=None, active=None, **keys):
    return {
        "release_id": release_id, "status": status, "operation": operation, "rollback": operation == "rollback" or status != "success",
        "previous_release_id": previous, "active_release_id": active or release_id, "timestamp": timestamp(at),
        "durations": {"restart": 1500, "health": 500}, "approvals": [{}, {}], "sequence": at - 600, **keys,
    }  # fmt: skip


def test_an_application_without_a_history_has_counts_of_nothing():
    found = told(release_metrics.samples_of("shop", [], None, None, START))
    assert found['slipway_deploys_total{application="shop",outcome="success"}'] == 0
    assert found['slipway_watch_window_seconds_left{application="shop"}'] == 0
    assert not [series for series in found if "release_info" in series]


def test_outcomes_durations_and_the_active_release_are_what_the_records_say():
    records = [
        record("v1"),
        record("v2", status="rolled_back", at=START + 10, previous="v1", active="v1"),
        record(
            "v3", at=START + 100, window={"start": timestamp(START + 100), "end": timestamp(START + 100 + 48 * 3600)}
        ),
    ]
    manifest = SimpleNamespace(
        promotion=SimpleNamespace(monitoring=Monitoring(alert_thresholds={"hit_ratio_drop": "0.05"}))
    )
    found = told(release_metrics.samples_of("shop", records, manifest, timestamp(START + 50), START + 3700))
    assert found['slipway_deploys_total{application="shop",outcome="success"}'] == 2
    assert found['slipway_deploys_total{application="shop",outcome="rolled_back"}'] == 1
    assert found['slipway_deploy_duration_seconds_count{application="shop"}'] == 3
    assert found['slipway_deploy_duration_seconds_sum{application="shop"}'] == 6
    assert found['slipway_release_info{application="shop",release="v3"}'] == 1
    assert found['slipway_release_approvals{application="shop"}'] == 2
    assert found['slipway_deploy_lead_time_seconds{application="shop"}'] == 600
    assert found['slipway_restore_duration_seconds{application="shop"}'] == 2
    assert found['slipway_verification_last_success_timestamp_seconds{application="shop"}'] == START + 50
    assert found['slipway_watch_window_seconds_left{application="shop"}'] == 47 * 3600
    assert found['slipway_watch_repeat_seconds{application="shop"}'] == 7200
    assert found['slipway_watch_threshold_ratio{application="shop",metric="hit_ratio_drop"}'] == 0.05


def test_the_age_of_a_secret_is_that_of_its_oldest_field():
    def given(secret, since):
        return {"secret": secret, "field": None, "provider": "vault", "version": "1", "since": timestamp(since)}

    credentials = {
        "user": given("database/main", START + 10),
        "password": given("database/main", START),
        "key": given("signing/web", START + 20),
    }
    assert told(release_metrics.secret_samples("shop", {"credentials": credentials})) == {
        'slipway_secret_changed_timestamp_seconds{application="shop",secret="database/main"}': START,
        'slipway_secret_changed_timestamp_seconds{application="shop",secret="signing/web"}': START + 20,
    }
    assert release_metrics.secret_samples("shop", None) == []


def test_once_the_window_is_over_nothing_of_it_is_left_but_its_end():
    end = START + 48 * 3600
    records = [record("v1", window={"start": timestamp(START), "end": timestamp(end)})]
    found = told(release_metrics.samples_of("shop", records, None, None, end))
    assert {series: value for series, value in found.items() if "watch" in series} == {
        'slipway_watch_window_seconds_left{application="shop"}': 0,
        'slipway_watch_window_end_timestamp_seconds{application="shop"}': end,
    }


@pytest.mark.parametrize(
    ("records", "seconds"),
    [
        ([record("v1")], None),
        ([record("v1"), record("v2", at=START + 50), record("v1", operation="rollback", previous="v2", at=START + 350)], 300),
        ([record("v1"), record("v0", operation="rollback", previous="gone", at=START + 350)], None),
        ([record("v1"), record("v2", status="rolled_back", previous="v1", active="v1", durations={})], 0),
    ],
)  # fmt: skip
def test_the_time_to_restore_is_that_of_the_newest_failure(records, seconds):
    assert release_metrics.restore_seconds(records) == seconds


def test_the_same_release_again_is_counted_apart_and_changes_neither_lead_time_nor_time_to_restore():
    """As where secrets are rotated; and a rollback brings a release that was brought before."""
    day = 86400
    made = {"sequence": START - 600}
    records = [
        record("v1", **made),
        record("v1", previous="v1", at=START + 30 * day, **made),
        record("v2", previous="v1", at=START + 31 * day, sequence=START + 31 * day - 60),
        record("v2", previous="v2", status="rolled_back", at=START + 31 * day + 10),
        record("v2", previous="v2", at=START + 31 * day + 20),
        record("v1", operation="rollback", previous="v2", at=START + 31 * day + 300, **made),
    ]
    found = told(release_metrics.samples_of("shop", records, None, None, START + 40 * day))
    counts = {
        outcome: found[f'slipway_deploys_total{{application="shop",outcome="{outcome}"}}']
        for outcome in (
            "success",
            "rolled_back",
            "redeployment_success",
            "redeployment_rolled_back",
            "rollback_success",
        )
    }
    assert list(counts.values()) == [2, 0, 2, 1, 1], counts
    assert found['slipway_deploy_lead_time_seconds{application="shop"}'] == 600
    assert found['slipway_restore_duration_seconds{application="shop"}'] == 300
    assert found['slipway_release_deployed_timestamp_seconds{application="shop"}'] == START + 31 * day + 300


def test_counters_equal_the_history_of_a_real_host(site):
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", credentials={"database_password": "a-value"})
    found = told(release_metrics.release_samples(site.places, site.host.clock.now()))
    records = History(site.places.history).records()
    assert found['slipway_deploys_total{application="shop",outcome="success"}'] == len(records) == 2
    assert found['slipway_release_info{application="shop",release="v2"}'] == 1
    assert found['slipway_watch_window_seconds_left{application="shop"}'] == 48 * 3600
    assert 'slipway_verification_last_success_timestamp_seconds{application="shop"}' in found
    changed = {series: since for series, since in found.items() if series.startswith("slipway_secret_changed")}
    assert changed == told(release_metrics.secret_samples("shop", Credentials(site.places).summary())) != {}


def test_a_manifest_that_cannot_be_read_only_lacks_its_part(site):
    site.build("v1", V1)
    site.deploy("v1")
    (site.places.manifests / "v1/manifest.dsse.json").write_bytes(b"{}")
    found = told(release_metrics.release_samples(site.places, site.host.clock.now()))
    assert found['slipway_release_info{application="shop",release="v1"}'] == 1
    assert not [series for series in found if "threshold" in series]


def test_a_real_host_that_went_back_by_itself_and_one_that_gets_the_same_again_are_counted_as_that(site):
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
    site.deploy("v1", credentials={"database_password": "a-value"})
    site.stage("v2")
    site.activate("v2")
    site.revert("v2")
    site.deploy("v1", credentials={"database_password": "another-value"})
    found = told(release_metrics.release_samples(site.places, site.host.clock.now()))
    counted = {
        series.partition('outcome="')[2].rstrip('"}'): count
        for series, count in found.items()
        if series.startswith("slipway_deploys_total") and count
    }
    assert counted == {"success": 1, "rolled_back": 1, "redeployment_success": 1}
