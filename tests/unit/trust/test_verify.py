# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a release may be trusted: the builder's signature, the scope, the times, and every byte."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import consent, dsse, verify
from ansible.module_utils.slipway.trust.promotion import Artifact, Promotion
from ansible.module_utils.slipway.trust.tree import Difference
from hypothesis import given
from hypothesis import strategies as st

NOW = signed.NOW
ASKED = {"application": "hello", "environment": "prod", "now": NOW}
DIGEST = verify.parse_manifest(signed.sign(signed.manifest_payload())).digest


def verified(envelope=None, policy=None, **asked):
    envelope = envelope or signed.sign(signed.manifest_payload())
    return verify.verify_manifest(policy or signed.trust_policy(), envelope, **{**ASKED, **asked})


def reason(*arguments, **options):
    with pytest.raises(Refusal) as refusal:
        verified(*arguments, **options)
    return refusal.value.reason


def test_a_policy_older_than_what_was_decided_by_decides_nothing():
    policy = signed.trust_policy()
    verify.require_policy_of(policy, policy.version)
    with pytest.raises(Refusal) as caught:
        verify.require_policy_of(policy, policy.version + 1)
    assert caught.value.reason == "policy_version_older"


def test_a_sound_manifest_is_trusted_and_names_its_keys():
    manifest = verified()
    assert manifest.release_id == "v1.2.3"
    assert manifest.keyids == (signed.keyid(signed.BUILDER_KEY),)


def test_the_same_manifest_gives_the_same_answer_twice():
    policy, envelope = signed.trust_policy(), signed.sign(signed.manifest_payload())
    assert verified(envelope, policy) == verified(envelope, policy)


def test_a_manifest_can_be_shown_before_it_is_trusted():
    envelope = signed.sign(signed.manifest_payload(), signed.OTHER_KEY)
    assert verify.parse_manifest(envelope).release_id == "v1.2.3"
    assert reason(envelope) == "signature_unknown"


def test_a_manifest_without_a_signature_is_refused():
    bare = dsse.Envelope(dsse.IN_TOTO_TYPE, signed.manifest_payload(), ()).encode()
    assert reason(bare) == "envelope_unsigned"


@pytest.mark.parametrize("key", [signed.OTHER_KEY, signed.ROOT_KEY, signed.LEAD_KEY], ids=["unknown", "root", "lead"])
def test_a_manifest_signed_by_who_is_no_builder_is_refused(key):
    assert reason(signed.sign(signed.manifest_payload(), key)) == "signature_unknown"


def test_an_extra_signature_is_ignored():
    envelope = signed.sign(signed.manifest_payload(), signed.OTHER_KEY, signed.BUILDER_KEY)
    assert verified(envelope).keyids == (signed.keyid(signed.BUILDER_KEY),)


def test_a_manifest_of_another_payload_type_is_refused():
    envelope = dsse.sign(dsse.TRUST_POLICY_TYPE, signed.manifest_payload(), signed.BUILDER_KEY).encode()
    assert reason(envelope) == "envelope_payload_type"


def test_a_revoked_key_is_refused():
    revoked = {"keys": [signed.keyid(signed.BUILDER_KEY)], "payloads": []}
    assert reason(policy=signed.trust_policy(revoked=revoked)) == "key_revoked"


def test_a_revoked_manifest_is_refused():
    assert reason(policy=signed.trust_policy(revoked={"keys": [], "payloads": [DIGEST]})) == "manifest_revoked"


def test_a_manifest_from_before_its_key_was_valid_is_refused():
    document = signed.policy_document()
    document["keys"][signed.keyid(signed.BUILDER_KEY)]["notBefore"] = "2027-01-01T00:00:00Z"
    policy = verify.TrustPolicy.parse(signed.policy_envelope(document))
    assert reason(policy=policy) == "key_outside_validity"


