# SPDX-License-Identifier: GPL-3.0-or-later
"""A trust policy is followed by its next version only: signed by both roots, without a gap, and never softer."""

from __future__ import annotations

import copy

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import dsse, rotation
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import TrustPolicy
from ansible.module_utils.slipway.trust.rotation import MAX_CHAIN, differences, follow, lacking, rotate

ALICE, BOB, CAROL, DAVE = (signed.private_key(number) for number in (21, 22, 23, 24))
ROOT = {"alice": ALICE, "bob": BOB, "carol": CAROL}
SPARE = signed.private_key(25)


def document(version=1, root=ROOT, threshold=2, **changes):
    """A policy whose root is `threshold` of these holders; a holder may have several keys (alice, alice-2 …)."""
    made = signed.policy_document(version=version, **changes)
    del made["keys"][signed.keyid(signed.ROOT_KEY)]
    for name, key in root.items():
        made["keys"][signed.keyid(key)] = signed.key_entry(key, name.partition("-")[0])
    made["roles"]["root"] = {"keyids": [signed.keyid(key) for key in root.values()], "threshold": threshold}
    return made


def envelope(made, *keys):
    return signed.policy_envelope(made, *(keys or (ALICE, BOB)))


def read(made, *keys):
    return TrustPolicy.parse(envelope(made, *keys))


FIRST = read(document())


def refused(*envelopes, current=FIRST, now=signed.NOW):
    with pytest.raises(Refusal) as refusal:
        follow(current, envelopes, now)
    return refusal.value


@pytest.mark.parametrize("keys", [(ALICE, BOB), (CAROL, ALICE), (ALICE, BOB, CAROL)])
def test_the_next_version_by_both_roots_is_taken(keys):
    new = rotate(FIRST, envelope(document(2), *keys), signed.NOW)
    assert (new.version, new) == (2, read(document(2)))


def test_the_same_version_changes_nothing_whoever_signed_it_too():
    assert rotate(FIRST, envelope(document()), signed.NOW) is FIRST
    assert rotate(FIRST, envelope(document(), ALICE, BOB, CAROL), signed.NOW) is FIRST
    assert follow(FIRST, [envelope(document())], signed.NOW) == ()


def test_a_new_root_is_believed_when_the_old_root_says_so():
    """Carol's key is lost: Dave takes her place by the signatures of the two who are left."""
    after = document(2, {"alice": ALICE, "bob": BOB, "dave": DAVE})
    assert rotate(FIRST, envelope(after), signed.NOW).version == 2
    third = document(3, {"alice": ALICE, "dave": DAVE, "erin": SPARE})
    second = read(after)
    assert rotate(second, envelope(third, ALICE, DAVE), signed.NOW).version == 3


def chain(*versions, **changes):
    return [envelope(document(version, **changes)) for version in versions]


def test_a_chain_is_followed_step_by_step():
    taken = follow(FIRST, chain(1, 2, 3, 4), signed.NOW)
    assert [version.policy.version for version in taken] == [2, 3, 4]
    assert [version.envelope for version in taken] == chain(2, 3, 4)
    second = read(document(2))
    assert [version.policy.version for version in follow(second, chain(1, 2, 3), signed.NOW)] == [3]


def test_only_the_newest_of_a_chain_must_not_have_expired():
    ended = "2026-02-01T00:00:00Z"
    current = read(document(expires=ended))
    between = envelope(document(2, expires=ended))
    assert len(follow(current, [between, *chain(3)], signed.NOW)) == 2
    assert refused(between, current=current).reason == "policy_expired"
    last = signed.NOW + 5
    ending = envelope(document(2, expires=timestamp(last)))
    assert rotate(FIRST, ending, last - 1).version == 2
    assert refused(ending, now=last).reason == "policy_expired"


def test_a_chain_has_at_least_one_version_and_not_too_many():
    assert refused().reason == "policy_chain_length"
    assert refused(*[b""] * (MAX_CHAIN + 1)).reason == "policy_chain_length"
    assert follow(FIRST, chain(1) * MAX_CHAIN, signed.NOW) == ()


def test_an_older_version_is_refused():
    assert refused(*chain(1), current=read(document(2))).reason == "policy_version_older"
    assert refused(*chain(1, 2), current=read(document(3))).reason == "policy_version_older"


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_with_other_content_is_refused(version):
    other = document(version, minSafeSequence={"hello": 1})
    current = read(document(version))
    assert refused(envelope(other), current=current).reason == "policy_version_taken"
    assert refused(envelope(other), *chain(version + 1), current=current).reason == "policy_version_taken"


