# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to a key pair."""

from __future__ import annotations

import stat

import doors
from ansible.module_utils.slipway.trust.keys import PublicKey, load_private_key

MODULE = "slipway_keypair"


def test_a_missing_key_is_made_once(tmp_path):
    path = tmp_path / "keys/builder.pem"
    made = doors.run(MODULE, path=path)
    again = doors.run(MODULE, path=path)
    public = PublicKey.of(load_private_key(path))
    assert made["changed"] is True
    assert again["changed"] is False
    assert (made["public_key"], made["keyid"], made["path"]) == (public.hex, public.keyid, str(path))
    assert {**made, "changed": False} == again
    assert doors.undocumented(MODULE, made) == set()


def test_check_mode_makes_no_key(tmp_path):
    path = tmp_path / "keys/builder.pem"
    foreseen = doors.run(MODULE, check=True, path=path)
    assert foreseen["changed"] is True
    assert foreseen["public_key"] is None
    assert not path.parent.exists()
    made = doors.run(MODULE, path=path)
    assert doors.run(MODULE, check=True, path=path) == {**made, "changed": False}


def test_a_key_is_encrypted_by_its_passphrase_which_is_never_shown(tmp_path):
    path = tmp_path / "builder.pem"
    made = doors.run(MODULE, path=path, passphrase="correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert made["public_key"] == doors.run(MODULE, path=path, passphrase="correct horse")["public_key"]
    refused = doors.run(MODULE, path=path, passphrase="battery staple")
    assert refused["reason"] == "key_invalid"
    assert "battery" not in str(refused)


def test_an_exposed_key_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "builder.pem"
    doors.run(MODULE, path=path)
    path.chmod(0o644)
    refused = doors.run(MODULE, path=path)
    assert refused["failed"] is True
    assert refused["reason"] == "key_exposed"
    assert refused["msg"].startswith("key_exposed: expected ")
    assert doors.undocumented(MODULE, refused) == set()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
