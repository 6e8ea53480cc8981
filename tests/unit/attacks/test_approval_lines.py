# SPDX-License-Identifier: GPL-3.0-or-later
"""Approvals and authorizations that say less than is asked for, and releases that are a step back."""

from __future__ import annotations

import hashlib

import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.trust import consent, verify
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from attacks import MANIFEST, NOW, judge
from lines import judged

DIGEST = hashlib.sha256(MANIFEST).hexdigest()
LEAD = [{"role": "engineering_lead", "threshold": 1}]
BOTH = [*LEAD, {"role": "risk_manager", "threshold": 1}]
OTHER_HOST = "0" * 8 + signed.HOST_ID[8:]


def trust(require=LEAD, keys=(), depth=1, **changes):
    """A policy whose prod asks for approvals and, for a rollback beyond `depth`, for the lead; `keys` are more of them."""
    document = signed.policy_document(**changes)
    for key, holder, role in keys:
        document["keys"][signed.keyid(key)] = signed.key_entry(key, holder)
        document["roles"][role]["keyids"].append(signed.keyid(key))
    allowed = {"depth": depth, "require": LEAD}
    document["environments"]["prod"] = signed.environment(require=require, allowedRollback=allowed)
    return TrustPolicy.parse(signed.policy_envelope(document))


def approved(*approvals, policy=None):
    policy = policy or trust()
    return verify.require_fresh(judge(signed.sign(MANIFEST), policy), policy, "prod", NOW, approvals)


def approval(*keys, **changes):
    """Whether a release is activated with this one approval."""
    return lambda: approved(signed.approval_envelope(*keys, **changes))


def again(envelope, **revoked):
    return lambda: approved(envelope, policy=trust(revoked={"keys": [], "payloads": [], **revoked}))


def by_builder():
    own = signed.approval_envelope(signed.OTHER_KEY, holder="ci")
    approved(own, policy=trust(keys=[(signed.OTHER_KEY, "ci", "engineering_lead")]))


def in_two_roles():
    own = signed.approval_envelope(signed.OTHER_KEY, role="risk_manager", holder="lead")
    policy = trust(BOTH, keys=[(signed.OTHER_KEY, "lead", "risk_manager")])
    approved(signed.approval_envelope(), own, policy=policy)


def stepped(*authorizations, before=(), highest=(NOW + 10, "e" * 64), used=(), depth=1):
    """What a host that has deployed something newer says of this release."""
    policy = trust([], depth=depth)
    scope = consent.Scope(judge(signed.sign(MANIFEST), policy), policy, "prod", NOW)
    past = verify.Past("c" * 64, verify.Highest(*highest), before, used)
    return verify.require_in_sequence(scope, past, host_id=signed.HOST_ID, authorizations=authorizations)


def authorization(*keys, **changes):
    return lambda: stepped(signed.authorization_envelope(*keys, **changes))


def used_twice():
    envelope = signed.authorization_envelope()
    digest = stepped(envelope)[0].digest
    stepped(envelope, used={digest})


def too_long():
    payload = signed.authorization_payload()
    longer = payload.replace(timestamp(NOW + signed.DAY).encode(), timestamp(NOW + signed.DAY + 1).encode())
    assert longer != payload
    stepped(signed.sign(longer, signed.LEAD_KEY))


PAYLOAD = signed.approval_payload()
ENDED = {"created": timestamp(NOW - 60), "expires": timestamp(NOW)}
OLD = {"created": timestamp(NOW - 7 * signed.DAY), "expires": timestamp(NOW + signed.DAY)}
AHEAD = {"created": timestamp(NOW + 301)}

CASES = {
    "no approval": approved,
    "one approval where two are asked for": lambda: approved(signed.approval_envelope(), policy=trust(BOTH)),
    "approvals of one holder for two roles": in_two_roles,
    "a builder approving itself": by_builder,
    "a decision other than approve": approval(decision="reject"),
    "an approval for another digest": approval(manifest_digest="f" * 64),
    "an approval for another application": approval(application="shop"),
    "an approval for another environment": approval(environment="staging"),
    "an expired approval": approval(**ENDED),
    "an approval older than allowed": approval(**OLD),
    "an approval created in the future": approval(**AHEAD),
    "an approval by the key of another role": approval(signed.RISK_KEY),
    "an approval by an unknown key": approval(signed.OTHER_KEY),
    "a revoked approval": again(signed.approval_envelope(), payloads=[hashlib.sha256(PAYLOAD).hexdigest()]),
    "an approval by a revoked key": again(signed.approval_envelope(), keys=[signed.keyid(signed.LEAD_KEY)]),
    "an authorization in place of an approval": lambda: approved(signed.authorization_envelope()),
    "an older sequence": stepped,
    "the same sequence with another digest": lambda: stepped(highest=(NOW, "e" * 64)),
    "a rollback beyond the depth": lambda: stepped(before=("d" * 64, DIGEST)),
    "a rollback authorization reused": used_twice,
    "a rollback authorization for another host": authorization(hosts=[OTHER_HOST]),
    "a rollback authorization for another digest": authorization(manifest_digest="f" * 64),
    "a rollback authorization for another environment": authorization(environment="staging"),
    "an expired rollback authorization": authorization(**ENDED),
    "a rollback authorization from the future": authorization(created=timestamp(NOW + 301)),
    "a rollback authorization for more than a day": too_long,
}


@pytest.mark.parametrize("line", CASES)
def test_a_release_that_too_few_approve_or_that_is_a_step_back_is_refused(line):
    judged(line, CASES[line])


def good_beside_bad():
    bad = [signed.approval_envelope(signed.RISK_KEY), b"{}", signed.approval_envelope(**ENDED)]
    assert [each.holder for each in approved(*bad, signed.approval_envelope())] == ["lead"]


def within_policy():
    assert stepped(before=(DIGEST,)) == ()


def authorized():
    assert [each.holder for each in stepped(signed.authorization_envelope())] == ["lead"]


GOOD = {
    "a bad approval beside enough good ones": good_beside_bad,
    "rollback within policy": within_policy,
    "a rollback that was authorized": authorized,
}


@pytest.mark.parametrize("line", GOOD)
def test_what_enough_approve_or_the_policy_allows_is_accepted(line):
    GOOD[line]()
