# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to approvals that were sent."""

from __future__ import annotations

import base64
import json

import doors
import pytest
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.trust.verify import parse_manifest
from offices import Office

MODULE = "slipway_approval_file"
HOST = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"


@pytest.fixture
def sent(office, tmp_path):
    """An approval of the lead that is not in the catalogue."""
    assert not office.approve(output=tmp_path / "sent.json").get("failed")
    return tmp_path / "sent.json"


def taken(office, path, **options):
    return doors.run(MODULE, path=path, catalogue=office.catalogue, trust_policy=office.policy, **options)


def kept(office):
    digest = parse_manifest(office.manifest.read_bytes()).digest
    return Catalogue(office.catalogue).approvals("shop", digest)


def test_an_approval_is_taken_in_once(office, sent):
    foreseen = taken(office, sent, check=True)
    assert foreseen["changed"] is True
    assert kept(office) == []
    first = taken(office, sent)
    assert {**first, **foreseen} == first  # Ansible adds what it knows of the file
    assert kept(office) == [sent.read_bytes()]
    assert taken(office, sent) == {**first, "changed": False}
    assert (first["kind"], first["application"], first["release_id"]) == ("approval", "shop", "v1")
    assert (first["environment"], first["role"], first["holder"]) == ("prod", "engineering-lead", "lead")
    assert doors.undocumented(MODULE, first) == set()


def test_a_rollback_authorization_is_taken_in_too(office, tmp_path):
    path = tmp_path / "sent.json"
    office.approve(hosts=[HOST], output=path)
    first = taken(office, path)
    assert first["kind"] == "rollback authorization"
    digest = parse_manifest(office.manifest.read_bytes()).digest
    assert Catalogue(office.catalogue).authorizations("shop", digest) == [path.read_bytes()]


def test_a_changed_byte_is_refused(office, sent):
    envelope = json.loads(sent.read_bytes())
    payload = base64.b64decode(envelope["payload"]).replace(b'"prod"', b'"prox"')
    sent.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    assert taken(office, sent)["failed"]
    assert kept(office) == []


def test_the_signature_of_somebody_else_is_refused(office, sent, tmp_path):
    office.approve("risk", output=tmp_path / "other.json")
    mixed = {
        **json.loads(sent.read_bytes()),
        "signatures": json.loads((tmp_path / "other.json").read_bytes())["signatures"],
    }
    sent.write_text(json.dumps(mixed))
    assert taken(office, sent)["reason"] == "signature_unknown"


def test_an_approval_by_another_policy_s_keys_is_refused(office, tmp_path):
    other, sent = Office(tmp_path / "other"), tmp_path / "sent.json"
    other.directory.mkdir()
    other.establish(ci=office.public_keys["ci"])
    office.build("v2")  # after the other policy, which would refuse its builder's key for anything older
    office.approve(release_id="v2", output=sent)
    refused = doors.run(MODULE, path=sent, catalogue=office.catalogue, trust_policy=other.policy)
    assert refused["reason"] == "signature_unknown"
    assert doors.undocumented(MODULE, refused) == set()


def test_an_approval_of_a_release_that_is_not_here_is_refused(office, sent):
    office.build("v2")
    office.manifest.unlink()
    (office.manifest.parent / "v0.dsse.json").write_text("damaged")
    assert taken(office, sent)["reason"] == "approval_of_unknown_release"


def test_a_file_of_another_kind_is_refused(office, tmp_path):
    assert taken(office, office.manifest)["reason"] == "approval_expected"
    assert taken(office, office.policy)["reason"] == "envelope_payload_type"
    (tmp_path / "empty").touch()
    assert taken(office, tmp_path / "empty")["reason"] == "json_invalid"
    assert taken(office, tmp_path / "none")["failed"]