def test_a_manifest_that_names_another_builder_is_refused():
    assert reason(signed.sign(signed.manifest_payload(builder="someone-else"))) == "builder_mismatch"


def test_a_manifest_of_another_application_is_refused():
    assert reason(application="other") == "application_mismatch"


def test_an_environment_without_rules_is_refused():
    assert reason(environment="test") == "environment_unknown"


def test_a_release_below_the_floor_is_refused_and_one_on_it_is_not():
    assert reason(policy=signed.trust_policy(minSafeSequence={"hello": NOW + 1})) == "below_floor"
    assert verified(policy=signed.trust_policy(minSafeSequence={"hello": NOW, "other": NOW + 9})).sequence == NOW


def test_a_manifest_from_the_future_is_refused():
    assert reason(now=NOW - 301) == "manifest_from_future"
    assert verified(now=NOW - 300).sequence == NOW


def test_a_manifest_that_is_not_canonical_is_refused():
    assert reason(signed.sign(signed.manifest_payload() + b"\n")) == "json_not_canonical"


def test_expiry_does_not_stop_what_is_only_verified():
    assert verified(now=NOW + 20 * 365 * signed.DAY).release_id == "v1.2.3"


@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_an_envelope_is_refused_or_changes_nothing(position, bit):
    envelope = bytearray(signed.sign(signed.manifest_payload()))
    envelope[position % len(envelope)] ^= 1 << bit
    try:
        manifest = verified(bytes(envelope))
    except Refusal:
        return
    assert manifest == verified()  # the bit was in the key id, which is only a hint


# --- what a deploy asks before it activates


def fresh(now, policy=None, envelope=None, environment="prod", approvals=()):
    policy = policy or signed.trust_policy()
    manifest = verified(envelope, policy, now=now)
    return verify.require_fresh(manifest, policy, environment, now, approvals)


def stale(now, **options):
    with pytest.raises(Refusal) as refusal:
        fresh(now, **options)
    return refusal.value.reason


def test_a_new_release_is_fresh():
    fresh(NOW)
    fresh(NOW + 90 * signed.DAY - 1)


def test_a_release_older_than_the_environment_allows_is_not_activated():
    assert stale(NOW + 90 * signed.DAY) == "manifest_too_old"


def test_each_environment_has_its_own_age():
    environments = {"prod": signed.environment(maxManifestAge=10), "staging": signed.environment(maxManifestAge=20)}
    policy = signed.trust_policy(environments=environments)
    assert stale(NOW + 10, policy=policy) == "manifest_too_old"
    fresh(NOW + 10, policy=policy, environment="staging")


def test_an_expired_release_is_not_activated():
    envelope = signed.sign(signed.manifest_payload(expires="2026-11-18T11:07:40Z"))
    fresh(NOW + 59, envelope=envelope)
    assert stale(NOW + 60, envelope=envelope) == "manifest_expired"


def test_nothing_is_activated_by_an_expired_policy():
    policy = signed.trust_policy(expires="2026-11-18T11:07:40Z")
    fresh(NOW + 59, policy=policy)
    assert stale(NOW + 60, policy=policy) == "policy_expired"


def test_nothing_is_activated_with_a_key_that_has_expired_since():
    document = signed.policy_document()
    document["keys"][signed.keyid(signed.BUILDER_KEY)]["notAfter"] = "2026-11-18T11:07:40Z"
    policy = verify.TrustPolicy.parse(signed.policy_envelope(document))
    fresh(NOW + 60, policy=policy)
    assert stale(NOW + 61, policy=policy) == "key_outside_validity"


# --- who has to approve


BOTH = [{"role": "engineering_lead", "threshold": 1}, {"role": "risk_manager", "threshold": 1}]
LEAD = signed.approval_envelope()
RISK = signed.approval_envelope(signed.RISK_KEY, role="risk_manager", holder="risk")
CANDIDATE = Promotion(candidate=True)


