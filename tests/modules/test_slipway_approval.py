# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to giving an approval or a rollback authorization."""

from __future__ import annotations

import json

import doors
import pytest
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.approval import open_approval
from ansible.module_utils.slipway.trust.authorization import open_authorization
from ansible.module_utils.slipway.trust.keys import PublicKey
from offices import Office

MODULE = "slipway_approval"
HOST = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"


def everything_below(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_an_approval_goes_into_the_catalogue(office):
    given = office.approve()
    manifest = Catalogue(office.catalogue).manifest("shop", "v1")
    (envelope,) = Catalogue(office.catalogue).approvals("shop", manifest.digest)
    signed, approval = open_approval(envelope)
    assert dsse.signers(signed, [PublicKey.from_hex(office.public_keys["lead"])])
    assert (approval.holder, approval.expires, approval.manifest_digest) == (
        given["holder"], given["expires"], given["manifest_digest"],
    )  # fmt: skip
    assert given["changed"] is True
    assert given["path"].startswith(f"{office.catalogue}/shop/approvals/{manifest.digest}/prod.engineering-lead.lead.")
    assert doors.undocumented(MODULE, given) == set()


def test_check_mode_says_what_would_be_signed_and_signs_nothing(office):
    before = everything_below(office.directory)
    seen = office.approve(check=True, holders={"lead": {"name": "Ann Lee", "email": "ann@example.org"}})
    assert "Ann Lee <ann@example.org>, engineering-lead" in seen["words"]
    assert seen["manifest_digest"] in seen["words"]
    assert (seen["changed"], seen["path"]) == (True, None)
    assert everything_below(office.directory) == before
    given = office.approve(manifest_digest=seen["manifest_digest"])
    assert given["manifest_digest"] == seen["manifest_digest"]
    assert b"ann@example.org" not in b"".join(everything_below(office.directory).values())


def test_what_was_not_seen_is_not_signed(office):
    before = everything_below(office.directory)
    assert office.approve(manifest_digest="0" * 64)["reason"] == "manifest_not_seen"
    assert everything_below(office.directory) == before


def test_the_manifest_the_policy_and_a_key_are_enough(office, tmp_path):
    """On the approver's own machine there is no catalogue, no other key and no host."""
    elsewhere = tmp_path / "laptop"
    elsewhere.mkdir()
    for name, path in (("manifest", office.manifest), ("policy", office.policy), ("lead.pem", office.key("lead"))):
        path.rename(elsewhere / name)
    output = elsewhere / "to-send.json"
    given = office.approve(
        catalogue=None, application=None, manifest=elsewhere / "manifest", trust_policy=elsewhere / "policy",
        key=elsewhere / "lead.pem", output=output,
    )  # fmt: skip
    assert given["path"] == str(output)
    assert open_approval(output.read_bytes())[1].manifest_digest == given["manifest_digest"]
    assert office.approve(catalogue=None, application=None, manifest=elsewhere / "manifest", trust_policy=elsewhere / "policy",
                          key=elsewhere / "lead.pem", output=output)["reason"] == "output_exists"  # fmt: skip
    assert "output" in office.approve(catalogue=None, manifest=elsewhere / "manifest")["msg"]
    assert office.approve(
        catalogue=None, manifest=elsewhere / "manifest", trust_policy=elsewhere / "policy", release_id="v2", output=elsewhere / "x"
    )["reason"] == "release_not_meant"  # fmt: skip


def test_an_encrypted_key_is_opened_by_its_passphrase_which_is_never_shown(tmp_path):
    office = Office(tmp_path)
    made = doors.run("slipway_keypair", path=tmp_path / "locked.pem", passphrase="correct horse")
    office.establish(lead=made["public_key"])
    office.build()
    given = office.approve(key=tmp_path / "locked.pem", passphrase="correct horse")
    assert given["holder"] == "lead"
    assert "correct horse" not in json.dumps(given)
    for wrong in ("battery staple", None):
        assert office.approve(key=tmp_path / "locked.pem", passphrase=wrong)["reason"] == "key_invalid"


def test_a_key_of_the_agent_signs_what_a_key_in_a_file_would(tmp_path, agent):
    office = Office(tmp_path)
    public = agent.add("lead")
    agent.add("another")
    office.establish(lead=public.hex)
    office.build()
    given = office.approve(key="agent")  # the one that the policy knows
    manifest = Catalogue(office.catalogue).manifest("shop", "v1")
    (envelope,) = Catalogue(office.catalogue).approvals("shop", manifest.digest)
    assert dsse.signers(open_approval(envelope)[0], [public]) == {public}
    assert given["holder"] == "lead"
    assert office.approve(key="agent:another")["reason"] == "key_unknown"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"role": "risk-manager"}, "key_unknown"),
        ({"role": "builder"}, "approval_not_asked"),
        ({"environment": "staging"}, "approval_not_asked"),
        ({"environment": "production"}, "environment_unknown"),
        ({"release_id": "v9"}, "release_unknown"),
        ({"valid_hours": 169}, "approval_validity"),
        ({"valid_hours": 0}, "approval_validity"),
        ({"hosts": ["prod-1"]}, "authorization_host_unknown"),
        ({"trust_policy": "/nonexistent"}, "trust_policy_missing"),
        ({"holders": {"lead": "Ann"}}, "holders_invalid"),
    ],
)
def test_what_hosts_would_not_count_is_refused_and_nothing_is_kept(office, options, reason):
    before = everything_below(office.directory)
    refused = office.approve(**options)
    assert refused["reason"] == reason
    assert doors.undocumented(MODULE, refused) == set()
    assert everything_below(office.directory) == before


def test_hosts_make_it_a_rollback_authorization(office, tmp_path):
    status = tmp_path / "status.json"
    status.write_text(json.dumps({"prod-1": {"host": {"id": HOST, "name": "prod-1", "environment": "prod"}}}))
    given = office.approve(hosts=["prod-1"], status=status, valid_hours=2)
    assert f"prod-1 ({HOST})" in given["words"]
    (envelope,) = Catalogue(office.catalogue).authorizations("shop", given["manifest_digest"])
    assert open_authorization(envelope)[1].hosts == (HOST,)
    assert given["path"].startswith(f"{office.catalogue}/shop/authorizations/")
    assert office.approve("risk", hosts=[HOST])["reason"] == "approval_not_asked"
