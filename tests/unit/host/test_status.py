# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application serves, what it could go back to, and three answers that differ after trouble."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.files import sha256_of
from ansible.module_utils.slipway.host.status import described_application
from releases import UNIT, V1, V2, V3, Site, snapshot


@pytest.fixture
def three(site):
    """v1 and v2 were deployed, v3 was staged."""
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")
    site.build("v3", V3)
    site.stage("v3", run=site.run("run-3"))
    return site


def test_an_empty_host_says_nothing_of_everything(site):
    answer = site.inspect(health=False)
    assert answer["host"] == {"id": site.host.identity().id, "name": "prod-1", "environment": "prod"}
    empty = (
        "active",
        "settled",
        "since",
        "deployed_by",
        "previous",
        "last_success",
        "last_good",
        "transaction",
        "lease",
        "health",
        "integrity",
    )
    assert {answer[key] for key in (*empty, "resident_digest")} == {None}
    assert (answer["bad"], answer["releases"], answer["runs"], answer["changed"]) == ({}, [], [], False)


def test_looking_changes_nothing(three):
    three.activate("v3", run=three.run("run-3"))
    before = snapshot(three.host.root)
    three.inspect(health=True, verify=True)
    three.ask("history", limit=10)
    assert snapshot(three.host.root) == before


def test_what_is_active_since_when_and_by_whom(three):
    answer = three.inspect()
    record = three.records[-1]
    assert (answer["active"], answer["settled"], answer["previous"]) == ("v2", "v2", "v1")
    assert (answer["since"], answer["deployed_by"]) == (record["timestamp"], "alice")
    assert (answer["last_success"], answer["last_good"]) == ("v2", "v2")


def test_what_the_manifest_says_is_shown_when_asked_for_and_when_it_can_be_read(three):
    assert three.inspect()["manifest"] is None
    assert three.inspect(manifest=True)["manifest"]["release_id"] == "v2"
    (three.places.manifests / "v2" / "manifest.dsse.json").write_bytes(b"{")
    assert three.inspect(manifest=True)["manifest"] is None


def test_releases_are_named_with_their_trees(three):
    manifests = [three.catalogue.manifest("shop", f"v{number}") for number in (1, 2, 3)]
    assert three.inspect()["releases"] == [
        {
            "release_id": manifest.release_id, "tree": manifest.tree_digest, "manifest_digest": manifest.digest,
            "sequence": manifest.sequence, "was_active": manifest.release_id != "v3",
        }
        for manifest in manifests
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["manifest.dsse.json", "file-list.json"])
def test_a_release_whose_evidence_was_damaged_is_not_offered(three, name):
    (three.places.manifests / "v1" / name).write_bytes(b"")
    assert [release["release_id"] for release in three.inspect()["releases"]] == ["v2", "v3"]


def test_runs_are_short_records_newest_first(three):
    runs = three.inspect()["runs"]
    assert [(run["run_id"], run["release_id"]) for run in runs] == [("run-2", "v2"), ("run-1", "v1")]
    assert all(run[key] == three.records[-1][key] for run in runs[:1] for key in run)


def test_the_resident_package_is_named_by_its_digest(three):
    three.host.resident.parent.mkdir(parents=True, exist_ok=True)
    three.host.resident.write_bytes(b"package")
    assert three.inspect()["resident_digest"] == sha256_of(three.host.resident)


def test_after_a_failed_deployment_the_three_answers_differ(three):
    three.rollback("v1", run=three.run("run-3"), takes_back="run-2")
    answer = three.inspect()
    assert (answer["active"], answer["last_success"], answer["last_good"]) == ("v1", "v2", "v1")
    assert answer["bad"] == {"v2": "taken back by run run-3"}
    assert answer["previous"] is None


def test_an_open_transaction_shows_with_what_settling_leaves(three):
    three.activate("v3", run=three.run("run-3"))
    answer = three.inspect()
    assert (answer["active"], answer["settled"], answer["since"]) == ("v3", "v2", None)
    assert (answer["transaction"]["run_id"], answer["transaction"]["step"]) == ("run-3", "healthy")
    assert (answer["transaction"]["operation"], answer["transaction"]["previous_release_id"]) == ("deploy", "v2")
    assert (answer["lease"]["holder"], answer["lease"]["run_id"]) == ("alice", "run-3")
    assert answer["previous"] == "v1"