def asking(*requirements, document=None, **changes):
    """A policy that asks for approvals in prod and not in staging."""
    document = document or signed.policy_document()
    document["environments"]["prod"] = signed.environment(require=list(requirements or BOTH), **changes)
    return verify.TrustPolicy.parse(signed.policy_envelope(document))


def not_approved(*approvals, policy=None, **options):
    with pytest.raises(Refusal) as refusal:
        fresh(NOW, policy=policy or asking(), approvals=approvals, **options)
    return refusal.value


def test_a_release_is_activated_with_the_approvals_that_its_environment_asks_for():
    assert [(each.role, each.holder) for each in fresh(NOW, policy=asking(), approvals=[LEAD, RISK])] == [
        ("engineering_lead", "lead"),
        ("risk_manager", "risk"),
    ]
    assert fresh(NOW, policy=asking(), environment="staging") == ()


def test_a_refusal_says_who_is_missing_who_may_step_in_and_how():
    refused = not_approved(LEAD)
    assert refused.reason == "approval_missing"
    assert refused.expected == "v1.2.3 approved for prod: 1 engineering_lead, 1 risk_manager"
    assert refused.found == "engineering_lead by lead; missing: 1 risk_manager (risk may give it)"
    assert refused.remedy == "Have it approved: make approve RELEASE_ID=v1.2.3 ENVIRONMENT=prod ROLE=risk_manager."
    assert "ROLE=engineering_lead; make approve" in not_approved().remedy


def test_a_bad_approval_disturbs_nothing_when_there_are_enough_good_ones():
    bad = (b"", b"{}", signed.approval_envelope(signed.OTHER_KEY), signed.sign(signed.manifest_payload()))
    assert len(fresh(NOW, policy=asking(), approvals=[*bad, LEAD, *bad, RISK, RISK])) == 2


def test_what_was_given_and_does_not_count_is_told_with_its_reason():
    refused = not_approved(
        LEAD, signed.approval_envelope(signed.RISK_KEY, role="risk_manager", holder="risk", environment="staging")
    )
    assert refused.reason == "approval_of_another_environment"
    assert "not counted: risk_manager by risk (approval_of_another_environment: staging)" in refused.found
    assert not_approved(signed.approval_envelope(environment="staging")).reason == "approval_missing"


def test_a_candidate_is_judged_without_approvals():
    envelope = signed.sign(signed.manifest_payload(promotion=CANDIDATE))
    assert fresh(NOW, policy=asking(), envelope=envelope) == ()


def lead(*keys, **changes):
    return signed.approval_envelope(*keys, **changes)


def timestamped(seconds):
    return timestamp(NOW + seconds)


LAPSED = {"created": timestamped(-60), "expires": timestamped(0)}
NOT_COUNTED = {
    "for another release": (lead(manifest_digest="f" * 64), "approval_of_another_release"),
    "for another application": (lead(application="other"), "approval_of_another_application"),
    "for another environment": (lead(environment="staging"), "approval_of_another_environment"),
    "that has expired": (lead(**LAPSED), "approval_expired"),
    "from the future": (lead(created=timestamped(301)), "approval_from_future"),
    "that says something else than approve": (lead(decision="reject"), "approval_rejects"),
    "in another spelling of its decision": (lead(decision="approved"), "approval_rejects"),
    "signed by the key of another role": (lead(signed.RISK_KEY), "approver_mismatch"),
    "signed by the builder": (lead(signed.BUILDER_KEY), "approver_mismatch"),
    "signed by root": (lead(signed.ROOT_KEY), "approver_mismatch"),
    "in the name of another holder": (lead(holder="risk"), "approver_mismatch"),
    "by an unknown key": (lead(signed.OTHER_KEY), "signature_unknown"),
    "over the raw payload": (
        dsse.Envelope(
            dsse.IN_TOTO_TYPE,
            signed.approval_payload(),
            (dsse.Signature("", signed.LEAD_KEY.sign(signed.approval_payload())),),
        ).encode(),
        "signature_unknown",
    ),
    "without a signature": (
        dsse.Envelope(dsse.IN_TOTO_TYPE, signed.approval_payload(), ()).encode(),
        "envelope_unsigned",
    ),
    "of another payload type": (
        dsse.sign(dsse.TRUST_POLICY_TYPE, signed.approval_payload(), signed.LEAD_KEY).encode(),
        "envelope_payload_type",
    ),
    "that is an authorization": (signed.authorization_envelope(), "statement_type"),
    "that is no envelope": (b"[]", "envelope_malformed"),
    "that is not canonical": (signed.sign(signed.approval_payload() + b" ", signed.LEAD_KEY), "json_not_canonical"),
    "that is too long": (lead() + b" " * (1 << 16), "json_too_large"),
}