def test_a_chain_does_not_name_a_version_twice():
    twice = [*chain(2), envelope(document(2, minSafeSequence={"hello": 1}))]
    assert refused(*twice).reason == "policy_version_taken"


def test_a_version_that_skips_one_is_refused():
    assert refused(*chain(3)).reason == "policy_version_skipped"
    assert refused(*chain(2, 4)).reason == "policy_version_skipped"
    assert refused(*chain(3, 2)).reason == "policy_version_skipped"


def test_a_version_that_only_its_own_root_signed_is_refused():
    others = {"dave": DAVE, "erin": SPARE}
    refusal = refused(envelope(document(2, others), DAVE, SPARE))
    assert refusal.reason == "policy_unsigned_by_predecessor"
    assert "signed by the root of version 1" in refusal.expected
    assert "alice, bob, carol" in refusal.expected
    assert refused(envelope(document(2, others), DAVE, SPARE, ALICE)).reason == "policy_unsigned_by_predecessor"
    assert rotate(FIRST, envelope(document(2, others), DAVE, SPARE, ALICE, BOB), signed.NOW).version == 2


def test_a_version_that_only_the_root_before_signed_is_refused():
    others = {"dave": DAVE, "erin": SPARE}
    assert refused(envelope(document(2, others))).reason == "signature_unknown"
    assert refused(envelope(document(2, {**others, "alice": ALICE}))).reason == "signature_threshold"


def test_thresholds_count_holders_and_not_keys_on_both_sides():
    two_of_alice = {"alice": ALICE, "alice-2": SPARE, "bob": BOB}
    current = read(document(1, two_of_alice), ALICE, BOB)
    one_holder = envelope(document(2, {"alice": ALICE, "dave": SPARE}), ALICE, SPARE)
    assert refused(one_holder, current=current).reason == "policy_unsigned_by_predecessor"
    assert refused(envelope(document(2, two_of_alice), ALICE, SPARE, CAROL)).reason == "signature_threshold"
    assert refused(envelope(document(2), ALICE, ALICE)).reason == "signature_threshold"


def test_a_root_key_that_the_version_before_revokes_does_not_count():
    revoked = {"keys": [signed.keyid(CAROL)], "payloads": []}
    current = read(document(revoked=revoked))
    # The new version leaves Carol's key out of the revoked ones: it must not vouch for that itself.
    pardoned = envelope(document(2), ALICE, CAROL)
    assert refused(pardoned, current=current).reason == "policy_unsigned_by_predecessor"
    by_carol = envelope(document(2, {"carol": CAROL}, 1, revoked=revoked), CAROL)
    assert refused(by_carol, current=current).reason == "key_revoked"
    assert rotate(current, envelope(document(2, revoked=revoked)), signed.NOW).version == 2


def test_a_root_key_that_the_new_version_revokes_does_not_count_for_it():
    revoking = document(2, revoked={"keys": [signed.keyid(CAROL)], "payloads": []})
    assert refused(envelope(revoking, ALICE, CAROL)).reason == "signature_threshold"
    assert rotate(FIRST, envelope(revoking), signed.NOW).revoked_keys == {signed.keyid(CAROL)}


def with_root_time(name, when):
    made = document(2)
    for key in (ALICE, BOB):
        made["keys"][signed.keyid(key)][name] = timestamp(when)
    return envelope(made)


def test_root_keys_of_the_newest_version_are_valid_now():
    assert refused(with_root_time("notAfter", signed.NOW - 1)).reason == "key_outside_validity"
    assert rotate(FIRST, with_root_time("notAfter", signed.NOW), signed.NOW).version == 2
    assert refused(with_root_time("notBefore", signed.NOW + 301)).reason == "key_outside_validity"


def test_a_clock_that_is_a_little_behind_takes_a_key_that_begins_now():
    assert rotate(FIRST, with_root_time("notBefore", signed.NOW + 300), signed.NOW).version == 2


def test_a_version_that_the_one_before_revokes_is_refused():
    offered = envelope(document(2))
    digest = TrustPolicy.parse(offered).digest
    revoked = {"keys": [], "payloads": [digest]}
    assert refused(offered, current=read(document(revoked=revoked))).reason == "policy_revoked"


