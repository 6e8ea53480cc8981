# SPDX-License-Identifier: GPL-3.0-or-later
"""What approvals and authorizations have in common: a statement about one manifest, from when to when."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.trust import statement

KIND = "https://slipway.dev/approval/v1"
DIGEST = "a" * 64


def read(payload):
    fields = Fields(canonical.parse_canonical(payload, what="statement"), "statement", "statement_malformed")
    statement.require_type(fields, KIND)
    digest = statement.subject(fields)
    fields.object("predicate")
    fields.end()
    return digest


def test_a_statement_is_about_the_manifest_that_it_was_made_for():
    assert read(statement.encode(KIND, DIGEST, {})) == DIGEST


def test_a_statement_is_canonical_json_of_four_members():
    assert json.loads(statement.encode(KIND, DIGEST, {"role": "lead"})) == {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {"role": "lead"},
        "predicateType": KIND,
        "subject": [{"name": "manifest", "digest": {"sha256": DIGEST}}],
    }


WRONG = {
    "another type of statement": {"_type": "https://in-toto.io/Statement/v0.1"},
    "another predicate": {"predicateType": "https://slipway.dev/release-manifest/v1"},
    "an empty subject": {"subject": []},
    "two subjects": {"subject": [{"name": "manifest", "digest": {"sha256": DIGEST}}] * 2},
    "a subject of another name": {"subject": [{"name": "tree", "digest": {"sha256": DIGEST}}]},
    "a subject with one more member": {"subject": [{"name": "manifest", "digest": {"sha256": DIGEST}, "uri": "x"}]},
    "an upper-case digest": {"subject": [{"name": "manifest", "digest": {"sha256": DIGEST.upper()}}]},
    "a short digest": {"subject": [{"name": "manifest", "digest": {"sha256": DIGEST[1:]}}]},
    "only another algorithm": {"subject": [{"name": "manifest", "digest": {"sha1": "a" * 40}}]},
    "a second algorithm": {"subject": [{"name": "manifest", "digest": {"sha256": DIGEST, "md5": "a" * 32}}]},
    "one more member": {"subjects": []},
}
REASONS = {
    "another type of statement": "statement_type",
    "another predicate": "statement_type",
    "an empty subject": "statement_subject",
    "two subjects": "statement_subject",
    "an upper-case digest": "digest_malformed",
    "a short digest": "digest_malformed",
    "only another algorithm": "digest_malformed",
    "a second algorithm": "digest_malformed",
}


@pytest.mark.parametrize("name", WRONG)
def test_another_statement_is_refused(name):
    document = json.loads(statement.encode(KIND, DIGEST, {})) | WRONG[name]
    with pytest.raises(Refusal) as raised:
        read(canonical.encode(document))
    assert raised.value.reason == REASONS.get(name, "statement_malformed")


@pytest.mark.parametrize("missing", ["_type", "predicateType", "subject", "predicate"])
def test_every_member_must_be_there(missing):
    document = json.loads(statement.encode(KIND, DIGEST, {}))
    del document[missing]
    with pytest.raises(Refusal, match="statement_malformed"):
        read(canonical.encode(document))


def test_a_lifetime_ends_after_it_began():
    times = {"created": "2026-11-18T11:06:40Z", "expires": "2026-11-18T11:06:41Z"}
    assert statement.lifetime(Fields(times, "approval", "approval_malformed")) == tuple(times.values())
    with pytest.raises(Refusal, match=r"a time after 2026-11-18T11:06:40Z"):
        statement.lifetime(Fields({**times, "expires": times["created"]}, "approval", "approval_malformed"))
