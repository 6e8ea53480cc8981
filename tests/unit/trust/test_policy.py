# SPDX-License-Identifier: GPL-3.0-or-later
"""Trust policies: read strictly, self-signed, and counted by holders."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import dsse, policy
from ansible.module_utils.slipway.trust.keys import PublicKey

ROOT_ID, BUILDER_ID = signed.keyid(signed.ROOT_KEY), signed.keyid(signed.BUILDER_KEY)
LEAD_ID, RISK_ID = signed.keyid(signed.LEAD_KEY), signed.keyid(signed.RISK_KEY)


def reason(document, *keys):
    with pytest.raises(Refusal) as refusal:
        policy.TrustPolicy.parse(signed.policy_envelope(document, *keys))
    return refusal.value.reason


def test_a_policy_says_what_it_was_made_of():
    requirement = {"role": "risk_manager", "threshold": 1}
    prod = signed.environment(require=[requirement], allowedRollback={"depth": 3})
    read = signed.trust_policy(environments={"prod": prod}, minSafeSequence={"hello": 7})
    assert read.version == 1
    assert read.expires == signed.UNTIL
    assert read.environment("prod").require == (policy.Requirement("risk_manager", 1),)
    assert (read.environment("prod").rollback_depth, read.environment("prod").rollback_require) == (3, ())
    assert read.environment("prod").max_manifest_age == 90 * signed.DAY
    assert read.min_safe_sequence == {"hello": 7}
    assert [key.holder for key in read.roles["builder"].keys] == ["ci"]
    assert len(read.digest) == 64


def test_a_policy_says_who_may_authorize_a_rollback():
    requirement = {"role": "risk_manager", "threshold": 1}
    prod = signed.environment(allowedRollback={"depth": 3, "require": [requirement]})
    read = signed.trust_policy(environments={"prod": prod}).environment("prod")
    assert read.rollback_require == (policy.Requirement("risk_manager", 1),)
    assert read.require == ()


def test_an_environment_that_the_policy_does_not_know_is_refused():
    with pytest.raises(Refusal, match=r"environment_unknown: expected .*: prod, staging; found 'test'"):
        signed.trust_policy().environment("test")


def changed(**changes):
    return signed.policy_document(**changes)


def with_key(keyid, **changes):
    document = signed.policy_document()
    document["keys"][keyid].update(changes)
    return document


def with_role(name, **changes):
    document = signed.policy_document()
    document["roles"].setdefault(name, {}).update(changes)
    return document


def with_prod(**changes):
    return changed(environments={"prod": signed.environment(**changes)})


def without(name):
    document = signed.policy_document()
    del document[name]
    return document


MALFORMED = {
    "another format": changed(format=2),
    "no version": without("version"),
    "version 0": changed(version=0),
    "a version that is a boolean": changed(version=True),
    "no expiry": without("expires"),
    "an expiry with a zone": changed(expires="2028-01-01T00:00:00+01:00"),
    "an unknown member": changed(comment="trust me"),
    "keys as an array": changed(keys=[]),
    "a key without a holder": with_key(ROOT_ID, holder=""),
    "a key with an unknown member": with_key(ROOT_ID, comment=""),
    "a key that ends before it begins": with_key(ROOT_ID, notAfter="2025-01-01T00:00:00Z"),
    "no role root": changed(roles={"builder": {"keyids": [BUILDER_ID], "threshold": 1}}),
    "no role builder": changed(roles={"root": {"keyids": [ROOT_ID], "threshold": 1}}),
    "a role without keys": with_role("builder", keyids=[]),
    "a role with an unknown key": with_role("builder", keyids=["0" * 64]),
    "a role with the same key twice": with_role("builder", keyids=[BUILDER_ID, BUILDER_ID]),
    "a role with an unknown member": with_role("builder", weight=1),
    "a key id that is no string": with_role("builder", keyids=[1]),
    "environments as an array": changed(environments=[]),
    "an environment with capitals": changed(environments={"Prod": signed.environment()}),
    "an environment with an unknown member": with_prod(skipVerification=True),
    "distinctHolders as a number": with_prod(distinctHolders=1),
    "a manifest age of 0": with_prod(maxManifestAge=0),
    "an approval age of a century": with_prod(maxApprovalAge=100 * 366 * signed.DAY),
    "a negative rollback depth": with_prod(allowedRollback={"depth": -1}),
    "allowedRollback with an unknown member": with_prod(allowedRollback={"depth": 1, "any": True}),
    "authorization by an unknown role": with_prod(
        allowedRollback={"depth": 1, "require": [{"role": "nobody", "threshold": 1}]}
    ),
    "authorization by the builder": with_prod(
        allowedRollback={"depth": 1, "require": [{"role": "builder", "threshold": 1}]}
    ),
    "approval by an unknown role": with_prod(require=[{"role": "nobody", "threshold": 1}]),
    "approval by the builder": with_prod(require=[{"role": "builder", "threshold": 1}]),
    "approval by root": with_prod(require=[{"role": "root", "threshold": 1}]),
    "approval by one role twice": with_prod(require=[{"role": "risk_manager", "threshold": 1}] * 2),
    "a requirement with an unknown member": with_prod(require=[{"role": "risk_manager", "threshold": 1, "or": []}]),
    "a floor that is no number": changed(minSafeSequence={"hello": "7"}),
    "a floor beyond all time": changed(minSafeSequence={"hello": 253402300800}),
    "a revoked key that is no digest": changed(revoked={"keys": ["abc"], "payloads": []}),
    "a digest revoked twice": changed(revoked={"keys": [], "payloads": ["a" * 64, "a" * 64]}),
    "revoked with an unknown member": changed(revoked={"keys": [], "payloads": [], "holders": []}),
}


@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_policy_is_refused(document):
    assert reason(document) == "policy_malformed"


THRESHOLDS = {
    "threshold 0": with_role("builder", threshold=0),
    "a negative threshold": with_role("builder", threshold=-1),
    "a threshold that is true": with_role("builder", threshold=True),
    "a threshold that is a text": with_role("builder", threshold="1"),
    "a threshold beyond the holders": with_role("builder", threshold=2),
    "approval by nobody": with_prod(require=[{"role": "risk_manager", "threshold": 0}]),
    "approval by more than there are": with_prod(require=[{"role": "risk_manager", "threshold": 2}]),
    "authorization by more than there are": with_prod(
        allowedRollback={"depth": 1, "require": [{"role": "risk_manager", "threshold": 2}]}
    ),
}


@pytest.mark.parametrize("document", THRESHOLDS.values(), ids=THRESHOLDS.keys())
def test_a_threshold_that_asks_for_nobody_or_for_more_than_there_are_is_refused(document):
    assert reason(document) == "policy_threshold"


def test_one_key_in_two_roles_is_refused():
    assert reason(with_role("builder", keyids=[BUILDER_ID, LEAD_ID])) == "policy_key_shared"


def test_a_key_under_another_id_is_refused():
    assert reason(changed(keys={"0" * 64: signed.key_entry(signed.ROOT_KEY, "operator")})) == "policy_keyid"


@pytest.mark.parametrize("public", [None, 1, [], "", "a" * 63, "A" * 64, "g" * 64, "02" + "a" * 64])
def test_a_public_key_of_another_form_is_refused(public):
    assert reason(with_key(ROOT_ID, public=public)) == "key_invalid"


def test_a_key_that_nobody_uses_needs_its_own_id_too():
    document = signed.policy_document()
    document["keys"]["0" * 64] = signed.key_entry(signed.OTHER_KEY, "spare")
    assert reason(document) == "policy_keyid"


def test_a_role_without_keys_is_named_as_such():
    with pytest.raises(Refusal, match=r"trust policy\.roles\.builder\.keyids: at least one key"):
        policy.TrustPolicy.parse(signed.policy_envelope(MALFORMED["a role without keys"]))


def test_a_policy_with_a_weak_key_is_refused():
    # (0, 1), the neutral element, under the id that securesystemslib would give it
    weak = "01" + "00" * 31
    with pytest.raises(Refusal, match="key_weak"):
        policy.TrustPolicy.from_payload(canonical.encode(with_key(ROOT_ID, public=weak)))


def test_a_policy_that_is_not_canonical_is_refused():
    payload = canonical.encode(signed.policy_document()) + b"\n"
    envelope = dsse.sign(dsse.TRUST_POLICY_TYPE, payload, signed.ROOT_KEY).encode()
    with pytest.raises(Refusal, match="json_not_canonical"):
        policy.TrustPolicy.parse(envelope)


def test_a_policy_of_another_payload_type_is_refused():
    envelope = signed.sign(canonical.encode(signed.policy_document()), signed.ROOT_KEY)
    with pytest.raises(Refusal, match="envelope_payload_type"):
        policy.TrustPolicy.parse(envelope)


@pytest.mark.parametrize("key", [signed.BUILDER_KEY, signed.OTHER_KEY], ids=["builder", "unknown"])
def test_a_policy_that_its_root_did_not_sign_is_refused(key):
    assert reason(signed.policy_document(), key) == "signature_unknown"


def test_a_policy_that_was_changed_after_its_root_signed_it_is_refused():
    signature = dsse.Envelope.parse(
        signed.policy_envelope(), payload_type=dsse.TRUST_POLICY_TYPE, what="a test"
    ).signatures
    changed_since = canonical.encode(signed.policy_document(version=2))
    with pytest.raises(Refusal, match=r"signature_invalid: expected trust policy as operator signed it"):
        policy.TrustPolicy.parse(dsse.Envelope(dsse.TRUST_POLICY_TYPE, changed_since, signature).encode())


def test_a_policy_whose_only_root_key_it_revokes_is_refused():
    assert reason(changed(revoked={"keys": [ROOT_ID], "payloads": []})) == "key_revoked"


def two_root_keys(second_holder):
    document = signed.policy_document()
    other = signed.keyid(signed.OTHER_KEY)
    document["keys"][other] = signed.key_entry(signed.OTHER_KEY, second_holder)
    document["roles"]["root"] = {"keyids": [ROOT_ID, other], "threshold": 2}
    return document


def test_a_threshold_of_two_needs_two_holders():
    document = two_root_keys("deputy")
    assert reason(document, signed.ROOT_KEY) == "signature_threshold"
    assert reason(document, signed.ROOT_KEY, signed.ROOT_KEY) == "signature_threshold"
    envelope = signed.policy_envelope(document, signed.ROOT_KEY, signed.OTHER_KEY)
    assert policy.TrustPolicy.parse(envelope).roles["root"].threshold == 2


def test_two_keys_of_one_holder_are_one_signer():
    assert reason(two_root_keys("operator"), signed.ROOT_KEY, signed.OTHER_KEY) == "policy_threshold"
    document = two_root_keys("operator")
    third = signed.private_key(9)
    document["keys"][signed.keyid(third)] = signed.key_entry(third, "deputy")
    document["roles"]["root"]["keyids"].append(signed.keyid(third))
    assert reason(document, signed.ROOT_KEY, signed.OTHER_KEY) == "signature_threshold"


def test_a_revoked_key_is_not_counted_beside_a_trusted_one():
    document = two_root_keys("deputy")
    document["revoked"]["keys"] = [ROOT_ID]
    assert reason(document, signed.ROOT_KEY, signed.OTHER_KEY) == "signature_threshold"


def test_the_holder_of_a_builder_key_is_known():
    assert signed.trust_policy().holder("builder", PublicKey.of(signed.BUILDER_KEY)) == "ci"


@pytest.mark.parametrize("key", [signed.ROOT_KEY, signed.OTHER_KEY], ids=["of another role", "unknown"])
def test_a_key_that_the_role_does_not_have_is_refused(key):
    with pytest.raises(Refusal, match="key_unknown"):
        signed.trust_policy().holder("builder", PublicKey.of(key))


def test_a_revoked_key_has_no_holder():
    revoking = signed.trust_policy(revoked={"keys": [BUILDER_ID], "payloads": []})
    with pytest.raises(Refusal, match="key_unknown"):
        revoking.holder("builder", PublicKey.of(signed.BUILDER_KEY))


def test_only_keys_valid_at_the_time_count():
    read = signed.trust_policy()
    builders = read.roles["builder"].keys
    first, last = builders[0].not_before, builders[0].not_after
    for time in (first, last):
        assert read.require_valid("builder", builders, at=time, what="a test") == builders
    for time in (first - 1, last + 1):
        with pytest.raises(Refusal, match=r"key_outside_validity: .*; found ci 2026-01-01T00:00:00Z to 2028"):
            read.require_valid("builder", builders, at=time, what="a test")


def test_a_threshold_counts_only_keys_valid_at_the_time():
    document = two_root_keys("deputy")
    document["keys"][signed.keyid(signed.OTHER_KEY)]["notAfter"] = "2026-02-01T00:00:00Z"
    read = policy.TrustPolicy.parse(signed.policy_envelope(document, signed.ROOT_KEY, signed.OTHER_KEY))
    with pytest.raises(Refusal, match="signature_threshold"):
        read.require_valid("root", read.roles["root"].keys, at=signed.NOW, what="a test")


def test_a_key_may_be_valid_for_one_second():
    read = policy.TrustPolicy.parse(signed.policy_envelope(with_key(BUILDER_ID, notAfter=signed.SINCE)))
    (key,) = read.roles["builder"].keys
    assert key.is_valid_at(key.not_before)
    assert not key.is_valid_at(key.not_before + 1)


def test_a_missing_policy_is_named_with_how_to_make_one(tmp_path):
    with pytest.raises(Refusal, match=r"trust_policy_missing: .*playbooks/keys\.yml"):
        policy.read_policy(tmp_path / "absent")


def test_a_signed_policy_is_read_back_from_its_file(tmp_path):
    path = tmp_path / "policy.dsse.json"
    path.write_bytes(policy.sign_policy(signed.policy_document(), signed.ROOT_KEY))
    assert policy.read_policy(path) == signed.trust_policy()


def test_a_policy_is_not_signed_by_keys_that_it_does_not_name():
    with pytest.raises(Refusal, match="signature_unknown"):
        policy.sign_policy(signed.policy_document(), signed.OTHER_KEY)
