# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions of a trust policy as files, and a next version that several people sign."""

from __future__ import annotations

import json
import shutil
import stat

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.policy_draft import Draft
from ansible.module_utils.slipway.controller.trust_chain import TrustChain
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import read_policy, sign_policy
from ansible.module_utils.slipway.trust.rotation import MAX_CHAIN, follow

ALICE, BOB, CAROL, DAVE = (signed.private_key(number) for number in (21, 22, 23, 24))
ROOT = {"alice": ALICE, "bob": BOB, "carol": CAROL}
PROD = {
    "require": [],
    "distinct_holders": True,
    "max_manifest_age_days": 90,
    "max_approval_age_days": 7,
    "rollback_depth": 10,
}


def described(root=ROOT, **changes):
    keys = [{"holder": name, "role": "root", "public_key": PublicKey.of(key).hex} for name, key in root.items()]
    builder = {"holder": "ci", "role": "builder", "public_key": PublicKey.of(signed.BUILDER_KEY).hex}
    return Draft.parse(
        {
            "keys": [*keys, builder],
            "environments": {"prod": PROD},
            "thresholds": {"root": 2},
            "valid_days": 730,
            **changes,
        }
    )


DEEPER = described(environments={"prod": {**PROD, "rollback_depth": 11}})


@pytest.fixture
def chain(in_memory):
    """A controller that has version 1, and no private key."""
    made = TrustChain(in_memory / "trust/trust-policy.dsse.json")
    made.establish(described(), [ALICE, BOB], now=signed.NOW)
    return made


def names(chain):
    return sorted(path.name for path in chain.path.parent.iterdir())


def refusal_of(call, *arguments, **options):
    with pytest.raises(Refusal) as refusal:
        call(*arguments, **{"now": signed.NOW, **options})
    return refusal.value.reason


def payload_of(path):
    return dsse.Envelope.parse(path.read_bytes(), payload_type=dsse.TRUST_POLICY_TYPE, what="", is_draft=True).payload


# the first version


def test_the_first_version_is_signed_and_kept_under_its_number_too(chain):
    assert names(chain) == ["1.trust-policy.dsse.json", "trust-policy.dsse.json"]
    assert read_policy(chain.path).version == 1
    assert chain.version_path(1).read_bytes() == chain.path.read_bytes()
    assert stat.S_IMODE(chain.path.stat().st_mode) == 0o644


def test_establishing_again_changes_nothing_however_late(chain):
    before = chain.path.read_bytes()
    step = chain.establish(described(), [], now=signed.NOW + 5000 * signed.DAY)
    assert (step.changed, step.differences, step.policy) == (False, (), read_policy(chain.path))
    assert chain.path.read_bytes() == before


def test_a_policy_that_was_signed_before_rollbacks_could_be_authorized_says_the_same(chain):
    document = json.loads(
        dsse.Envelope.parse(chain.path.read_bytes(), payload_type=dsse.TRUST_POLICY_TYPE, what="").payload
    )
    del document["environments"]["prod"]["allowedRollback"]["require"]
    chain.path.write_bytes(sign_policy(document, ALICE, BOB))
    assert chain.establish(described(), [], now=signed.NOW).differences == ()


@pytest.mark.parametrize("check", [False, True])
def test_a_description_that_says_something_else_is_told_and_replaces_nothing(chain, check):
    before = chain.path.read_bytes()
    step = chain.establish(DEEPER, [ALICE, BOB], now=signed.NOW, check=check)
    assert step.changed is False
    assert step.differences == ("version: 1 -> 2", "prod: rollback over 10 releases -> rollback over 11 releases")
    assert chain.path.read_bytes() == before


