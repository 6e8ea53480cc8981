# SPDX-License-Identifier: GPL-3.0-or-later
"""Release manifests: exactly the in-toto Statement that we say they are."""

from __future__ import annotations

import hashlib
import json

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import manifest
from ansible.module_utils.slipway.trust.lifecycle import Hooks
from ansible.module_utils.slipway.trust.members import Member
from ansible.module_utils.slipway.trust.promotion import Promotion


def document():
    return json.loads(
        signed.manifest_payload(promotion=signed.PROMOTION, hooks=signed.HOOKS, migrations=signed.MIGRATIONS)
    )


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
    assert read.promotion == Promotion()


def test_a_manifest_says_how_it_was_promoted():
    read = manifest.ReleaseManifest.parse(signed.manifest_payload(promotion=signed.PROMOTION))
    assert read.promotion == signed.PROMOTION


def test_a_manifest_says_what_is_run_on_hosts():
    read = manifest.ReleaseManifest.parse(canonical.encode(document()))
    assert (read.hooks, read.migrations) == (signed.HOOKS, signed.MIGRATIONS)


def test_a_manifest_of_before_hooks_is_still_read():
    whole = document()
    whole["predicate"] |= {"hooks": {}, "migrations": []}
    read = manifest.ReleaseManifest.parse(canonical.encode(whole))
    assert (read.hooks, read.migrations) == (Hooks(), ())


def test_a_manifest_of_before_promotions_is_still_read():
    whole = document()
    for name in signed.PROMOTION.as_dict():
        del whole["predicate"][name]
    assert manifest.ReleaseManifest.parse(canonical.encode(whole)).promotion == Promotion()


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
PROMOTION = document()["predicate"]
STEP = ("rollback_plan", "verification_steps", 0)
HOOK = ("hooks", "before_switch", 0)
MIGRATION = ("migrations", 0)
LONG_HOOK = {"argv": ["x" * 1000] * 2}
SLOW_HOOK = {"argv": ["true"], "timeout_seconds": 31}
MALFORMED = {
    "an array": [document()],
    "null": None,
    "no statement type": lacking("_type"),
    "an unknown member": bent("comment", value=""),
    "an unknown predicate member": bent("predicate", "skip_verification", value=True),
    "the subjects exchanged": bent("subject", value=SUBJECTS[::-1]),
    "the same subject twice": bent("subject", value=[SUBJECTS[0]] * 2),
    "a subject with an unknown member": bent("subject", 0, "uri", value="x"),
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
    "no hooks": lacking("predicate", "hooks"),
    "hooks that are an array": bent("predicate", "hooks", value=[]),
    "hooks of an unknown moment": bent("predicate", "hooks", "after_boot", value=[]),
    "hooks of a moment that hosts do not have": bent("predicate", "hooks", "before_stage", value=[]),
    "a hook that is a string": bent("predicate", "hooks", "after_switch", value=["bin/warm"]),
    "a hook without words": bent("predicate", *HOOK, "argv", value=[]),
    "a hook with a shell": bent("predicate", *HOOK, "shell", value=True),
    "a hook with no time": bent("predicate", *HOOK, "timeout_seconds", value=0),
    "a hook of more than an hour": bent("predicate", *HOOK, "timeout_seconds", value=3601),
    "too many hooks": bent("predicate", "hooks", "after_switch", value=[{"argv": ["true"]}] * 21),
    "hooks that hold up a way back": bent("predicate", "hooks", "before_rollback", value=[SLOW_HOOK] * 2),
    "hooks of many words": bent("predicate", "hooks", "after_switch", value=[LONG_HOOK] * 20),
    "no migrations": lacking("predicate", "migrations"),
    "migrations that are an object": bent("predicate", "migrations", value={}),
    "a migration without a name": lacking("predicate", *MIGRATION, "name"),
    "a migration with a slash in its name": bent("predicate", *MIGRATION, "name", value="a/b"),
    "a migration without a command": lacking("predicate", *MIGRATION, "argv"),
    "a migration that is a shell line": bent("predicate", *MIGRATION, "argv", value="bin/migrate up"),
    "a migration that says not whether it is reversible": lacking("predicate", *MIGRATION, "reversible"),
    "a migration that is reversible perhaps": bent("predicate", *MIGRATION, "reversible", value="yes"),
    "a reversible migration without a way back": lacking("predicate", *MIGRATION, "back"),
    "an irreversible migration with a way back": bent("predicate", *MIGRATION, "reversible", value=False),
    "a way back without words": bent("predicate", *MIGRATION, "back", value=[]),
    "a migration with no time": bent("predicate", *MIGRATION, "timeout_seconds", value=0),
    "a migration of more than a day": bent("predicate", *MIGRATION, "timeout_seconds", value=86401),
    "a migration with an unknown member": bent("predicate", *MIGRATION, "user", value="root"),
    "the same migration twice": bent("predicate", "migrations", value=[PROMOTION["migrations"][0]] * 2),
    "a member of a kind in capitals": bent("predicate", "members", value=[{**MEMBER, "kind": "Models"}]),
    "a release of another type": bent("predicate", "release_type", value="patch"),
    "an audit without its digest": lacking("predicate", "audit", "sha256"),
    "an audit with an unknown member": bent("predicate", "audit", "by", value="me"),
    "an audit with a path for a name": bent("predicate", "audit", "name", value="release/audit_1"),
    "an audit whose validation failed": bent("predicate", "audit", "validation_result", value="failed"),
    "an audit with a validation without digest": bent("predicate", "audit", "validation_sha256", value=""),
    "artifacts that are an object": bent("predicate", "artifacts", value={"configs": []}),
    "an artifact without a kind": lacking("predicate", "artifacts", 0, "kind"),
    "an artifact with a short digest": bent("predicate", "artifacts", 0, "sha256", value="abc"),
    "an artifact with an unknown member": bent("predicate", "artifacts", 0, "backup", value="x"),
    "an artifact with a version that is none": bent("predicate", "artifacts", 0, "version", value="1 2"),
    "the same artifact twice": bent("predicate", "artifacts", value=[PROMOTION["artifacts"][0]] * 2),
    "a rollback plan without steps": lacking("predicate", "rollback_plan", "verification_steps"),
    "a rollback plan with commands to restore": bent("predicate", "rollback_plan", "restore_commands", value=["cp"]),
    "a step that is a string": bent("predicate", "rollback_plan", "verification_steps", value=["make test"]),
    "a step without words": bent("predicate", *STEP, "argv", value=[]),
    "a step without a program": bent("predicate", *STEP, "argv", value=["", "x"]),
    "a step whose program is a number": bent("predicate", *STEP, "argv", value=[1]),
    "a step with a line break": bent("predicate", *STEP, "argv", value=["sh", "a\nb"]),
    "a step with a line break in its program": bent("predicate", *STEP, "argv", value=["s\nh"]),
    "a step with too many words": bent("predicate", *STEP, "argv", value=["x"] * 101),
    "a step with no time": bent("predicate", *STEP, "timeout_seconds", value=0),
    "a step with a shell": bent("predicate", *STEP, "shell", value=True),
    "too many steps": bent("predicate", "rollback_plan", "verification_steps", value=[{"argv": ["true"]}] * 21),
    "a watch that never ends": bent("predicate", "monitoring", "heightened_period_hours", value=8761),
    "a watch without pauses": bent("predicate", "monitoring", "alert_frequency_hours", value=0),
    "a watch with an unknown member": bent("predicate", "monitoring", "heightened_start", value="now"),
    "a threshold that is a number": bent("predicate", "monitoring", "alert_thresholds", "hit_ratio_drop", value=1),
    "a threshold that is no decimal": bent("predicate", "monitoring", "alert_thresholds", "x", value="1e3"),
    "a threshold with a bad name": bent("predicate", "monitoring", "alert_thresholds", "A b", value="1"),
    "thresholds that are an array": bent("predicate", "monitoring", "alert_thresholds", value=[]),
    "a review that is a string": bent("predicate", "monitoring", "review", value="logs"),
    "the same review twice": bent("predicate", "monitoring", "review", value=["logs", "logs"]),
    "a ticket on two lines": bent("predicate", "metadata", "tickets", value=["A-1\nA-2"]),
    "a ticket that is a number": bent("predicate", "metadata", "tickets", value=[1]),
    "a branch that is null": bent("predicate", "metadata", "git_branch", value=None),
    "metadata with an unknown member": bent("predicate", "metadata", "jira", value="x"),
    "a database of another tool": bent("predicate", "database", "tool", value="flyway"),
    "a database without a head": lacking("predicate", "database", "head"),
    "a database without revisions": bent("predicate", "database", "revisions", value=[]),
    "a database whose head is not the last revision": bent("predicate", "database", "head", value="a1"),
    "the same revision twice": bent("predicate", "database", "revisions", value=["b2", "b2"]),
    "a revision with a dash": bent("predicate", "database", "revisions", value=["a-1", "b2"]),
    "a database with an unknown member": bent("predicate", "database", "url", value="x"),
}