def test_a_transaction_that_only_has_its_intent_shows_as_intent(three):
    three.activate("v3", run=three.run("run-3"))
    three.places.journal.write_bytes(three.places.journal.read_bytes().splitlines(keepends=True)[0])
    assert three.inspect()["transaction"]["step"] == "intent"


@pytest.mark.parametrize("outcome", ["confirmed", "reverted"])
def test_a_transaction_whose_outcome_is_noted_leaves_what_is_active(three, outcome):
    three.activate("v3", run=three.run("run-3"))
    with open(three.places.journal, "ab") as stream:
        stream.write(b'{"step":"%s"}\n' % outcome.encode())
    assert three.inspect()["settled"] == "v3"


def test_health_is_asked_once_and_told(three, systemctl):
    assert three.inspect(health=True)["health"]["outcome"] == "success"
    systemctl.units[UNIT] = ("loaded", "failed", "failed")
    assert three.inspect(health=True)["health"] == {
        "outcome": "failure", "attempts": 1, "detail": "shop.service is failed (failed) (after 1 attempts)",
    }  # fmt: skip


def test_the_health_of_an_application_without_probes_is_inconclusive(site):
    other = Site(site.directory, site.host, application="other")
    other.description = {"health": []}
    assert other.inspect(health=True)["health"]["outcome"] == "inconclusive"


def test_every_byte_of_what_is_active_is_verified(three):
    files = three.made("v2").files
    detail = f"{len(files)} files, {sum(entry.size for entry in files)} bytes"
    assert three.inspect(verify=True)["integrity"] == {"release_id": "v2", "outcome": "intact", "detail": detail}
    (three.release("v2") / "config.json").write_bytes(b"{}")
    integrity = three.inspect(verify=True)["integrity"]
    assert (integrity["release_id"], integrity["outcome"]) == ("v2", "release_altered")
    assert "config.json" in integrity["detail"]


def test_nothing_active_is_neither_intact_nor_altered(site):
    assert site.inspect(verify=True)["integrity"] == {"release_id": None, "outcome": "nothing_active", "detail": ""}


def test_a_host_of_another_environment_does_not_answer(three):
    assert three.inspect(environment="staging")["reason"] == "environment_mismatch"
    assert three.inspect(environment=None)["active"] == "v2"


@pytest.mark.parametrize(("limit", "seqs"), [(10, [1, 0]), (2, [1, 0]), (1, [1]), (0, [])])
def test_the_history_comes_newest_first_and_limited(three, limit, seqs):
    answer = three.ask("history", limit=limit)
    assert [record["seq"] for record in answer["records"]] == seqs
    assert (answer["changed"], answer["active"], answer["last_success"]["release_id"], answer["last_good"]) == (
        False, "v2", "v2", "v2",
    )  # fmt: skip


def test_an_empty_history_has_no_last_success(site):
    answer = site.ask("history", limit=10)
    assert (answer["records"], answer["active"], answer["last_success"], answer["last_good"]) == ([], None, None, None)


def test_an_altered_history_is_refused(three):
    data = three.places.history.read_bytes()
    three.places.history.write_bytes(data.replace(b'"deployed_by":"alice"', b'"deployed_by":"mallo"', 1))
    assert three.inspect()["reason"] == "history_altered"
    assert three.ask("history", limit=1)["reason"] == "history_altered"


def test_a_host_describes_what_is_active_by_itself(three):
    described = described_application(three.places)
    assert (described["name"], described["description"]["unit"]) == ("shop", UNIT)


def test_a_host_on_which_nothing_is_active_describes_the_name_alone(site):
    assert described_application(site.places) == {"name": "shop", "description": {}}


def test_the_trust_policy_in_force_is_told_and_what_is_wrong_with_it(site):
    policy = site.host.policy()
    told = {"version": 1, "digest": policy.digest, "expires": policy.expires, "problem": None}
    assert site.inspect()["policy"] == told
    (site.host.configuration / "trust-policy.dsse.json").write_bytes(b"{}")
    assert site.inspect()["policy"] == {
        "version": None,
        "digest": None,
        "expires": None,
        "problem": "envelope_payload_type",
    }
