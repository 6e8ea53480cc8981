# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the first trust policy and to the draft of the next."""

from __future__ import annotations

import doors
import pytest
from ansible.module_utils.slipway.trust.policy import read_policy

MODULE = "slipway_trust_policy"
PROD = {
    "require": [],
    "distinct_holders": True,
    "max_manifest_age_days": 90,
    "max_approval_age_days": 7,
    "rollback_depth": 10,
}


@pytest.fixture
def asked(tmp_path):
    """Parameters for a policy with a root key that is here and a builder's key that is elsewhere."""
    doors.run("slipway_keypair", path=tmp_path / "root.pem")
    builder = doors.run("slipway_keypair", path=tmp_path / "elsewhere/builder.pem")
    return {
        "path": tmp_path / "trust/policy.dsse.json",
        "keys": [
            {"holder": "operator", "role": "root", "path": str(tmp_path / "root.pem")},
            {"holder": "ci", "role": "builder", "public_key": builder["public_key"]},
        ],
        "environments": {"prod": PROD, "staging": PROD},
    }


def test_a_policy_is_signed_once(asked):
    signed = doors.run(MODULE, **asked)
    again = doors.run(MODULE, **asked)
    policy = read_policy(asked["path"])
    assert signed["changed"] is True
    assert again == {**signed, "changed": False, "differences": [], "words": "", "diff": {"prepared": ""}}
    assert signed["words"].splitlines() == signed["differences"] == signed["described"]
    assert signed["diff"]["prepared"].startswith("version: 1\n")
    assert (signed["lacking"], signed["draft"]) == ([], None)
    assert (signed["version"], signed["digest"], signed["expires"]) == (1, policy.digest, policy.expires)
    assert signed["environments"] == ["prod", "staging"]
    assert doors.undocumented(MODULE, signed) == set()


def test_the_root_key_may_be_away_once_the_policy_is_signed(asked, tmp_path):
    root = doors.run("slipway_keypair", path=tmp_path / "root.pem")
    signed = doors.run(MODULE, **asked)
    (tmp_path / "root.pem").unlink()
    asked["keys"][0] = {**asked["keys"][0], "public_key": root["public_key"]}
    again = doors.run(MODULE, **asked)
    assert (again["changed"], again["digest"]) == (False, signed["digest"])


def test_check_mode_keeps_nothing(asked):
    assert doors.run(MODULE, check=True, **asked)["changed"] is True
    assert not asked["path"].parent.exists()
    doors.run(MODULE, **asked)
    assert doors.run(MODULE, check=True, **asked)["changed"] is False


def test_another_description_is_told_and_the_policy_kept(asked):
    doors.run(MODULE, **asked)
    before = asked["path"].read_bytes()
    told = doors.run(MODULE, **{**asked, "environments": {"prod": PROD}})
    assert (told["changed"], told["version"]) == (False, 1)
    assert "staging: taken out, nothing can be activated there any more" in told["differences"]
    assert told["diff"]["prepared"].splitlines() == told["differences"]
    assert asked["path"].read_bytes() == before


def test_the_next_version_is_made_at_once_where_the_root_keys_are(asked):
    doors.run(MODULE, **asked)
    changed = {**asked, "environments": {"prod": {**PROD, "rollback_depth": 3}}, "state": "drafted"}
    told = doors.run(MODULE, check=True, **changed)
    assert (told["changed"], told["version"], read_policy(asked["path"]).version) == (True, 2, 1)
    drafted = doors.run(MODULE, **changed)
    assert (drafted["version"], drafted["lacking"], drafted["draft"]) == (2, [], None)
    assert read_policy(asked["path"]).digest == drafted["digest"]
    assert doors.run(MODULE, **changed)["changed"] is False
    assert doors.run(MODULE, **changed, renew=True)["version"] == 3


def test_a_draft_that_others_must_sign_is_kept_beside_the_policy(asked, tmp_path):
    root = doors.run("slipway_keypair", path=tmp_path / "root.pem")
    doors.run(MODULE, **asked)
    asked["keys"][0] = {"holder": "operator", "role": "root", "public_key": root["public_key"]}
    drafted = doors.run(MODULE, **asked, state="drafted", renew=True)
    assert drafted["draft"] == str(tmp_path / "trust/2.draft.dsse.json")
    assert drafted["lacking"] == [
        "1 more by the root of version 1, of operator",
        "1 more by the root of itself, of operator",
    ]
    assert doors.undocumented(MODULE, drafted) == set()


def test_keys_that_retire_or_are_revoked_releases_and_floors_go_into_the_next_version(asked):
    doors.run(MODULE, **asked)
    builder = asked["keys"][1]
    spare = doors.run("slipway_keypair", path=asked["path"].parent / "spare.pem")
    third = doors.run("slipway_keypair", path=asked["path"].parent / "third.pem")
    keys = [
        asked["keys"][0],
        {**builder, "valid_until": "2099-01-01T00:00:00Z"},
        {**builder, "holder": "ci-2", "public_key": spare["public_key"]},
        {**builder, "holder": "ci-3", "public_key": third["public_key"]},
    ]
    changes = {
        "keys": keys, "revoked_keys": [spare["public_key"]], "revoked_releases": ["a" * 64],
        "floors": {"hello": "2026-11-01T00:00:00Z", "shop": 7},
    }  # fmt: skip
    drafted = doors.run(MODULE, **{**asked, **changes, "state": "drafted"})
    assert drafted["version"] == 2, drafted
    policy = read_policy(asked["path"])
    assert policy.revoked_keys == {spare["keyid"]}
    assert policy.revoked_payloads == {"a" * 64}
    assert policy.min_safe_sequence == {"hello": 1793491200, "shop": 7}


def test_a_key_needs_a_public_half_or_a_path(asked):
    del asked["keys"][1]["public_key"]
    refused = doors.run(MODULE, **asked)
    assert refused["failed"] is True
    assert "public_key" in refused["msg"]
    assert not asked["path"].exists()


def test_variables_of_the_wrong_type_are_refused(asked):
    refused = doors.run(MODULE, **{**asked, "environments": {"prod": {**PROD, "rollback_depth": "10"}}})
    assert refused["reason"] == "policy_draft_invalid"
    assert "trust policy.environments.prod.rollback_depth" in refused["expected"]
    assert "group_vars/all/trust.yml" in refused["remedy"]