TYPES = {
    "another statement type": bent("_type", value="https://in-toto.io/Statement/v0.1"),
    "another predicate type": bent("predicateType", value="https://slipway.dev/approval/v1"),
    "a predicate type in capitals": bent("predicateType", value=manifest.RELEASE_MANIFEST_TYPE.upper()),
}
WRONG_SUBJECTS = {
    "no subject": bent("subject", value=[]),
    "one subject": bent("subject", value=SUBJECTS[:1]),
    "subjects that are null": bent("subject", value=None),
    "three subjects": bent("subject", value=[*SUBJECTS, SUBJECTS[0]]),
}
DIGESTS = {
    "a truncated digest": bent("subject", 0, "digest", "sha256", value="b" * 63),
    "an upper-case digest": bent("subject", 0, "digest", "sha256", value="B" * 64),
    "an empty digest": bent("subject", 0, "digest", "sha256", value=""),
    "only md5": bent("subject", 0, "digest", value={"md5": "b" * 32}),
    "only sha1": bent("subject", 0, "digest", value={"sha1": "b" * 40}),
    "sha512 beside sha256": bent("subject", 0, "digest", "sha512", value="b" * 128),
    "the right sha512 beside a wrong sha256": bent(
        "subject", 0, "digest", value={"sha256": "0" * 64, "sha512": "b" * 128}
    ),
    "no digest at all": bent("subject", 0, "digest", value={}),
    "a digest that is null": bent("subject", 0, "digest", value=None),
    "a digest that is a string": bent("subject", 0, "digest", value="b" * 64),
    "a digest that is a number": bent("subject", 0, "digest", "sha256", value=1),
    "a digest under a name in capitals": bent("subject", 0, "digest", value={"SHA256": "b" * 64}),
}


@pytest.mark.parametrize("value", TYPES.values(), ids=TYPES.keys())
def test_a_statement_of_another_type_is_refused(value):
    assert reason(value) == "statement_type"


@pytest.mark.parametrize("value", WRONG_SUBJECTS.values(), ids=WRONG_SUBJECTS.keys())
def test_a_statement_about_fewer_or_more_subjects_is_refused(value):
    assert reason(value) == "statement_subject"


@pytest.mark.parametrize("value", DIGESTS.values(), ids=DIGESTS.keys())
def test_a_digest_that_is_not_one_whole_sha256_is_refused(value):
    assert reason(value) == "digest_malformed"


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
