# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of an approval; whether one counts is in test_verify.py."""

from __future__ import annotations

import hashlib
import json

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import approval, dsse
from ansible.module_utils.slipway.trust.approval import Approval

DOCUMENT = json.loads(signed.approval_payload())
PREDICATE = DOCUMENT["predicate"]


def reason(call, *arguments):
    with pytest.raises(Refusal) as raised:
        call(*arguments)
    return raised.value.reason


def bent(**changes):
    return canonical.encode({**DOCUMENT, "predicate": {**PREDICATE, **changes}})


def test_an_approval_says_what_it_was_made_to_say():
    payload = signed.approval_payload()
    assert Approval.parse(payload) == Approval(
        manifest_digest=hashlib.sha256(signed.manifest_payload()).hexdigest(),
        application="hello",
        environment="prod",
        role="engineering_lead",
        holder="lead",
        decision="approve",
        created="2026-11-18T11:06:40Z",
        expires="2026-11-25T11:06:40Z",
        digest=hashlib.sha256(payload).hexdigest(),
    )


def test_a_record_has_ids_and_no_more():
    read = Approval.parse(signed.approval_payload())
    assert read.as_record() == {
        "role": "engineering_lead",
        "holder": "lead",
        "digest": read.digest,
        "created": read.created,
        "expires": read.expires,
    }


WRONG = {
    "an application that is no name": {"application": "../hello"},
    "an environment that is no name": {"environment": "prod/"},
    "a role that is no name": {"role": "Engineering Lead"},
    "a holder that is no id": {"holder": "ann@example.org"},
    "a decision that is no word": {"decision": True},
    "a time with a fraction": {"created": "2026-11-18T11:06:40.5Z"},
    "a time of another zone": {"expires": "2026-11-25T11:06:40+01:00"},
    "an end before its beginning": {"expires": "2026-11-18T11:06:39Z"},
    "one member more": {"comment": "fine"},
    "an array for a text": {"role": ["engineering_lead"]},
    "null for a text": {"holder": None},
}


@pytest.mark.parametrize("name", WRONG)
def test_another_predicate_is_refused(name):
    assert reason(Approval.parse, bent(**WRONG[name])) == "approval_malformed"


def test_a_statement_with_more_members_is_refused():
    assert reason(Approval.parse, canonical.encode({**DOCUMENT, "predicates": []})) == "approval_malformed"


@pytest.mark.parametrize("missing", sorted(PREDICATE))
def test_every_member_must_be_there(missing):
    left = {name: value for name, value in PREDICATE.items() if name != missing}
    assert reason(Approval.parse, canonical.encode({**DOCUMENT, "predicate": left})) == "approval_malformed"


def test_a_payload_has_one_spelling():
    spaced = json.dumps(DOCUMENT).encode()
    assert reason(Approval.parse, spaced) == "json_not_canonical"


def test_what_cannot_be_read_back_is_not_made():
    with pytest.raises(Refusal, match="approval_malformed"):
        signed.approval_payload(holder="Ann Example")


def test_an_envelope_opens_with_its_signatures():
    envelope, read = approval.open_approval(signed.approval_envelope())
    assert read == Approval.parse(envelope.payload)
    assert len(envelope.signatures) == 1


def test_an_envelope_of_another_type_is_refused():
    envelope = dsse.sign(dsse.TRUST_POLICY_TYPE, signed.approval_payload(), signed.LEAD_KEY).encode()
    assert reason(approval.open_approval, envelope) == "envelope_payload_type"


def test_a_manifest_or_an_authorization_is_no_approval():
    assert reason(approval.open_approval, signed.sign(signed.manifest_payload())) == "statement_type"
    assert reason(approval.open_approval, signed.authorization_envelope()) == "statement_type"


def test_an_envelope_is_bounded():
    padded = signed.approval_envelope() + b" " * approval.MAX_APPROVAL_BYTES
    assert reason(approval.open_approval, padded) == "json_too_large"