@pytest.mark.parametrize("name", NOT_COUNTED)
def test_an_approval_does_not_count(name):
    envelope, expected = NOT_COUNTED[name]
    refused = not_approved(envelope, RISK)
    assert refused.reason == expected
    assert f"{expected}: " in refused.found


def test_an_approval_ends_at_its_age_or_its_end_whatever_comes_first():
    policy = asking({"role": "engineering_lead", "threshold": 1}, maxApprovalAge=60)
    fresh(NOW + 59, policy=policy, approvals=[LEAD])
    with pytest.raises(Refusal, match="approval_too_old"):
        fresh(NOW + 60, policy=policy, approvals=[LEAD])
    short = signed.approval_envelope(expires=timestamped(30))
    fresh(NOW + 29, policy=policy, approvals=[short])
    with pytest.raises(Refusal, match="approval_expired"):
        fresh(NOW + 30, policy=policy, approvals=[short])


def test_an_approval_may_be_a_little_ahead_of_the_clock():
    ahead = signed.approval_envelope(created=timestamped(300))
    assert fresh(NOW, policy=asking({"role": "engineering_lead", "threshold": 1}), approvals=[ahead])


def test_a_revoked_approval_or_key_does_not_count():
    digest = consent.judge_approvals(scope(asking()), [LEAD]).counted[0].digest
    document = signed.policy_document(revoked={"keys": [], "payloads": [digest]})
    assert not_approved(LEAD, RISK, policy=asking(document=document)).reason == "approval_revoked"
    document = signed.policy_document(revoked={"keys": [signed.keyid(signed.LEAD_KEY)], "payloads": []})
    assert not_approved(LEAD, RISK, policy=asking(document=document)).reason == "key_revoked"
    assert "the trust policy has nobody left for it" in not_approved(RISK, policy=asking(document=document)).found


@pytest.mark.parametrize(("begins", "ends"), [(timestamped(1), signed.UNTIL), (signed.SINCE, timestamped(-1))])
def test_a_key_must_be_valid_when_it_approves_and_when_that_is_used(begins, ends):
    document = signed.policy_document()
    document["keys"][signed.keyid(signed.LEAD_KEY)] |= {"notBefore": begins, "notAfter": ends}
    given = signed.approval_envelope(created=timestamped(-2), expires=timestamped(99))
    assert not_approved(given, RISK, policy=asking(document=document)).reason == "key_outside_validity"


def test_a_key_that_begins_between_an_approval_and_its_use_does_not_count():
    document = signed.policy_document()
    document["keys"][signed.keyid(signed.LEAD_KEY)]["notBefore"] = timestamped(-1)
    given = signed.approval_envelope(created=timestamped(-2), expires=timestamped(99))
    assert not_approved(given, RISK, policy=asking(document=document)).reason == "key_outside_validity"


def held(*keys):
    """A policy document in which these (private key, holder, role) are there beside the usual ones."""
    document = signed.policy_document()
    for private, holder, role in keys:
        document["keys"][signed.keyid(private)] = signed.key_entry(private, holder)
        document["roles"][role]["keyids"].append(signed.keyid(private))
    return document


