# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the signing of a trust policy's next version."""

from __future__ import annotations

import shutil

import doors
import pytest
from ansible.module_utils.slipway.trust.keys import load_private_key
from ansible.module_utils.slipway.trust.policy import read_policy
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

MODULE = "slipway_trust_signature"
PROD = {
    "require": [],
    "distinct_holders": True,
    "max_manifest_age_days": 90,
    "max_approval_age_days": 7,
    "rollback_depth": 10,
}


@pytest.fixture
def place(tmp_path):
    """A controller with version 1 and a draft of version 2; two of three root holders must sign it, each on a machine of theirs."""
    made = {
        name: doors.run("slipway_keypair", path=tmp_path / f"{name}.pem")
        for name in ("root-1", "root-2", "root-3", "ci")
    }
    described = {
        "path": tmp_path / "trust/trust-policy.dsse.json",
        "keys": [
            {"holder": name, "role": "builder" if name == "ci" else "root", "path": str(tmp_path / f"{name}.pem")}
            for name in made
        ],
        "environments": {"prod": PROD},
        "thresholds": {"root": 2},
    }
    doors.run("slipway_trust_policy", **described)
    publics = [{**{k: v for k, v in key.items() if k != "path"}, "public_key": made[key["holder"]]["public_key"]} for key in described["keys"]]  # fmt: skip
    drafted = doors.run("slipway_trust_policy", **{**described, "keys": publics}, state="drafted", renew=True)
    shutil.copy(drafted["draft"], tmp_path / "mailed.json")
    return tmp_path


def ask(place, *, check=False, **options):
    return doors.run(
        MODULE, check=check, trust_policy=place / "trust/trust-policy.dsse.json", file=place / "mailed.json", **options
    )


def test_two_root_holders_sign_one_after_the_other(place):
    told = ask(place, check=True)
    assert (told["changed"], told["version"], len(told["lacking"])) == (False, 2, 2)
    assert told["words"].splitlines() == told["differences"]
    assert told["differences"][0] == "version: 1 -> 2"
    first = ask(place, key=place / "root-3.pem", digest=told["digest"])
    assert (first["changed"], first["lacking"][0]) == (True, "1 more by the root of version 1, of root-1, root-2")
    assert read_policy(place / "trust/trust-policy.dsse.json").version == 1
    second = ask(place, key=place / "root-1.pem", digest=told["digest"])
    assert second["lacking"] == []
    assert read_policy(place / "trust/trust-policy.dsse.json").digest == second["digest"] == told["digest"]
    assert doors.undocumented(MODULE, second) == set()
    shown = ask(place)
    assert (shown["changed"], shown["differences"]) == (False, [])
    assert "role root: 2 of 3 holders" in shown["words"].splitlines()


def test_check_mode_needs_no_key_and_signs_nothing(place):
    before = (place / "mailed.json").read_bytes()
    assert len(ask(place, check=True, key=place / "root-1.pem")["lacking"]) == 2
    assert (place / "mailed.json").read_bytes() == before


def test_what_a_holder_was_not_shown_is_not_signed(place):
    refused = ask(place, key=place / "root-1.pem", digest="a" * 64)
    assert refused["reason"] == "policy_draft_changed"
    assert doors.undocumented(MODULE, refused) == set()


def test_others_than_root_holders_do_not_sign(place):
    assert ask(place, key=place / "ci.pem")["reason"] == "root_key_unknown"


def test_a_key_of_an_agent_signs_and_the_one_that_the_root_has_is_found_by_itself(place, agent):
    for name in ("root-2", "ci"):
        copy = place / f"{name}.ssh"
        private = load_private_key(place / f"{name}.pem")
        copy.touch(mode=0o600)
        copy.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        agent.command("ssh-add", copy)
    assert len(ask(place, key="agent")["lacking"]) == 2
    assert ask(place, key=place / "root-1.pem")["lacking"] == []


def test_an_encrypted_key_takes_its_passphrase(place):
    doors.run("slipway_keypair", path=place / "safe.pem", passphrase="correct horse")
    assert ask(place, key=place / "safe.pem", passphrase="wrong")["reason"] == "key_invalid"
    assert ask(place, key=place / "safe.pem", passphrase="correct horse")["reason"] == "root_key_unknown"
