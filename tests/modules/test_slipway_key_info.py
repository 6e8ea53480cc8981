# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to a key that signs."""

from __future__ import annotations

import doors

MODULE = "slipway_key_info"


def test_a_key_in_a_file_is_told(tmp_path):
    made = doors.run("slipway_keypair", path=tmp_path / "lead.pem")
    told = doors.run(MODULE, key=tmp_path / "lead.pem")
    assert (told["public_key"], told["keyid"], told["encrypted"]) == (made["public_key"], made["keyid"], False)
    assert doors.run(MODULE, key=tmp_path / "lead.pem", check=True, passphrase="needless") == told
    assert doors.undocumented(MODULE, told) == set()


def test_an_encrypted_key_needs_its_passphrase(tmp_path):
    made = doors.run("slipway_keypair", path=tmp_path / "lead.pem", passphrase="correct horse")
    locked = doors.run(MODULE, key=tmp_path / "lead.pem")
    assert (locked["encrypted"], locked["public_key"], locked["keyid"]) == (True, None, None)
    told = doors.run(MODULE, key=tmp_path / "lead.pem", passphrase="correct horse")
    assert told["public_key"] == made["public_key"]
    assert "correct horse" not in str(told)
    assert doors.run(MODULE, key=tmp_path / "lead.pem", passphrase="wrong")["reason"] == "key_invalid"


def test_a_key_of_an_agent_is_told(agent):
    public = agent.add("lead")
    for where in ("agent", "agent:lead"):
        told = doors.run(MODULE, key=where)
        assert (told["key"], told["public_key"], told["encrypted"]) == (where, public.hex, False)


def test_no_key_is_refused(tmp_path):
    assert doors.run(MODULE, key=tmp_path / "none.pem")["reason"] == "key_invalid"
