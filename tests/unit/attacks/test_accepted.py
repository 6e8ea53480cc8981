# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be accepted: strictness that refuses these would be taken for a reason to switch it off."""

from __future__ import annotations

import base64
import json
import os

import pytest
import signed
from ansible.module_utils.slipway.trust import rotation, tree, verify
from ansible.module_utils.slipway.trust.tree import Entry, FileList
from attacks import MANIFEST, bent, judge, members
from lines import asked
from releases import V1, V2

OWNER = os.getuid()
BUILDER = (signed.keyid(signed.BUILDER_KEY),)
SIGNATURE = members()["signatures"][0]
NAMES = {"zażółć.txt": b"1", "日本/ü": b"2", "\U0001f600": b"3"}


def url_safe(_):
    payload = signed.manifest_payload(source={"kind": "directory", "name": "a?>~ü" * 20})
    whole = json.loads(signed.sign(payload))
    whole["payload"] = base64.urlsafe_b64encode(payload).decode()
    assert {"-", "_"} & set(whole["payload"])
    assert judge(json.dumps(whole).encode()).keyids == BUILDER


def unknown_members(_):
    signatures = [{**SIGNATURE, "cert": "none"}]
    assert judge(bent(comment="built on a Monday", signatures=signatures)) == judge(bent())


def extra(_):
    envelope = signed.sign(MANIFEST, signed.OTHER_KEY, signed.BUILDER_KEY, signed.private_key(8))
    assert judge(envelope).keyids == BUILDER


def wrong_hint(_):
    assert judge(bent(signatures=[{**SIGNATURE, "keyid": "0" * 64}])).keyids == BUILDER


def missing_hint(_):
    assert judge(bent(signatures=[{"sig": SIGNATURE["sig"]}])).keyids == BUILDER


def bad_first(_):
    bad = {**SIGNATURE, "sig": base64.b64encode(bytes(64)).decode()}
    assert judge(bent(signatures=[bad, SIGNATURE])).keyids == BUILDER


def empties(place):
    release = signed.release(place / "r", {"empty/": b"", "a/b/": b"", "zero": b""})
    verify.verify_tree(release.file_list, release.directory, owner=OWNER)


def many(_):
    whole = FileList(tuple(Entry(f"f{number:06}", "file", 0o644, number, "a" * 64) for number in range(200_000)))
    assert len(FileList.parse(whole.encode(), digest=whole.digest).files) == 200_000


def names(place):
    release = signed.release(place / "r", NAMES)
    listed = verify.verify_file_list(judge(release.envelope), release.file_list.encode())
    verify.verify_tree(listed, release.directory, owner=OWNER)
    assert set(NAMES) <= {entry.path for entry in tree.scan(release.directory).entries}


def rotated(_):
    """A new root, signed by the old one and by itself; what was signed before stays valid."""
    document = signed.policy_document(version=2)
    document["keys"][signed.keyid(signed.OTHER_KEY)] = signed.key_entry(signed.OTHER_KEY, "deputy")
    document["roles"]["root"] = {"keyids": [signed.keyid(signed.OTHER_KEY)], "threshold": 1}
    envelope = signed.policy_envelope(document, signed.ROOT_KEY, signed.OTHER_KEY)
    assert judge(signed.sign(MANIFEST), rotation.rotate(signed.trust_policy(), envelope, signed.NOW)) == judge(bent())


BY_BYTES = {
    "URL-safe base64": url_safe,
    "unknown envelope members": unknown_members,
    "an extra signature by an unknown key": extra,
    "a wrong key id hint": wrong_hint,
    "a missing key id hint": missing_hint,
    "a bad signature before the good one": bad_first,
    "empty files and directories": empties,
    "200,000 files": many,
    "non-ASCII NFC names": names,
    "key rotation N -> N + 1": rotated,
}


@pytest.mark.parametrize("line", BY_BYTES)
def test_what_is_right_is_accepted(line, tmp_path):
    BY_BYTES[line](tmp_path)


def back_after_expiry(site):
    """Manifest, policy and keys have ended years ago; the way back has not."""
    site.host.clock.advance(5 * 365 * signed.DAY)
    assert site.activate("v2")["reason"] == "policy_expired"
    asked(site.rollback("v1", run=site.run("run-9")))
    assert site.current == "v1"


ON_A_HOST = {"going back after expiry": back_after_expiry}


@pytest.mark.parametrize("line", ON_A_HOST)
def test_a_host_accepts_it(line, site):
    for release, files in (("v1", V1), ("v2", V2)):
        site.build(release, files)
        site.deploy(release, f"run-{release}")
    ON_A_HOST[line](site)


GOOD = {**BY_BYTES, **ON_A_HOST}
