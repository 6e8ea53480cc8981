# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to validating an audited source."""

from __future__ import annotations

import hashlib
import json

import doors
import pytest
import signed

MODULE = "slipway_validation"
DESCRIPTOR = b"application: shop\nvalidation: {argv: [sh, -c, 'echo 42 trades']}\n"


@pytest.fixture
def asked(tmp_path):
    source, audit = tmp_path / "source", tmp_path / "release/audit_1"
    signed.write_tree(source, {"slipway.yml": DESCRIPTOR, "run!": b"#!"})
    assert doors.run("slipway_audit_bundle", source=source, path=audit)["changed"]
    return {"source": source, "audit": audit}


def test_a_source_is_validated_and_the_evidence_reported(asked):
    done = doors.run(MODULE, **asked)
    document = json.loads((asked["audit"] / "validation.json").read_bytes())
    assert done["changed"] is True
    assert (done["bundle"], done["application"], done["version"]) == (str(asked["audit"]), "shop", None)
    assert done["audit_sha256"] == hashlib.sha256((asked["audit"] / "audit.json").read_bytes()).hexdigest()
    assert (done["argv"], done["result"], done["checklist"]) == (
        ["sh", "-c", "echo 42 trades"], "passed", "not_declared",
    )  # fmt: skip
    assert done["command"] == document["command"]
    assert doors.undocumented(MODULE, done) == set()


def test_check_mode_says_what_would_be_run_and_keeps_nothing(asked):
    foreseen = doors.run(MODULE, check=True, **asked)
    assert (foreseen["argv"], foreseen["result"]) == (["sh", "-c", "echo 42 trades"], None)
    assert not (asked["audit"] / "validation.json").exists()
    assert doors.undocumented(MODULE, foreseen) == set()


def test_a_validation_without_an_audit_says_how_to_make_one(asked):
    refused = doors.run(MODULE, source=asked["source"])
    assert (refused["failed"], refused["reason"]) == (True, "audit_missing")
    assert "playbooks/audit.yml" in refused["remedy"]
    assert doors.undocumented(MODULE, refused) == set()


def test_another_version_than_the_audits_is_refused(asked):
    assert doors.run(MODULE, version="2", **asked)["reason"] == "audit_of_another_source"
