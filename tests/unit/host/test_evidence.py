# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept beside a release verifies it again, with nobody else's help."""

from __future__ import annotations

from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.evidence import Evidence
from releases import V1, V2


@pytest.fixture
def evidence(site):
    """The evidence of v1, which is on the host."""
    site.build("v1", V1, members="[{path: config.json}, {path: bin/shop}, {path: gone, required: false}]")
    site.stage("v1")
    return Evidence(site.places)


def application(site):
    return Application.parse("shop", site.description)


def refusal(call, *arguments):
    with pytest.raises(Refusal) as caught:
        call(*arguments)
    return caught.value


def test_what_is_kept_verifies(site, evidence):
    verified = evidence.verify("v1")
    assert verified.manifest.digest == site.catalogue.manifest("shop", "v1").digest
    assert verified.file_list == site.made("v1")
    evidence.verify_tree(verified)


def test_artifacts_are_the_declared_members_that_are_there(site, evidence):
    digests = {entry.path: entry.sha256 for entry in site.made("v1").files}
    assert evidence.verify("v1").artifacts == [
        {"path": path, "sha256": digests[path]} for path in ("config.json", "bin/shop")
    ]  # fmt: skip


def test_the_envelope_and_the_file_list_are_kept_as_they_were_signed(site, evidence):
    manifest = site.catalogue.manifest_bytes("shop", "v1")
    assert evidence.read("v1") == (manifest, site.made("v1").encode())


def test_the_same_evidence_is_held_and_other_is_not(site, evidence):
    envelope, file_list = evidence.read("v1")
    assert evidence.holds("v1", envelope, file_list, application(site))
    assert not evidence.holds("v1", envelope + b" ", file_list, application(site))
    assert not evidence.holds("v1", envelope, file_list + b" ", application(site))
    assert not evidence.holds("v2", envelope, file_list, application(site))
    site.description["check"] = {"argv": ["true"]}
    assert not evidence.holds("v1", envelope, file_list, application(site))


def test_a_manifest_that_cannot_be_read_has_no_digest(site, evidence):
    assert evidence.digest("v1") == site.catalogue.manifest("shop", "v1").digest
    assert evidence.digest("v9") is None
    (evidence.directory("v1") / "manifest.dsse.json").write_bytes(b"{")
    assert evidence.digest("v1") is None


def test_the_description_of_the_staging_is_kept_but_for_what_writes_the_unit(site):
    """Environment variables may differ in case only; canonical JSON refuses such twins."""
    site.description["service"] = {"command": "bin/shop", "environment": {"http_proxy": "a", "HTTP_PROXY": "b"}}
    site.build("v1", V1)
    site.deploy("v1")
    kept = Evidence(site.places).application("v1")
    assert (kept, "service" in kept.raw) == (replace(application(site), service=None), False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "json_invalid"), (b"[]", "application_invalid"), (b"{}", "application_invalid"),
        (b'{"description":{"unti":"x"},"name":"shop"}', "application_invalid"), (b'{"name": "shop"}', "json_not_canonical"),
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused(evidence, data, reason):
    (evidence.directory("v1") / "application.json").write_bytes(data)
    assert refusal(evidence.application, "v1").reason == reason
    assert refusal(evidence.verify, "v1").reason == reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("manifest.dsse.json", "manifest_missing"),
        ("file-list.json", "file_list_missing"),
        ("application.json", "application_missing"),
    ],
)
def test_missing_evidence_is_refused(evidence, name, reason):
    (evidence.directory("v1") / name).unlink()
    assert refusal(evidence.verify, "v1").reason == reason


def test_an_altered_file_list_is_refused(evidence):
    path = evidence.directory("v1") / "file-list.json"
    path.write_bytes(path.read_bytes().replace(b"config", b"konfig"))
    assert refusal(evidence.verify, "v1").reason == "file_list_altered"


def test_another_host_policy_refuses_what_this_one_kept(site, evidence):
    document = signed.policy_document(revoked={"keys": [], "payloads": [site.catalogue.manifest("shop", "v1").digest]})
    (site.host.configuration / "trust-policy.dsse.json").write_bytes(signed.policy_envelope(document))
    assert refusal(evidence.verify, "v1").reason == "manifest_revoked"


def test_the_manifest_of_another_release_is_refused(site, evidence):
    site.build("v2", V2)
    path = evidence.directory("v1") / "manifest.dsse.json"
    path.write_bytes(site.catalogue.manifest_bytes("shop", "v2"))
    assert refusal(evidence.verify, "v1").reason == "release_mismatch"


@pytest.mark.parametrize(
    ("shared", "found"),
    [
        ("config.json", "config.json"), ("data", "data"), ("empty", "empty"), ("config.json/below", "config.json"),
        ("data/same/below/deep", "data/same"),
    ],
)  # fmt: skip
def test_a_shared_path_that_a_release_brings_itself_is_refused(site, evidence, shared, found):
    site.description["shared_paths"] = [shared]
    caught = refusal(evidence.verified, *evidence.read("v1"), "v1", application(site))
    assert (caught.reason, caught.found) == ("shared_path_taken", found)


@pytest.mark.parametrize("shared", ["log", "data/more", "bin/sho", "database"])
def test_a_shared_path_beside_what_a_release_brings_is_fine(site, evidence, shared):
    site.description["shared_paths"] = [shared]
    assert list(evidence.verified(*evidence.read("v1"), "v1", application(site)).links) == [shared]


def test_thin_evidence_is_the_signed_manifest_alone(evidence):
    evidence.thin("v1")
    evidence.thin("v1")
    assert [path.name for path in evidence.directory("v1").iterdir()] == ["manifest.dsse.json"]
    assert evidence.manifest("v1").release_id == "v1"


def synced_directories(syscalls):
    """Of the calls so far, the directories that were synced after the last file got its name."""
    calls = list(syscalls.calls)
    last = max(number for number, (call, _name) in enumerate(calls) if call == "rename")
    return [name for call, name in calls[last + 1 :] if call == "fsync"]


def test_what_is_kept_is_on_disk_with_all_names_above_it(site, evidence, syscalls):
    """ext4 and xfs would write the directories with the files; POSIX promises it of none."""
    envelope, file_list = evidence.read("v1")
    evidence.keep("v2", envelope, file_list, application(site))
    assert synced_directories(syscalls) == ["v2", site.places.manifests.name, site.places.state.name]


def test_a_kept_approval_is_on_disk_with_its_directory(evidence, syscalls):
    evidence.keep_consents("v1", "approvals", {"0" * 64: b"{}"}, ["0" * 64])
    assert synced_directories(syscalls) == ["approvals", "v1"]