def test_check_mode_signs_and_keeps_nothing(in_memory):
    chain = TrustChain(in_memory / "trust/trust-policy.dsse.json")
    step = chain.establish(described(), [ALICE, BOB], now=signed.NOW, check=True)
    assert step.changed
    assert "role root: 2 of 3 holders" in step.differences
    assert not chain.path.parent.exists()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [((), "envelope_unsigned"), ((signed.BUILDER_KEY,), "signature_unknown"), ((ALICE,), "signature_threshold")],
)
def test_the_first_version_is_signed_by_its_own_root(in_memory, keys, reason):
    chain = TrustChain(in_memory / "trust-policy.dsse.json")
    assert refusal_of(chain.establish, described(), keys) == reason
    assert list(in_memory.iterdir()) == []


# the next version


def test_with_the_root_keys_at_hand_the_next_version_is_made_at_once(chain):
    first = chain.path.read_bytes()
    step = chain.draft(DEEPER, [ALICE, BOB, CAROL], now=signed.NOW + 60)
    assert (step.changed, step.policy.version, step.lacking, step.draft) == (True, 2, (), None)
    assert step.differences[0] == "version: 1 -> 2"
    assert read_policy(chain.path) == step.policy
    assert names(chain) == ["1.trust-policy.dsse.json", "2.trust-policy.dsse.json", "trust-policy.dsse.json"]
    assert chain.version_path(1).read_bytes() == first
    again = chain.draft(DEEPER, [ALICE, BOB, CAROL], now=signed.NOW + 120)
    assert (again.changed, again.policy.version) == (False, 2)


def test_nothing_is_drafted_where_nothing_changes_unless_it_is_to_be_renewed(chain):
    late = signed.NOW + 700 * signed.DAY
    assert chain.draft(described(), [ALICE, BOB], now=late).changed is False
    step = chain.draft(described(), [ALICE, BOB], now=late, renew=True)
    assert (step.changed, step.policy.version) == (True, 2)
    assert [line.partition(":")[0] for line in step.differences] == ["version", "expires"]


def test_check_mode_drafts_nothing(chain):
    before = names(chain)
    assert chain.draft(DEEPER, [ALICE, BOB], now=signed.NOW, check=True).lacking == ()
    assert chain.draft(DEEPER, [], now=signed.NOW, check=True).changed
    assert names(chain) == before
    assert read_policy(chain.path).version == 1


def test_a_draft_is_signed_by_one_holder_after_the_other(chain, in_memory):
    """Each on a machine of their own, with a copy of the policy in force and of the draft."""
    step = chain.draft(DEEPER, [], now=signed.NOW)
    assert step.draft == chain.draft_path(2)
    assert step.lacking[0] == "2 more by the root of version 1, of alice, bob, carol"
    assert read_policy(chain.path).version == 1
    away = TrustChain(in_memory / "away/trust-policy.dsse.json")
    away.path.parent.mkdir()
    shutil.copy(chain.path, away.path)
    file = in_memory / "away/mailed.json"
    shutil.copy(step.draft, file)
    told = away.sign(file, [], now=signed.NOW, check=True)
    assert "prod: rollback over 10 releases -> rollback over 11 releases" in told.differences
    half = away.sign(file, [CAROL], now=signed.NOW, digest=told.policy.digest)
    assert half.lacking == (
        "1 more by the root of version 1, of alice, bob",
        "1 more by the root of itself, of alice, bob",
    )
    assert read_policy(away.path).version == 1
    whole = away.sign(file, [ALICE], now=signed.NOW)
    assert (whole.lacking, read_policy(away.path).version) == ((), 2)
    # Back on the controller, which has no key at all.
    taken = chain.sign(file, [], now=signed.NOW)
    assert (taken.changed, taken.lacking, read_policy(chain.path).version) == (True, (), 2)
    assert names(chain) == ["1.trust-policy.dsse.json", "2.trust-policy.dsse.json", "trust-policy.dsse.json"]
    assert chain.sign(file, [], now=signed.NOW).changed is False


