# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to making an audit bundle."""

from __future__ import annotations

import hashlib
import json
import tarfile

import doors
import pytest
import signed

MODULE = "slipway_audit_bundle"
DESCRIPTOR = b"""
application: shop
version: 1.2.3
exclude: [promotion.yml]
audit:
  tests: [{name: unit, argv: [sh, -c, "echo all is well"]}]
  checklist: promotion.yml
"""
CHECKLIST = b"version: 1.2.3\nitems: [{id: a, text: A, by: me, at: 2026-11-20}]\n"


@pytest.fixture
def asked(tmp_path):
    source = tmp_path / "source"
    signed.write_tree(source, {"slipway.yml": DESCRIPTOR, "promotion.yml": CHECKLIST, "run!": b"#!"})
    return {"source": source, "path": tmp_path / "release/audit_1"}


def test_a_bundle_is_made_and_reported(asked):
    made = doors.run(MODULE, build_id="build_7", tickets=["A-1", "A-2"], **asked)
    data = (asked["path"] / "audit.json").read_bytes()
    document = json.loads(data)
    assert made["changed"] is True
    assert (made["bundle"], made["sha256"]) == (str(asked["path"]), hashlib.sha256(data).hexdigest())
    assert (made["application"], made["version"], made["build_id"]) == ("shop", "1.2.3", "build_7")
    for name in ("source", "tests", "sbom", "checklist", "not_declared", "tickets", "created"):
        assert made[name] == document[name]
    assert made["tests"][0]["result"] == "passed"
    assert doors.undocumented(MODULE, made) == set()


def test_tickets_may_be_one_text_with_commas(asked):
    assert doors.run(MODULE, tickets="A-1, A-2", **asked)["tickets"] == ["A-1", "A-2"]


def test_the_same_bundle_again_changes_nothing(asked):
    made = doors.run(MODULE, **asked)
    again = doors.run(MODULE, **asked)
    assert (again["changed"], again["sha256"]) == (False, made["sha256"])


def test_check_mode_says_what_would_be_run_and_keeps_nothing(asked):
    foreseen = doors.run(MODULE, check=True, **asked)
    assert (foreseen["changed"], foreseen["sha256"]) == (True, None)
    assert foreseen["tests"] == [{"name": "unit", "argv": ["sh", "-c", "echo all is well"]}]
    assert not asked["path"].parent.exists()
    assert doors.undocumented(MODULE, foreseen) == set()


def test_a_test_that_fails_is_refused_by_its_reason(asked):
    (asked["source"] / "slipway.yml").write_bytes(DESCRIPTOR.replace(b"echo all is well", b"echo one is not; exit 3"))
    refused = doors.run(MODULE, **asked)
    assert (refused["failed"], refused["reason"]) == (True, "audit_test_failed")
    assert "one is not" in refused["found"]
    assert list(asked["path"].parent.iterdir() if asked["path"].parent.exists() else []) == []
    assert doors.undocumented(MODULE, refused) == set()


def test_what_an_archive_unpacks_to_is_limited(asked, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as package:
        package.add(asked["source"], ".")
    refused = doors.run(MODULE, max_bytes=10, **{**asked, "source": tmp_path / "a.tar"})
    assert refused["reason"] == "archive_too_large"
