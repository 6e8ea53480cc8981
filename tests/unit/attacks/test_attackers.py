# SPDX-License-Identifier: GPL-3.0-or-later
"""The attackers of docs/threat-model.md: each tries what it must not be able to do."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host import pack
from ansible.module_utils.slipway.trust import rotation
from attacks import MANIFEST, NOW, judge
from packs import member, packed
from releases import V1, V2, V3, snapshot

UID = 12345


def refused(answer, *reasons):
    assert (answer.get("failed"), answer.get("changed")) == (True, False), answer
    assert answer["reason"] in reasons, answer


@pytest.fixture
def two(site):
    """v1 was active, v2 is, and v3 stands signed in the catalogue."""
    for release, files in (("v1", V1), ("v2", V2)):
        site.build(release, files)
        site.deploy(release, f"run-{release}")
    site.build("v3", V3)
    return site


# --- the artifact store, a mirror, who sits between


def repacked(site, release_id, change):
    """A pack of the release after the mirror changed its bytes."""
    path = Path(site.pack(release_id, site.objects(release_id)))
    path.write_bytes(change(path.read_bytes()))
    return str(path)


def test_a_mirror_cannot_bring_other_bytes(two):
    manifest, sound = two.catalogue.manifest_path("shop", "v3").read_bytes(), V3["bin/shop!"]
    documents = member(pack.MANIFEST, manifest) + member(pack.FILE_LIST, two.made("v3").encode())
    other = member(hashlib.sha256(sound).hexdigest(), sound.upper())
    forged = repacked(two, "v3", lambda _: packed(documents, other))
    refused(two.ask("stage", release_id="v3", pack=forged), "object_altered")
    assert two.store.release_ids() == ["v1", "v2"]


def test_a_mirror_cannot_bring_another_manifest_or_list(two):
    two.host.clock.advance(10)
    manifest = (two.catalogue.manifest_path("shop", "v3")).read_bytes()
    listed = two.made("v3").encode()
    for documents in (
        member(pack.MANIFEST, signed.sign(MANIFEST, signed.OTHER_KEY)) + member(pack.FILE_LIST, listed),
        member(pack.MANIFEST, manifest) + member(pack.FILE_LIST, two.made("v1").encode()),
    ):
        forged = repacked(two, "v3", lambda _, forged=documents: packed(forged))
        refused(two.ask("stage", release_id="v3", pack=forged), "signature_unknown", "file_list_altered")


def test_a_mirror_cannot_fill_the_disk(two):
    """What no list names is read past, what is longer than listed is refused before a byte of it is written."""
    before = snapshot(two.places.base)
    documents = member(pack.MANIFEST, two.catalogue.manifest_path("shop", "v3").read_bytes()) + member(
        pack.FILE_LIST, two.made("v3").encode()
    )
    wanted = sorted(two.objects("v3") - two.objects("v2"))
    stranger, inflated = member("0" * 64, bytes(1 << 22)), member(wanted[0], bytes(1 << 22))
    for extra, expected in ((stranger, None), (inflated, "object_altered")):
        answer = two.ask(
            "stage", release_id="v3", pack=repacked(two, "v3", lambda _, more=extra: packed(documents, more))
        )
        assert answer.get("reason") == expected
        assert not answer["changed"]
    grown = {path: status for path, status in snapshot(two.places.base).items() if path not in before}
    assert [path for path in grown if Path(path).is_file()] == []


# --- a stolen builder's key, and more than that


def test_a_builder_key_alone_deploys_nothing_where_approvals_are_asked_for(two):
    asked = signed.environment(require=[{"role": "risk_manager", "threshold": 1}])
    document = signed.policy_document(environments={"prod": asked, "staging": signed.environment()})
    (two.host.configuration / "trust-policy.dsse.json").write_bytes(signed.policy_envelope(document))
    refused(two.stage("v3"), "approval_missing")
    refused(two.activate("v2", run=two.run("run-9")), "approval_missing")
    assert two.current == "v2"


def test_a_stolen_builder_key_does_not_survive_a_rotation():
    document = signed.policy_document(version=2)
    document["revoked"]["keys"] = [signed.keyid(signed.BUILDER_KEY)]
    rotated = rotation.rotate(signed.trust_policy(), signed.policy_envelope(document), NOW)
    with pytest.raises(Refusal, match="key_revoked"):
        judge(signed.sign(MANIFEST), rotated)


def test_a_builder_and_all_approvers_cannot_sign_a_policy():
    document = signed.policy_document(version=2)
    thieves = (signed.BUILDER_KEY, signed.LEAD_KEY, signed.RISK_KEY)
    with pytest.raises(Refusal, match="signature_unknown"):
        rotation.rotate(signed.trust_policy(), signed.policy_envelope(document, *thieves), NOW)


# --- the application's user on a host


@contextmanager
def as_the_application():
    os.setegid(UID)
    os.seteuid(UID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_the_applications_user_writes_to_nothing_that_decides(two):
    two.directory.chmod(0o755)
    two.stage("v3")
    places = (two.places.base, two.places.state, two.host.configuration)
    found = [path for place in places for path in (place, *place.rglob("*")) if not path.is_symlink()]
    assert len(found) > 30
    mine = {two.places.shared, *two.places.shared.rglob("*")}
    with as_the_application():
        writable = [path for path in found if os.access(path, os.W_OK, effective_ids=True)]
        with pytest.raises(PermissionError):
            (two.release("v2") / "config.json").write_bytes(b"{}")
        with pytest.raises(PermissionError):
            (two.places.base / "current").unlink()
    assert set(writable) <= mine


# --- whoever runs the controller

SOFTENING = {
    "verify": False, "skip_verification": True, "require_approvals": False, "approvals_required": 0, "trust": "none",
    "trust_policy": signed.policy_envelope(signed.policy_document(version=9), signed.ROOT_KEY).decode(), "policy": {}, "force": True,
    "now": 0, "clock": 0, "uid": UID,
}  # fmt: skip


@pytest.mark.parametrize("name", SOFTENING)
def test_no_request_switches_verification_off(two, name):
    envelope = two.catalogue.manifest_path("shop", "v3").read_bytes()
    documents = member(pack.MANIFEST, signed.sign(_payload_of(envelope), signed.OTHER_KEY)) + member(
        pack.FILE_LIST, two.made("v3").encode()
    )
    objects = b"".join(
        member(sha256, two.catalogue.object_path("shop", sha256).read_bytes()) for sha256 in sorted(two.objects("v3"))
    )
    forged = repacked(two, "v3", lambda _: packed(documents, objects))
    answer = two.ask("stage", release_id="v3", pack=forged, **{name: SOFTENING[name]})
    assert answer.get("failed"), answer
    assert two.store.release_ids() == ["v1", "v2"]


def _payload_of(envelope):
    return base64.b64decode(json.loads(envelope)["payload"])


@pytest.mark.parametrize("exchange", ["stage", "activate", "rollback"])
def test_no_request_chooses_the_environment(two, exchange):
    two.stage("v3", run=two.run("run-3"))
    two.recover()
    release = "v1" if exchange == "rollback" else "v3"
    refused(getattr(two, exchange)(release, environment="staging"), "environment_mismatch")
    assert two.current == "v2"


# --- an edit of the history, by root on the host


def test_an_edit_of_the_history_is_found_by_the_next_exchange(two):
    lines = two.places.history.read_bytes().splitlines(keepends=True)
    forged = canonical.parse_canonical(lines[0].strip(), what="a record") | {"deployed_by": "somebody"}
    two.places.history.write_bytes(canonical.encode(forged) + b"\n" + b"".join(lines[1:]))
    refused(two.activate("v3"), "history_altered", "release_not_staged", "release_unknown")
    assert two.inspect()["reason"] == "history_altered"