def test_the_builder_does_not_approve_its_own_release():
    document = held((signed.OTHER_KEY, "ci", "risk_manager"))
    own = signed.approval_envelope(signed.OTHER_KEY, role="risk_manager", holder="ci")
    refused = not_approved(LEAD, own, policy=asking(document=document))
    assert refused.reason == "approval_by_builder"
    assert "missing: 1 risk_manager (risk may give it)" in refused.found


def test_who_built_together_with_others_does_not_approve_either():
    second = signed.private_key(20)
    document = held((second, "ci2", "builder"), (signed.OTHER_KEY, "ci2", "risk_manager"))
    own = signed.approval_envelope(signed.OTHER_KEY, role="risk_manager", holder="ci2")
    policy = asking(document=document)
    envelope = signed.sign(signed.manifest_payload(), signed.BUILDER_KEY, second)
    assert not_approved(LEAD, own, policy=policy, envelope=envelope).reason == "approval_by_builder"
    assert fresh(NOW, policy=policy, approvals=[LEAD, own])  # where ci2 did not sign the release


def test_one_holder_counts_once_however_many_approvals_there_are():
    document = held(
        (signed.OTHER_KEY, "lead", "engineering_lead"), (signed.private_key(20), "second", "engineering_lead")
    )
    policy = asking({"role": "engineering_lead", "threshold": 2}, document=document)
    again = signed.approval_envelope(created=timestamped(-1))
    with_another_key = signed.approval_envelope(signed.OTHER_KEY)
    refused = not_approved(LEAD, LEAD, again, with_another_key, policy=policy)
    assert refused.reason == "approval_missing"
    assert "missing: 1 engineering_lead (second may give it)" in refused.found
    other = signed.approval_envelope(signed.private_key(20), holder="second")
    assert len(fresh(NOW, policy=policy, approvals=[LEAD, other])) == 2


def test_one_holder_does_not_stand_for_two_roles_where_holders_must_be_distinct():
    document = held((signed.OTHER_KEY, "lead", "risk_manager"))
    own = signed.approval_envelope(signed.OTHER_KEY, role="risk_manager", holder="lead")
    refused = not_approved(LEAD, own, policy=asking(document=document))
    assert refused.reason == "approver_not_distinct"
    assert "nobody counts for two roles here" in refused.found
    assert len(fresh(NOW, policy=asking(document=document), approvals=[LEAD, own, RISK])) == 3
    assert len(fresh(NOW, policy=asking(document=document, distinctHolders=False), approvals=[LEAD, own])) == 2


def test_the_stricter_of_the_two_thresholds_holds():
    document = held((signed.OTHER_KEY, "second", "engineering_lead"))
    document["roles"]["engineering_lead"]["threshold"] = 2
    policy = asking({"role": "engineering_lead", "threshold": 1}, document=document)
    assert "missing: 1 engineering_lead (second may give it)" in not_approved(LEAD, policy=policy).found
    both = [LEAD, signed.approval_envelope(signed.OTHER_KEY, holder="second")]
    assert len(fresh(NOW, policy=policy, approvals=both)) == 2


def test_an_approval_in_a_role_that_nobody_asks_for_counts_for_nothing():
    policy = asking({"role": "engineering_lead", "threshold": 1})
    assert [each.role for each in fresh(NOW, policy=policy, approvals=[LEAD, RISK])] == ["engineering_lead"]
    assert not_approved(RISK, policy=policy).reason == "approval_missing"


def test_a_role_that_the_policy_does_not_know_counts_for_nothing():
    given = signed.approval_envelope(role="auditor")
    assert consent.judge_approvals(scope(asking()), [given]).uncounted[0].refusal.reason == "approver_mismatch"


