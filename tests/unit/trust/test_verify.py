# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a release may be trusted: the builder's signature, the scope, the times, and every byte."""

from __future__ import annotations

import hashlib
import os

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import dsse, verify
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


def fresh(now, policy=None, envelope=None, environment="prod"):
    policy = policy or signed.trust_policy()
    manifest = verified(envelope, policy, now=now)
    verify.require_fresh(manifest, policy, environment, now)


def stale(now, **options):
    with pytest.raises(Refusal) as refusal:
        fresh(now, **options)
    return refusal.value.reason


def test_a_new_release_is_fresh():
    fresh(NOW)
    fresh(NOW + 90 * signed.DAY - 1)


def test_a_release_older_than_the_environment_allows_is_not_activated():
    assert stale(NOW + 90 * signed.DAY) == "manifest_too_old"


def test_a_release_is_not_activated_where_the_policy_asks_for_approvals():
    asked = signed.environment(require=[{"role": "risk_manager", "threshold": 1}])
    policy = signed.trust_policy(environments={"prod": asked, "staging": signed.environment()})
    assert stale(NOW, policy=policy) == "approval_missing"
    fresh(NOW, policy=policy, environment="staging")


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