def test_copies_that_several_have_signed_are_put_together(chain, in_memory):
    draft = chain.draft(DEEPER, [], now=signed.NOW).draft
    files = {name: in_memory / f"{name}.json" for name in ("alice", "bob")}
    for name, file in files.items():
        envelope = dsse.Envelope.parse(draft.read_bytes(), payload_type=dsse.TRUST_POLICY_TYPE, what="", is_draft=True)
        file.write_bytes(dsse.sign(envelope.payload_type, envelope.payload, ROOT[name]).encode())
    first = chain.sign(files["alice"], [], now=signed.NOW)
    assert first.lacking == (
        "1 more by the root of version 1, of bob, carol",
        "1 more by the root of itself, of bob, carol",
    )
    assert chain.sign(files["alice"], [], now=signed.NOW).changed is False
    assert chain.sign(files["bob"], [], now=signed.NOW).lacking == ()
    assert read_policy(chain.path).version == 2


def test_a_draft_that_lies_there_goes_on_with_the_signatures_that_it_has(chain):
    chain.draft(DEEPER, [CAROL], now=signed.NOW)
    before = chain.draft_path(2).read_bytes()
    again = chain.draft(DEEPER, [CAROL], now=signed.NOW + 500)
    assert (again.changed, chain.draft_path(2).read_bytes()) == (False, before)
    assert chain.draft(DEEPER, [BOB], now=signed.NOW + 900).lacking == ()
    assert read_policy(chain.path).version == 2


def test_a_draft_that_says_something_else_is_not_replaced(chain):
    chain.draft(DEEPER, [CAROL], now=signed.NOW)
    before = chain.draft_path(2).read_bytes()
    assert (
        refusal_of(chain.draft, described(environments={"prod": {**PROD, "rollback_depth": 12}}), [])
        == "policy_draft_differs"
    )
    assert chain.draft_path(2).read_bytes() == before


def test_a_lost_root_key_is_replaced_by_those_who_are_left(chain):
    """Carol lost hers. Dave comes in her place, and need not sign himself."""
    root = {"alice": ALICE, "bob": BOB, "dave": DAVE}
    assert chain.draft(described(root), [ALICE, BOB], now=signed.NOW).lacking == ()
    assert {key.holder for key in read_policy(chain.path).roles["root"].keys} == set(root)
    third = chain.draft(
        described({"alice": ALICE, "dave": DAVE, "bob": BOB}, valid_days=10), [ALICE, DAVE], now=signed.NOW, renew=True
    )
    assert (third.lacking, third.policy.version) == ((), 3)
    assert [
        version.policy.version for version in follow(read_policy(chain.version_path(1)), chain.envelopes(), signed.NOW)
    ] == [2, 3]


def test_keys_that_are_no_root_keys_do_not_sign_a_draft_that_they_lie_beside(chain):
    step = chain.draft(DEEPER, [signed.BUILDER_KEY], now=signed.NOW)
    assert json.loads(step.draft.read_bytes())["signatures"] == []


@pytest.mark.parametrize("key", [DAVE, signed.BUILDER_KEY], ids=["unknown", "of another role"])
def test_only_a_root_key_signs(chain, key):
    file = chain.draft(DEEPER, [], now=signed.NOW).draft
    assert refusal_of(chain.sign, file, [key]) == "root_key_unknown"


def test_a_revoked_root_key_does_not_sign(chain):
    revoking = described(revoked_keys=[signed.keyid(CAROL)])
    chain.draft(revoking, [ALICE, BOB], now=signed.NOW)
    file = chain.draft(
        described(revoked_keys=[], environments={"prod": {**PROD, "rollback_depth": 12}}), [], now=signed.NOW
    ).draft
    assert refusal_of(chain.sign, file, [CAROL]) == "root_key_unknown"


def test_what_was_not_shown_is_not_signed(chain):
    file = chain.draft(DEEPER, [], now=signed.NOW).draft
    assert refusal_of(chain.sign, file, [ALICE], digest="a" * 64) == "policy_draft_changed"
    assert json.loads(file.read_bytes())["signatures"] == []