@pytest.mark.parametrize(
    "spelling", ["an extra signature", "a bad one first", "no key id", "a wrong key id", "url-safe", "more members"]
)
def test_an_approval_counts_in_every_spelling_of_its_envelope(spelling):
    payload, message = signed.approval_payload(), dsse.pae(dsse.IN_TOTO_TYPE, signed.approval_payload())
    good = dsse.Signature(signed.keyid(signed.LEAD_KEY), signed.LEAD_KEY.sign(message))
    other = dsse.Signature(signed.keyid(signed.OTHER_KEY), signed.OTHER_KEY.sign(message))
    bad = dsse.Signature(signed.keyid(signed.LEAD_KEY), bytes(64))
    signatures = {
        "an extra signature": (good, other),
        "a bad one first": (bad, good),
        "no key id": (dsse.Signature("", good.value),),
        "a wrong key id": (dsse.Signature(signed.keyid(signed.RISK_KEY), good.value),),
    }.get(spelling, (good,))
    envelope = dsse.Envelope(dsse.IN_TOTO_TYPE, payload, signatures).encode()
    if spelling == "url-safe":
        members = json.loads(envelope)
        members["payload"] = base64.urlsafe_b64encode(payload).decode()
        members["signatures"][0]["sig"] = base64.urlsafe_b64encode(good.value).decode()
        envelope = json.dumps(members).encode()
    if spelling == "more members":
        envelope = json.dumps({**json.loads(envelope), "note": "hello"}).encode()
    assert fresh(NOW, policy=asking({"role": "engineering_lead", "threshold": 1}), approvals=[envelope])


@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_an_approval_counts_for_nothing_or_changes_nothing(position, bit):
    envelope = bytearray(LEAD)
    envelope[position % len(envelope)] ^= 1 << bit
    standing = consent.judge_approvals(scope(asking()), [bytes(envelope)])
    assert standing.counted in ((), consent.judge_approvals(scope(asking()), [LEAD]).counted)


def test_the_newest_approval_of_a_holder_is_the_one_that_counts():
    older = signed.approval_envelope(expires=timestamped(60))
    for order in ([older, LEAD], [LEAD, older]):
        assert [each.envelope for each in consent.judge_approvals(scope(asking()), order).counted] == [LEAD]


# --- how far back


def scope(policy, **changes):
    return consent.Scope(verified(signed.sign(signed.manifest_payload(**changes)), policy), policy, "prod", NOW)


def returning(depth=2, *requirements, **changes):
    """A policy that lets prod go back `depth` releases, and beyond that with authorizations of these roles."""
    required = [{"role": role, "threshold": 1} for role in requirements]
    environments = {
        "prod": signed.environment(allowedRollback={"depth": depth, "require": required}),
        "staging": signed.environment(),
    }
    return signed.trust_policy(environments=environments, **changes)


NEWER = verify.Highest(NOW + 10, "e" * 64)


def past(*before, highest=NEWER, current="c" * 64, used=()):
    return verify.Past(current, highest, before, used)


def in_sequence(past, *authorizations, policy=None):
    return verify.require_in_sequence(
        scope(policy or returning()), past, host_id=signed.HOST_ID, authorizations=authorizations
    )


def out_of_sequence(past, *authorizations, policy=None):
    with pytest.raises(Refusal) as refusal:
        in_sequence(past, *authorizations, policy=policy)
    return refusal.value


@pytest.mark.parametrize(
    "allowed",
    [
        past(highest=None),
        past(highest=verify.Highest(NOW - 1, "e" * 64)),
        past(highest=verify.Highest(NOW, DIGEST)),
        past(current=DIGEST),
        past(DIGEST),
        past("d" * 64, DIGEST),
    ],
    ids=[
        "the first",
        "a newer one",
        "the newest again",
        "the active one again",
        "the one before",
        "the one before that",
    ],
)
def test_a_switch_needs_no_authorization(allowed):
    assert in_sequence(allowed) == ()


