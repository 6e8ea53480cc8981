# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to making a release."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import doors
import pytest
import signed
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import verify
from ansible.module_utils.slipway.trust.policy import read_policy
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

MODULE = "slipway_bundle"


def write_key(path: Path, key, encryption) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    return path


@pytest.fixture
def asked(tmp_path):
    source = tmp_path / "source"
    descriptor = b"application: shop\nmembers: [{path: config.json, version_key: version}]\n"
    signed.write_tree(source, {"slipway.yml": descriptor, "config.json": b'{"version": "1.2.3"}', "run!": b"#!"})
    (tmp_path / "policy.dsse.json").write_bytes(signed.policy_envelope())
    return {
        "source": source,
        "catalogue": tmp_path / "catalogue",
        "builder_key": write_key(tmp_path / "builder.pem", signed.BUILDER_KEY, NoEncryption()),
        "trust_policy": tmp_path / "policy.dsse.json",
    }


def test_a_release_is_made_and_reported(asked):
    before = int(time.time())
    made = doors.run(MODULE, **asked)
    manifest = verify.verify_manifest(
        read_policy(asked["trust_policy"]),
        Path(made["manifest_path"]).read_bytes(),
        application="shop",
        environment="prod",
        now=int(time.time()),
    )
    assert made["changed"] is True
    assert before <= made["sequence"] <= time.time()
    assert made["release_id"] == manifest.release_id
    assert made["release_id"].startswith("release_20")
    assert (made["application"], made["version"]) == ("shop", "1.2.3")
    assert (made["files"], made["bytes"]) == (2, 22)
    assert (made["manifest_digest"], made["tree_digest"]) == (manifest.digest, manifest.tree_digest)
    assert (made["created"], made["expires"]) == (manifest.created, manifest.expires)
    assert made["bundle_digest"] == manifest.bundle_digest
    assert doors.undocumented(MODULE, made) == set()


def test_the_same_release_again_changes_nothing(asked):
    made = doors.run(MODULE, release_id="v1.2.3", **asked)
    again = doors.run(MODULE, release_id="v1.2.3", **asked)
    assert again["changed"] is False
    assert again["manifest_digest"] == made["manifest_digest"]
    assert again["diff"]["before"] == again["diff"]["after"]


def test_check_mode_predicts_and_keeps_nothing(asked):
    foreseen = doors.run(MODULE, check=True, release_id="v1", **asked)
    assert not asked["catalogue"].exists()
    made = doors.run(MODULE, release_id="v1", **asked)
    same = (
        "changed",
        "release_id",
        "version",
        "files",
        "bytes",
        "tree_digest",
        "bundle_digest",
        "manifest_path",
        "diff",
    )
    assert {name: foreseen[name] for name in same} == {name: made[name] for name in same}
    assert doors.run(MODULE, check=True, release_id="v1", **asked)["changed"] is False


def test_the_diff_is_against_the_newest_release(asked):
    doors.run(MODULE, release_id="v1", **asked)
    (asked["source"] / "new").write_bytes(b"")
    diff = doors.run(MODULE, release_id="v2", **asked)["diff"]
    assert diff["after_header"] == "shop v2"
    assert len(diff["after"].splitlines()) == len(diff["before"].splitlines()) + 1


def test_days_and_version_are_taken(asked):
    made = doors.run(MODULE, valid_days=1, version="1.2.3", **asked)
    manifest = Catalogue(asked["catalogue"]).manifest("shop", made["release_id"])
    assert verify.seconds_of(manifest.expires) - manifest.sequence == 86400


def test_a_release_names_its_evidence(asked, tmp_path):
    evidence = {"source": asked["source"], "audit": tmp_path / "release/audit_1"}
    audited = doors.run("slipway_audit_bundle", source=asked["source"], path=evidence["audit"], build_id="build_7")
    assert doors.run(MODULE, audit=evidence["audit"], **asked)["reason"] == "validation_missing"
    doors.run("slipway_validation", **evidence)
    made = doors.run(MODULE, audit=evidence["audit"], release_type="hotfix", **asked)
    assert (made["release_type"], made["audit"]["name"]) == ("hotfix", "audit_1")
    assert made["audit"]["sha256"] == audited["sha256"]
    assert made["metadata"] == {"build_id": "build_7", "tickets": []}
    assert doors.undocumented(MODULE, made) == set()
    refused = doors.run(MODULE, audit=evidence["audit"], build_id="build_8", **asked)
    assert refused["reason"] == "audit_of_another_build"


def test_type_build_tickets_and_artifacts_are_taken(asked):
    descriptor = b"application: shop\nmembers: [{path: config.json, version_key: version, kind: configs}]\n"
    (asked["source"] / "slipway.yml").write_bytes(descriptor)
    made = doors.run(MODULE, release_type="major", build_id="b", tickets="A-1, A-2", **asked)
    assert (made["release_type"], made["audit"]) == ("major", None)
    assert made["metadata"] == {"build_id": "b", "tickets": ["A-1", "A-2"]}
    assert [(each["kind"], each["path"], each["version"]) for each in made["artifacts"]] == [
        ("configs", "config.json", "1.2.3")
    ]


def test_a_source_that_cannot_be_released_is_refused_by_its_reason(asked):
    (asked["source"] / "config.json").write_bytes(b"{")
    refused = doors.run(MODULE, **asked)
    assert refused["failed"] is True
    assert refused["reason"] == "members_invalid"
    assert "config.json is no json" in refused["found"]
    assert (
        refused["msg"]
        == f"members_invalid: expected {refused['expected']}; found {refused['found']}. {refused['remedy']}"
    )
    assert doors.undocumented(MODULE, refused) == set()
    assert Catalogue(asked["catalogue"]).applications() == []


def test_an_archive_beyond_max_bytes_is_refused(asked, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as package:
        package.add(asked["source"], ".")
    refused = doors.run(MODULE, max_bytes=10, **{**asked, "source": tmp_path / "a.tar"})
    assert refused["reason"] == "archive_too_large"


def test_the_passphrase_opens_the_key_and_is_never_shown(asked, tmp_path):
    encryption = BestAvailableEncryption(b"correct horse")
    asked["builder_key"] = write_key(tmp_path / "encrypted.pem", signed.BUILDER_KEY, encryption)
    assert doors.run(MODULE, **asked)["reason"] == "key_invalid"
    made = doors.run(MODULE, passphrase="correct horse", **asked)
    assert made["changed"] is True
    assert "correct horse" not in json.dumps(made)


def test_a_missing_trust_policy_is_named(asked):
    asked["trust_policy"].unlink()
    refused = doors.run(MODULE, **asked)
    assert refused["reason"] == "trust_policy_missing"
    assert "playbooks/keys.yml" in refused["remedy"]
    assert not asked["catalogue"].exists()