def test_signatures_that_count_for_nobody_are_left_out(chain):
    file = chain.draft(DEEPER, [], now=signed.NOW).draft
    envelope = dsse.Envelope.parse(file.read_bytes(), payload_type=dsse.TRUST_POLICY_TYPE, what="", is_draft=True)
    junk = [signed.private_key(100 + number) for number in range(16)]
    file.write_bytes(dsse.sign(envelope.payload_type, envelope.payload, *junk).encode())
    chain.sign(file, [ALICE], now=signed.NOW)
    assert len(json.loads(file.read_bytes())["signatures"]) == 1


def test_a_draft_of_another_version_is_refused(chain, in_memory):
    ahead = TrustChain(in_memory / "ahead/trust-policy.dsse.json")
    shutil.copytree(chain.path.parent, ahead.path.parent)
    ahead.draft(DEEPER, [ALICE, BOB], now=signed.NOW)
    file = ahead.draft(described(), [], now=signed.NOW).draft
    assert refusal_of(chain.sign, file, [ALICE]) == "policy_draft_version"
    assert refusal_of(ahead.sign, chain.path, [ALICE]) == "policy_draft_version"


def test_a_draft_that_is_softer_is_refused_before_it_is_signed(chain, in_memory):
    chain.draft(described(floors={"hello": 7}), [ALICE, BOB], now=signed.NOW)
    document = json.loads(payload_of(chain.path))
    file = in_memory / "softer.json"
    softer = canonical.encode({**document, "version": 3, "minSafeSequence": {}})
    file.write_bytes(dsse.Envelope(dsse.TRUST_POLICY_TYPE, softer, ()).encode())
    assert refusal_of(chain.sign, file, [ALICE]) == "policy_floor_lowered"
    assert json.loads(file.read_bytes())["signatures"] == []


def test_a_next_version_that_has_expired_is_not_taken(chain):
    file = chain.draft(described(valid_days=1), [], now=signed.NOW, renew=True).draft
    late = signed.NOW + 2 * signed.DAY
    assert refusal_of(chain.sign, file, [ALICE, BOB], now=late) == "policy_expired"
    assert read_policy(chain.path).version == 1


def test_a_draft_needs_a_policy_before_it(in_memory):
    assert refusal_of(TrustChain(in_memory / "none.json").draft, DEEPER, []) == "trust_policy_missing"


# the chain


def test_the_chain_goes_back_as_far_as_it_was_kept(chain):
    for depth in (11, 12, 13):
        changed = described(environments={"prod": {**PROD, "rollback_depth": depth}})
        chain.draft(changed, [ALICE, BOB], now=signed.NOW)
    versions = [chain.version_path(number).read_bytes() for number in (1, 2, 3, 4)]
    assert chain.envelopes() == versions
    chain.version_path(2).unlink()
    assert chain.envelopes() == versions[2:]
    chain.version_path(4).unlink()
    assert chain.envelopes() == versions[2:]


def test_a_controller_that_kept_no_versions_keeps_the_one_before_from_now_on(chain):
    first = chain.path.read_bytes()
    chain.version_path(1).unlink()
    assert chain.envelopes() == [first]
    chain.draft(DEEPER, [ALICE, BOB], now=signed.NOW)
    assert chain.envelopes() == [first, chain.path.read_bytes()]


def test_the_chain_is_no_longer_than_hosts_take(chain, monkeypatch):
    assert MAX_CHAIN == 256
    monkeypatch.setattr("ansible.module_utils.slipway.controller.trust_chain.MAX_CHAIN", 2)
    for depth in (11, 12):
        chain.draft(described(environments={"prod": {**PROD, "rollback_depth": depth}}), [ALICE, BOB], now=signed.NOW)
    assert chain.envelopes() == [chain.version_path(number).read_bytes() for number in (2, 3)]
