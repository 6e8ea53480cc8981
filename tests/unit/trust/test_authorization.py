# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of a rollback authorization; whether one counts is in test_verify.py."""

from __future__ import annotations

import hashlib
import json
import uuid

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import authorization
from ansible.module_utils.slipway.trust.authorization import Authorization

DOCUMENT = json.loads(signed.authorization_payload())
PREDICATE = DOCUMENT["predicate"]
OTHER_HOST = "00000000-0000-4000-8000-000000000000"


def reason(call, *arguments):
    with pytest.raises(Refusal) as raised:
        call(*arguments)
    return raised.value.reason


def bent(**changes):
    return canonical.encode({**DOCUMENT, "predicate": {**PREDICATE, **changes}})


def test_an_authorization_says_what_it_was_made_to_say():
    payload = signed.authorization_payload(hosts=[signed.HOST_ID, OTHER_HOST])
    assert Authorization.parse(payload) == Authorization(
        manifest_digest=hashlib.sha256(signed.manifest_payload()).hexdigest(),
        application="hello",
        environment="prod",
        hosts=(OTHER_HOST, signed.HOST_ID),
        role="engineering_lead",
        holder="lead",
        created="2026-11-18T11:06:40Z",
        expires="2026-11-19T11:06:40Z",
        digest=hashlib.sha256(payload).hexdigest(),
    )


def test_a_record_has_ids_and_no_more():
    read = Authorization.parse(signed.authorization_payload())
    assert read.as_record() == {"role": "engineering_lead", "holder": "lead", "digest": read.digest}


WRONG = {
    "no host": {"hosts": []},
    "a host's name": {"hosts": ["prod-1"]},
    "an upper-case id": {"hosts": [signed.HOST_ID.upper()]},
    "a number for a host": {"hosts": [1]},
    "one host twice": {"hosts": [signed.HOST_ID, signed.HOST_ID]},
    "hosts that are not sorted": {"hosts": [signed.HOST_ID, OTHER_HOST]},
    "one host without an array": {"hosts": signed.HOST_ID},
    "a role that is no name": {"role": "Engineering Lead"},
    "a holder that is no id": {"holder": "ann@example.org"},
    "an end before its beginning": {"expires": "2026-11-18T11:06:39Z"},
    "one member more": {"decision": "approve"},
}


@pytest.mark.parametrize("name", WRONG)
def test_another_predicate_is_refused(name):
    assert reason(Authorization.parse, bent(**WRONG[name])) == "authorization_malformed"


def test_a_statement_with_more_members_is_refused():
    assert reason(Authorization.parse, canonical.encode({**DOCUMENT, "predicates": []})) == "authorization_malformed"


@pytest.mark.parametrize("missing", sorted(PREDICATE))
def test_every_member_must_be_there(missing):
    left = {name: value for name, value in PREDICATE.items() if name != missing}
    assert reason(Authorization.parse, canonical.encode({**DOCUMENT, "predicate": left})) == "authorization_malformed"


def test_a_day_is_the_longest_that_it_lasts():
    assert Authorization.parse(bent(expires="2026-11-19T11:06:40Z"))
    assert reason(Authorization.parse, bent(expires="2026-11-19T11:06:41Z")) == "authorization_too_long"


def test_a_whole_fleet_fits_and_one_host_more_does_not():
    hosts = [str(uuid.UUID(int=number)) for number in range(authorization.MAX_HOSTS + 1)]
    envelope = signed.authorization_envelope(hosts=hosts[:-1])
    assert len(envelope) < authorization.MAX_AUTHORIZATION_BYTES
    assert authorization.open_authorization(envelope)[1].hosts == tuple(hosts[:-1])
    with pytest.raises(Refusal, match="authorization_malformed"):
        signed.authorization_payload(hosts=hosts)


def test_an_approval_is_no_authorization():
    assert reason(authorization.open_authorization, signed.approval_envelope()) == "statement_type"


def test_an_envelope_is_bounded():
    padded = signed.authorization_envelope() + b" " * authorization.MAX_AUTHORIZATION_BYTES
    assert reason(authorization.open_authorization, padded) == "json_too_large"