@pytest.mark.parametrize("floors", [{}, {"hello": 6}, {"shop": 7}])
def test_a_floor_never_falls(floors):
    current = read(document(minSafeSequence={"hello": 7}))
    assert refused(envelope(document(2, minSafeSequence=floors)), current=current).reason == "policy_floor_lowered"


@pytest.mark.parametrize("floors", [{"hello": 7}, {"hello": 8, "shop": 1}])
def test_a_floor_may_rise(floors):
    current = read(document(minSafeSequence={"hello": 7}))
    assert rotate(current, envelope(document(2, minSafeSequence=floors)), signed.NOW).min_safe_sequence == floors


@pytest.mark.parametrize("kind", ["keys", "payloads"])
def test_a_revocation_never_vanishes(kind):
    revoked = {"keys": [], "payloads": [], kind: ["a" * 64, "b" * 64]}
    current = read(document(revoked=revoked))
    fewer = {**revoked, kind: ["a" * 64, "c" * 64]}
    refusal = refused(envelope(document(2, revoked=fewer)), current=current)
    assert (refusal.reason, "b" * 64 in refusal.found) == ("policy_revocation_withdrawn", True)
    more = {**revoked, kind: ["a" * 64, "b" * 64, "c" * 64]}
    assert rotate(current, envelope(document(2, revoked=more)), signed.NOW).version == 2


def test_a_chain_is_refused_whole_when_a_step_between_does_not_hold():
    forged = envelope(document(2, {"dave": DAVE, "erin": SPARE}), DAVE, SPARE)
    last = envelope(document(3, {"dave": DAVE, "erin": SPARE}), DAVE, SPARE)
    assert refused(forged, last).reason == "policy_unsigned_by_predecessor"


def test_what_is_no_policy_is_refused():
    assert refused(b"{}").reason == "envelope_payload_type"


# signing by several


def drafted(made, *keys):
    return dsse.sign(dsse.TRUST_POLICY_TYPE, canonical.encode(made), *keys)


def test_what_is_lacking_is_said_for_both_roots():
    after = document(2, {"alice": ALICE, "bob": BOB, "dave": DAVE})
    assert lacking(FIRST, drafted(after)) == [
        "2 more by the root of version 1, of alice, bob, carol",
        "2 more by the root of itself, of alice, bob, dave",
    ]
    assert lacking(FIRST, drafted(after, ALICE, CAROL)) == ["1 more by the root of itself, of bob, dave"]
    assert lacking(FIRST, drafted(after, BOB, DAVE)) == ["1 more by the root of version 1, of alice, carol"]
    assert lacking(FIRST, drafted(after, ALICE, BOB)) == []
    assert lacking(None, drafted(document(), ALICE)) == ["1 more by the root of itself, of bob, carol"]


def test_a_revoked_root_key_lacks_as_before():
    revoked = {"keys": [signed.keyid(CAROL)], "payloads": []}
    assert lacking(FIRST, drafted(document(2, revoked=revoked), ALICE, CAROL)) == [
        "1 more by the root of itself, of bob"
    ]


# in words


def words(*, before=None, **changes):
    return differences(read(before or document()), TrustPolicy.from_payload(canonical.encode(document(2, **changes))))


def test_a_version_that_says_the_same_differs_by_its_number_only():
    assert words() == ["version: 1 -> 2"]
    assert differences(FIRST, FIRST) == []


def short(key):
    return signed.keyid(key)[:16]


def test_keys_that_come_go_and_are_revoked_are_named():
    after = document(
        2, {"alice": ALICE, "bob": BOB, "dave": DAVE}, revoked={"keys": [signed.keyid(signed.LEAD_KEY)], "payloads": []}
    )
    assert differences(FIRST, TrustPolicy.from_payload(canonical.encode(after)))[1:] == [
        f"key {short(signed.LEAD_KEY)} of lead (engineering_lead): valid from {signed.SINCE} to {signed.UNTIL} -> revoked",
        f"key {short(CAROL)} of carol (root): taken out, what it signed is not trusted any more",
        f"key {short(DAVE)} of dave (root): new, valid from {signed.SINCE} to {signed.UNTIL}",
    ]  # fmt: skip