def test_an_older_release_that_was_never_active_here_is_refused():
    refused = out_of_sequence(past())
    assert refused.reason == "sequence_behind"
    assert refused.remedy == "Deploy a newer release; the trust policy lets nobody authorize a rollback in prod."


def test_another_release_with_the_sequence_of_the_newest_is_refused():
    assert out_of_sequence(past(highest=verify.Highest(NOW, "e" * 64))).reason == "sequence_taken"


def test_a_release_that_was_active_too_long_ago_is_refused():
    refused = out_of_sequence(past("d" * 64, "b" * 64, DIGEST))
    assert refused.reason == "rollback_too_deep"
    assert refused.found == "v1.2.3, 3 releases back"
    assert out_of_sequence(past(DIGEST), policy=returning(0)).reason == "rollback_too_deep"


AUTHORIZED = signed.authorization_envelope()


def test_an_authorization_lets_a_host_go_back_further():
    policy = returning(0, "engineering_lead")
    for was in (past(), past(DIGEST), past(highest=verify.Highest(NOW, "e" * 64))):
        assert [each.envelope for each in in_sequence(was, b"{}", AUTHORIZED, policy=policy)] == [AUTHORIZED]


def test_what_needs_no_authorization_takes_none():
    assert in_sequence(past(DIGEST), AUTHORIZED, policy=returning(1, "engineering_lead")) == ()


def test_where_the_policy_asks_nobody_no_authorization_helps():
    assert out_of_sequence(past(), AUTHORIZED).reason == "sequence_behind"


def test_a_refusal_says_who_may_authorize_a_rollback_and_how():
    refused = out_of_sequence(past(), AUTHORIZED, policy=returning(0, "engineering_lead", "risk_manager"))
    assert refused.reason == "sequence_behind"
    assert refused.expected.endswith(", or 1 engineering_lead, 1 risk_manager who authorize it")
    assert "authorizations: engineering_lead by lead; missing: 1 risk_manager (risk may give it)" in refused.found
    assert "make authorize-rollback RELEASE_ID=v1.2.3 ENVIRONMENT=prod ROLE=risk_manager HOSTS=…" in refused.remedy


def permit(*keys, **changes):
    return signed.authorization_envelope(*keys, **changes)


NOT_AUTHORIZED = {
    "for another release": (permit(manifest_digest="f" * 64), "authorization_of_another_release"),
    "for another application": (permit(application="other"), "authorization_of_another_application"),
    "for another environment": (permit(environment="staging"), "authorization_of_another_environment"),
    "for another host": (permit(hosts=["0" * 8 + signed.HOST_ID[8:]]), "authorization_of_another_host"),
    "that has expired": (permit(**LAPSED), "authorization_expired"),
    "from the future": (permit(created=timestamped(301)), "authorization_from_future"),
    "for more than a day": (
        signed.sign(
            signed.authorization_payload().replace(b"2026-11-19T11:06:40Z", b"2026-11-19T11:06:41Z"), signed.LEAD_KEY
        ),
        "authorization_too_long",
    ),
    "by the key of another role": (permit(signed.RISK_KEY), "approver_mismatch"),
    "by an unknown key": (permit(signed.OTHER_KEY), "signature_unknown"),
    "that is an approval": (LEAD, "statement_type"),
}


@pytest.mark.parametrize("name", NOT_AUTHORIZED)
def test_an_authorization_does_not_count(name):
    envelope, expected = NOT_AUTHORIZED[name]
    assert out_of_sequence(past(), envelope, policy=returning(0, "engineering_lead")).reason == expected


def test_an_authorization_is_used_once():
    policy = returning(0, "engineering_lead")
    digest = in_sequence(past(), AUTHORIZED, policy=policy)[0].digest
    assert out_of_sequence(past(used={digest}), AUTHORIZED, policy=policy).reason == "authorization_used"
    in_another_spelling = json.dumps({**json.loads(AUTHORIZED), "note": "new"}).encode()
    assert out_of_sequence(past(used={digest}), in_another_spelling, policy=policy).reason == "authorization_used"


