# SPDX-License-Identifier: GPL-3.0-or-later
"""Release manifests: exactly the in-toto Statement that we say they are."""

from __future__ import annotations

import hashlib
import json

import pytest
import signed
from ansible.module_utils.slipway import canonical, manifest
from ansible.module_utils.slipway.errors import Refusal
from ansible.module_utils.slipway.members import Member


def document():
    return json.loads(signed.manifest_payload())


def reason(value):
    with pytest.raises(Refusal) as refusal:
        manifest.ReleaseManifest.parse(canonical.encode(value))
    return refusal.value.reason


def test_a_manifest_says_what_it_was_made_of():
    members = (Member("config.json", format="json", version_key="version", schema={"type": "object"}), Member("x"))
    source = {"kind": "archive", "name": "hello.tar.gz", "git_commit": "c" * 40}
    payload = signed.manifest_payload(members=members, source=source)
    read = manifest.ReleaseManifest.parse(payload)
    assert (read.application, read.version, read.release_id) == ("hello", "1.2.3", "v1.2.3")
    assert (read.sequence, read.created) == (signed.NOW, "2026-11-18T11:06:40Z")
    assert read.members == members
    assert read.source == source
    assert read.limits == manifest.Limits(files=1, bytes=5)
    assert (read.tree_digest, read.tree_size, read.bundle_digest) == ("a" * 64, 100, "b" * 64)
    assert read.digest == hashlib.sha256(payload).hexdigest()
    assert read.predicate == json.loads(payload)["predicate"]
    assert read.keyids == ()


def test_a_manifest_that_is_not_canonical_is_refused():
    with pytest.raises(Refusal, match="json_not_canonical"):
        manifest.ReleaseManifest.parse(json.dumps(document()).encode())


def bent(*path, value):
    """The manifest's document with one member set to `value`."""
    whole = document()
    place = whole
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return whole


def lacking(*path):
    whole = document()
    place = whole
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    return whole


MEMBER = {"path": "a", "required": True, "format": "none"}
SUBJECTS = document()["subject"]
MALFORMED = {
    "an array": [document()],
    "null": None,
    "another statement type": bent("_type", value="https://in-toto.io/Statement/v0.1"),
    "no statement type": lacking("_type"),
    "another predicate type": bent("predicateType", value="https://slipway.dev/approval/v1"),
    "a predicate type in capitals": bent("predicateType", value=manifest.RELEASE_MANIFEST_TYPE.upper()),
    "an unknown member": bent("comment", value=""),
    "an unknown predicate member": bent("predicate", "skip_verification", value=True),
    "no subject": bent("subject", value=[]),
    "one subject": bent("subject", value=SUBJECTS[:1]),
    "the subjects exchanged": bent("subject", value=SUBJECTS[::-1]),
    "three subjects": bent("subject", value=[*SUBJECTS, SUBJECTS[0]]),
    "the same subject twice": bent("subject", value=[SUBJECTS[0]] * 2),
    "a subject with an unknown member": bent("subject", 0, "uri", value="x"),
    "a truncated digest": bent("subject", 0, "digest", "sha256", value="b" * 63),
    "an upper-case digest": bent("subject", 0, "digest", "sha256", value="B" * 64),
    "an empty digest": bent("subject", 0, "digest", "sha256", value=""),
    "only md5": bent("subject", 0, "digest", value={"md5": "b" * 32}),
    "only sha1": bent("subject", 0, "digest", value={"sha1": "b" * 40}),
    "sha512 beside sha256": bent("subject", 0, "digest", "sha512", value="b" * 128),
    "a predicate that is an array": bent("predicate", value=[]),
    "no application": lacking("predicate", "application"),
    "an application with a slash": bent("predicate", "application", value="a/b"),
    "a release id with two dots": bent("predicate", "release_id", value="v1..2"),
    "a release id with a slash": bent("predicate", "release_id", value="../v1"),
    "a version with a space": bent("predicate", "version", value="1 2"),
    "a negative sequence": bent("predicate", "sequence", value=-1),
    "a sequence that is not created": bent("predicate", "sequence", value=signed.NOW + 1),
    "a sequence beyond all time": bent("predicate", "sequence", value=253402300800),
    "a time with fractions": bent("predicate", "created", value="2026-11-18T11:06:40.0Z"),
    "an expiry before its creation": bent("predicate", "expires", value="2026-11-18T11:06:40Z"),
    "a builder with capitals": bent("predicate", "builder", value="CI"),
    "a source of another kind": bent("predicate", "source", "kind", value="url"),
    "a source with an unknown member": bent("predicate", "source", "branch", value="main"),
    "a commit that is none": bent("predicate", "source", "git_commit", value="main"),
    "limits without files": lacking("predicate", "limits", "files"),
    "limits with an unknown member": bent("predicate", "limits", "entries", value=1),
    "a file list of a gigabyte": bent("predicate", "limits", "tree_bytes", value=1 << 30),
    "members that are an object": bent("predicate", "members", value={}),
    "a member that is a string": bent("predicate", "members", value=["a"]),
    "a member without a format": bent("predicate", "members", value=[{"path": "a", "required": True}]),
    "a member of an unknown format": bent("predicate", "members", value=[{**MEMBER, "format": "ini"}]),
    "a member with an unknown member": bent("predicate", "members", value=[{**MEMBER, "mode": 1}]),
    "a member with a schema and no format": bent("predicate", "members", value=[{**MEMBER, "schema": {}}]),
    "a member with a schema that is none": bent(
        "predicate", "members", value=[{**MEMBER, "format": "json", "schema": True}]
    ),
    "the same member twice": bent("predicate", "members", value=[MEMBER, MEMBER]),
    "migrations, which nobody would run": bent("predicate", "migrations", value=[{"name": "drop"}]),
    "hooks, which nobody would run": bent("predicate", "hooks", value={"before": ["rm"]}),
    "no hooks": lacking("predicate", "hooks"),
}


@pytest.mark.parametrize("value", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_manifest_is_refused(value):
    assert reason(value) == "manifest_malformed"


def test_nothing_that_would_be_refused_is_built():
    with pytest.raises(Refusal, match="manifest_malformed"):
        signed.manifest_payload(release_id="v1..2")


@pytest.mark.parametrize("ahead", [-signed.DAY, 0, 300])
def test_a_manifest_may_be_up_to_300_seconds_ahead(ahead):
    read = manifest.ReleaseManifest.parse(signed.manifest_payload())
    assert manifest.require_not_from_future(read, read.sequence - ahead) is None


def test_a_manifest_from_the_future_is_refused():
    read = manifest.ReleaseManifest.parse(signed.manifest_payload())
    with pytest.raises(Refusal, match="manifest_from_future"):
        manifest.require_not_from_future(read, read.sequence - 301)