def test_a_revoked_key_that_has_no_entry_is_named():
    assert words(revoked={"keys": ["a" * 64], "payloads": ["b" * 64]})[1:] == [
        f"key {'a' * 16}: revoked",
        f"release {'b' * 64}: revoked",
    ]


def changed_key(key, **changes):
    made = document(2)
    made["keys"][signed.keyid(key)].update(changes)
    return differences(FIRST, TrustPolicy.from_payload(canonical.encode(made)))[1:]


def test_a_key_that_retires_changes_its_holder_or_its_beginning_is_named():
    ends, begins = "2026-12-01T00:00:00Z", "2026-02-01T00:00:00Z"
    name = f"key {short(signed.BUILDER_KEY)} of ci (builder)"
    assert changed_key(signed.BUILDER_KEY, notAfter=ends) == [
        f"{name}: valid from {signed.SINCE} to {signed.UNTIL} -> valid from {signed.SINCE} to {ends}"
    ]
    assert changed_key(signed.BUILDER_KEY, notBefore=begins) == [f"{name}: begins {signed.SINCE} -> {begins}"]
    assert changed_key(signed.BUILDER_KEY, holder="ci-2") == [f"{name}: now of ci-2 (builder)"]


def test_keys_that_last_as_long_as_the_policy_are_not_worth_a_line_when_it_lasts_longer():
    made = document(2, expires="2029-01-01T00:00:00Z")
    for entry in made["keys"].values():
        entry["notAfter"] = made["expires"]
    after = TrustPolicy.from_payload(canonical.encode(made))
    assert differences(FIRST, after)[1:] == [f"expires: {signed.UNTIL} -> 2029-01-01T00:00:00Z"]


def test_thresholds_environments_and_floors_are_named():
    requirement = {"role": "risk_manager", "threshold": 1}
    prod = signed.environment(
        require=[requirement], distinctHolders=False, allowedRollback={"depth": 2, "require": [requirement]}
    )
    said = words(
        threshold=3,
        environments={"prod": prod, "play": signed.environment()},
        minSafeSequence={"hello": signed.NOW},
    )  # fmt: skip
    assert said[1:] == [
        "role root: 2 of 3 holders -> 3 of 3 holders",
        "play: approvals none",
        "play: holders distinct",
        "play: manifests at most 7776000 s old",
        "play: approvals at most 604800 s old",
        "play: rollback over 10 releases",
        "play: rollback further authorized by nobody",
        "prod: approvals none -> approvals 1 risk_manager",
        "prod: holders distinct -> holders need not be distinct",
        "prod: rollback over 10 releases -> rollback over 2 releases",
        "prod: rollback further authorized by nobody -> rollback further authorized by 1 risk_manager",
        "staging: taken out, nothing can be activated there any more",
        f"floor of hello: {signed.NOW} (2026-11-18T11:06:40Z)",
    ]
    assert "floor of hello" not in "".join(
        words(before=document(minSafeSequence={"hello": 7}), minSafeSequence={"hello": 7})
    )


def test_a_role_that_comes_or_goes_is_named():
    before = document()
    del before["roles"]["engineering_lead"]
    del before["keys"][signed.keyid(signed.LEAD_KEY)]
    assert "role engineering_lead: none -> 1 of 1 holders" in words(before=before)


def test_a_first_version_is_described_whole():
    made = document(revoked={"keys": [signed.keyid(CAROL)], "payloads": ["b" * 64]}, minSafeSequence={"hello": 7})
    said = differences(None, read(made))
    assert said[:3] == [
        "version: 1",
        f"expires: {signed.UNTIL}",
        f"key {short(signed.BUILDER_KEY)} of ci (builder): valid from {signed.SINCE} to {signed.UNTIL}, "
        f"public key {PublicKey.of(signed.BUILDER_KEY).hex}",
    ]
    assert f"key {short(CAROL)} of carol (root): revoked, public key {PublicKey.of(CAROL).hex}" in said
    assert {"role root: 2 of 3 holders", "prod: approvals none", f"release {'b' * 64}: revoked"} < set(said)
    assert "floor of hello: 7 (1970-01-01T00:00:07Z)" in said


def test_judging_changes_nothing_and_says_the_same_twice():
    policies = chain(2, 3)
    kept = copy.deepcopy(policies)
    assert follow(FIRST, policies, signed.NOW) == follow(FIRST, policies, signed.NOW)
    assert policies == kept
    assert rotation.rotate(FIRST, policies[0], signed.NOW).version == 2