def test_a_revoked_authorization_does_not_count():
    digest = in_sequence(past(), AUTHORIZED, policy=returning(0, "engineering_lead"))[0].digest
    policy = returning(0, "engineering_lead", revoked={"keys": [], "payloads": [digest]})
    assert out_of_sequence(past(), AUTHORIZED, policy=policy).reason == "authorization_revoked"


def test_the_builder_does_not_authorize_its_own_release():
    document = held((signed.OTHER_KEY, "ci", "risk_manager"))
    required = [{"role": "risk_manager", "threshold": 1}]
    document["environments"]["prod"] = signed.environment(allowedRollback={"depth": 0, "require": required})
    policy = verify.TrustPolicy.parse(signed.policy_envelope(document))
    own = permit(signed.OTHER_KEY, role="risk_manager", holder="ci")
    assert out_of_sequence(past(), own, policy=policy).reason == "authorization_by_builder"


# --- the files


@pytest.fixture
def release(tmp_path):
    return signed.release(tmp_path / "release")


def test_the_file_list_that_the_manifest_names_is_returned(release):
    manifest = verified(release.envelope)
    assert verify.verify_file_list(manifest, release.file_list.encode()) == release.file_list


def test_another_file_list_is_refused(release, tmp_path):
    other = signed.release(tmp_path / "other", {"x": b""}).file_list.encode()
    with pytest.raises(Refusal, match="file_list_altered"):
        verify.verify_file_list(verified(release.envelope), other)


def test_a_list_is_refused_when_the_manifest_states_other_limits(release):
    for wrong in ({"files": 99, "bytes": 12}, {"files": 3, "bytes": 11}):
        payload = signed.manifest_payload(
            limits=signed.manifest.Limits(**wrong),
            tree_digest=release.file_list.digest,
            tree_size=len(release.file_list.encode()),
        )
        with pytest.raises(Refusal, match="file_list_limits"):
            verify.verify_file_list(verified(signed.sign(payload)), release.file_list.encode())


def test_a_list_without_the_artifacts_that_the_manifest_promotes_is_refused(tmp_path):
    def listed(sha256):
        promoted = Promotion(artifacts=(Artifact("configs", "config.json", sha256),))
        release = signed.release(tmp_path / sha256[:8], promotion=promoted)
        return verify.verify_file_list(verified(release.envelope), release.file_list.encode())

    assert listed(hashlib.sha256(b"{}").hexdigest())
    with pytest.raises(Refusal, match="artifacts_altered"):
        listed(hashlib.sha256(b"[]").hexdigest())


def test_a_whole_release_passes(release):
    assert verify.verify_tree(release.file_list, release.directory, owner=os.getuid()) is None


def test_an_altered_release_is_refused_by_its_differences(release):
    (release.directory / "config.json").write_bytes(b"[]")
    (release.directory / "added").write_bytes(b"")
    with pytest.raises(Refusal) as refusal:
        verify.verify_tree(release.file_list, release.directory, owner=os.getuid())
    assert refusal.value.reason == "release_altered"
    assert refusal.value.found == "added is not in the release [file_extra]; config.json other content [file_content]"


def test_many_differences_are_counted_and_five_are_named(tmp_path):
    found = [Difference(f"f{number}", "is missing", "file_missing") for number in range(8)]
    with pytest.raises(Refusal, match=r"f4 is missing \[file_missing\]; and 3 more") as refusal:
        verify.require_unaltered(found, tmp_path)
    assert "f5" not in refusal.value.found


def test_a_strange_name_is_shown_safely(tmp_path):
    with pytest.raises(Refusal) as refusal:
        verify.require_unaltered([Difference("\x1b[2J\udcff", "is not in the release", "file_extra")], tmp_path)
    assert refusal.value.found == "\\x1b[2J\\udcff is not in the release [file_extra]"
