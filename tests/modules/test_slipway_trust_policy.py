# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the first trust policy."""

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
    assert again == {**signed, "changed": False}
    assert (signed["version"], signed["digest"], signed["expires"]) == (1, policy.digest, policy.expires)
    assert signed["environments"] == ["prod", "staging"]
    assert doors.undocumented(MODULE, signed) == set()


def test_the_root_key_may_be_away_once_the_policy_is_signed(asked, tmp_path):
    root = doors.run("slipway_keypair", path=tmp_path / "root.pem")
    signed = doors.run(MODULE, **asked)
    (tmp_path / "root.pem").unlink()
    asked["keys"][0] = {**asked["keys"][0], "public_key": root["public_key"]}
    assert doors.run(MODULE, **asked) == {**signed, "changed": False}


def test_check_mode_keeps_nothing(asked):
    assert doors.run(MODULE, check=True, **asked)["changed"] is True
    assert not asked["path"].parent.exists()
    doors.run(MODULE, **asked)
    assert doors.run(MODULE, check=True, **asked)["changed"] is False


def test_another_policy_is_refused_and_the_old_one_kept(asked):
    doors.run(MODULE, **asked)
    before = asked["path"].read_bytes()
    refused = doors.run(MODULE, **{**asked, "environments": {"prod": PROD}})
    assert refused["reason"] == "policy_exists"
    assert asked["path"].read_bytes() == before
    assert doors.undocumented(MODULE, refused) == set()


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
