# SPDX-License-Identifier: GPL-3.0-or-later
"""What is judged and shown before somebody signs."""

from __future__ import annotations

import json
from dataclasses import replace

import doors
import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import approving
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.approval import open_approval
from ansible.module_utils.slipway.trust.authorization import open_authorization
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import TrustPolicy

LEAD, RISK = "engineering_lead", "risk_manager"
HOST = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"
OTHER = "0a1b2c3d-6a0e-4a3e-9a64-2f3f5c1d9e10"
HOUR = 3600


def policy(**changes):
    prod = signed.environment(
        require=[{"role": LEAD, "threshold": 1}, {"role": RISK, "threshold": 1}],
        allowedRollback={"depth": 10, "require": [{"role": LEAD, "threshold": 1}]},
    )
    return signed.trust_policy(**{"environments": {"staging": signed.environment(), "prod": prod}, **changes})


def request(**changes):
    return approving.Request(
        **{
            "envelope": signed.sign(signed.manifest_payload(promotion=signed.PROMOTION)),
            "policy": policy(),
            "environment": "prod",
            "role": LEAD,
            "now": signed.NOW + HOUR,
            "hosts": {},
            **changes,
        }
    )


def prepared(key=signed.LEAD_KEY, **changes):
    return approving.prepare(request(**changes), PublicKey.of(key))


def refused(reason, key=signed.LEAD_KEY, **changes):
    with pytest.raises(Refusal) as refusal:
        prepared(key, **changes)
    assert refusal.value.reason == reason
    return refusal.value


def test_an_approval_says_what_was_asked_and_nobody_else():
    consent = prepared()
    envelope, approval = open_approval(approving.sign(consent, signed.LEAD_KEY))
    assert dsse.signers(envelope, [PublicKey.of(signed.LEAD_KEY)])
    assert (approval.manifest_digest, approval.application) == (consent.manifest.digest, "hello")
    assert (approval.environment, approval.role, approval.holder, approval.decision) == (
        "prod",
        LEAD,
        "lead",
        "approve",
    )
    assert (approval.created, approval.expires) == (
        timestamp(signed.NOW + HOUR),
        timestamp(signed.NOW + HOUR + 7 * signed.DAY),
    )


def test_an_authorization_names_its_hosts_and_ends_within_a_day():
    consent = prepared(hosts={HOST: "prod-1", OTHER: "prod-2"})
    envelope, authorization = open_authorization(approving.sign(consent, signed.LEAD_KEY))
    assert dsse.signers(envelope, [PublicKey.of(signed.LEAD_KEY)])
    assert authorization.hosts == (OTHER, HOST)
    assert authorization.expires == timestamp(signed.NOW + HOUR + signed.DAY)


@pytest.mark.parametrize("seconds", [1, HOUR, 7 * signed.DAY])
def test_it_may_hold_for_less(seconds):
    assert prepared(valid_seconds=seconds).expires == timestamp(signed.NOW + HOUR + seconds)


@pytest.mark.parametrize(
    ("seconds", "hosts"), [(0, {}), (-1, {}), (7 * signed.DAY + 1, {}), (signed.DAY + 1, {HOST: "a"})]
)
def test_it_may_not_hold_for_longer_than_hosts_count_it(seconds, hosts):
    refused("approval_validity", valid_seconds=seconds, hosts=hosts)


def test_another_manifest_than_the_one_that_was_seen_is_not_signed():
    seen = prepared().manifest.digest
    assert prepared(seen=seen)
    other = signed.sign(signed.manifest_payload(version="1.2.4"))
    assert seen in refused("manifest_not_seen", envelope=other, seen=seen).expected


def test_a_manifest_that_hosts_would_not_trust_is_not_signed():
    refused("signature_unknown", envelope=signed.sign(signed.manifest_payload(), signed.OTHER_KEY))
    refused("below_floor", policy=policy(minSafeSequence={"hello": signed.NOW + 1}))
    digest = prepared().manifest.digest
    refused("manifest_revoked", policy=policy(revoked={"keys": [], "payloads": [digest]}))
    refused("manifest_from_future", now=signed.NOW - HOUR)
    refused("environment_unknown", environment="production")


def test_what_has_expired_is_not_approved_and_may_still_be_gone_back_to():
    late = signed.NOW + 91 * signed.DAY
    refused("manifest_too_old", now=late)
    assert prepared(now=late, hosts={HOST: "prod-1"})


def test_a_role_that_nobody_asks_for_is_not_signed_in():
    assert "engineering_lead, risk_manager" in refused("approval_not_asked", role="auditor").expected
    assert "none" in refused("approval_not_asked", environment="staging").expected
    refused("approval_not_asked", role="builder", key=signed.BUILDER_KEY)
    refused("approval_not_asked", role=RISK, key=signed.RISK_KEY, hosts={HOST: "prod-1"})


def test_a_key_of_another_role_a_revoked_one_and_a_stranger_s_are_refused():
    refused("key_unknown", key=signed.RISK_KEY)
    refused("key_unknown", key=signed.OTHER_KEY)
    refused("key_unknown", policy=policy(revoked={"keys": [signed.keyid(signed.LEAD_KEY)], "payloads": []}))


def test_a_key_outside_of_its_validity_is_refused():
    document = signed.policy_document(environments=signed.policy_document()["environments"])
    document["environments"]["prod"]["require"] = [{"role": LEAD, "threshold": 1}]
    document["keys"][signed.keyid(signed.LEAD_KEY)]["notAfter"] = timestamp(signed.NOW)
    late = TrustPolicy.parse(signed.policy_envelope(document))
    assert "a key of lead" in refused("key_outside_validity", policy=late).expected
    assert prepared(policy=late, now=signed.NOW)


def test_the_builder_s_holder_approves_nothing():
    document = signed.policy_document()
    document["environments"]["prod"]["require"] = [{"role": LEAD, "threshold": 1}]
    document["keys"][signed.keyid(signed.LEAD_KEY)]["holder"] = "ci"
    both = TrustPolicy.parse(signed.policy_envelope(document))
    refused("approval_by_builder", policy=both)


def test_the_keys_of_a_role_are_those_of_the_policy():
    assert approving.role_keys(policy(), LEAD) == [PublicKey.of(signed.LEAD_KEY)]
    assert approving.role_keys(policy(), "nobody") == []


def test_the_words_say_all_that_is_signed():
    people = Holders.parse({"lead": {"name": "Ann Lee", "email": "ann@example.org"}})
    text = approving.words(prepared(), people, None)
    manifest = prepared().manifest
    for part in (
        "hello", "v1.2.3", "hotfix, version 1.2.3", "by ci, valid until", "directory hello", "build build_12345", "SHOP-123, SHOP-124",
        "audit_20261118_110000 (sha256 cccc", "validation passed", "AUDIT= shows", "config.json", "policy.pt", "1, 5 bytes", "bin/hello --check",
        manifest.digest, "an approval for prod", "Ann Lee <ann@example.org>, engineering_lead", timestamp(signed.NOW + HOUR + 7 * signed.DAY),
    ):  # fmt: skip
        assert part in text, part
    assert "hosts" not in text


def test_the_words_of_an_authorization_name_hosts_and_ids():
    text = approving.words(prepared(hosts={HOST: "prod-1", OTHER: OTHER}), Holders(), None)
    assert "a rollback authorization for prod" in text
    assert f"prod-1 ({HOST})" in text
    assert "lead, engineering_lead" in text


def test_a_release_without_evidence_says_so():
    assert "carries no evidence" in approving.words(
        prepared(envelope=signed.sign(signed.manifest_payload())), Holders(), None
    )


@pytest.fixture
def audited(tmp_path):
    """An audit bundle of a source with two tests, and a manifest that names it."""
    source, bundle = tmp_path / "source", tmp_path / "audit_1"
    junit = "<testsuite><testcase/><testcase/><testcase><skipped/></testcase></testsuite>"
    signed.write_tree(
        source,
        {
            "slipway.yml": b"application: hello\nversion: '1.0'\naudit:\n  tests:\n"
            b"    - {name: unit, argv: [sh, -c, 'cp t.xml out.xml'], junit: out.xml}\n    - {name: lint, argv: ['true']}\nexclude: [out.xml]\n",
            "t.xml": junit.encode(),
        },
    )
    made = doors.run("slipway_audit_bundle", source=source, path=bundle)
    assert not made.get("failed"), made
    reference = replace(signed.PROMOTION.audit, sha256=made["sha256"])
    promotion = replace(signed.PROMOTION, audit=reference)
    return bundle, signed.sign(signed.manifest_payload(promotion=promotion))


def test_the_counts_of_tests_are_read_from_the_bundle_that_the_manifest_names(audited):
    bundle, envelope = audited
    text = approving.words(prepared(envelope=envelope), Holders(), bundle)
    assert "unit: 2 passed, 0 failed, 1 skipped; lint: passed" in text


def test_another_bundle_than_the_one_that_the_manifest_names_is_refused(audited):
    with pytest.raises(Refusal, match="audit_of_another_release"):
        approving.words(prepared(), Holders(), audited[0])


def test_a_bundle_that_was_altered_is_refused(audited):
    bundle, envelope = audited
    (bundle / "sbom.cdx.json").write_text("{}")
    with pytest.raises(Refusal, match="audit_altered"):
        approving.words(prepared(envelope=envelope), Holders(), bundle)


@pytest.fixture
def status(tmp_path):
    path = tmp_path / "status.json"
    answers = {
        "prod-1": {"host": {"id": HOST, "name": "prod-1", "environment": "prod"}},
        "staging-1": {"host": {"id": OTHER, "name": "staging-1", "environment": "staging"}},
        "prod-2": {"msg": "no answer"},
    }
    path.write_text(json.dumps(answers))
    return path


def test_hosts_are_given_by_id_or_by_the_name_in_a_status(status):
    assert approving.resolve_hosts([], None, "prod") == {}
    assert approving.resolve_hosts([HOST], None, "prod") == {HOST: HOST}
    assert approving.resolve_hosts(["prod-1"], status, "prod") == {HOST: "prod-1"}
    assert approving.resolve_hosts([HOST, OTHER], status, "prod") == {HOST: "prod-1", OTHER: OTHER}


@pytest.mark.parametrize("name", ["prod-2", "prod-3", "staging-1", "7F3A1C52-6a0e-4a3e-9a64-2f3f5c1d9e10", ""])
def test_a_host_that_the_status_does_not_know_is_refused(status, name):
    with pytest.raises(Refusal) as refusal:
        approving.resolve_hosts([name], status, "prod")
    assert refusal.value.reason == "authorization_host_unknown"
    assert "prod-1" in refusal.value.expected


@pytest.mark.parametrize("text", ["", "[]", "1", '{"prod-1": 1}', '{"prod-1": {"host": {}}}', '{"prod-1": {"host": {"environment": "prod", "id": 1}}}', "[" * 100_000])  # fmt: skip
def test_a_status_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(Refusal, match="status_unreadable"):
        approving.resolve_hosts(["prod-1"], tmp_path / "status.json", "prod")


def test_a_manifest_in_a_file_is_that_of_the_release_that_is_meant(tmp_path):
    envelope = signed.sign(signed.manifest_payload())
    (tmp_path / "manifest").write_bytes(envelope)
    for release_id in (None, "", "v1.2.3"):
        assert approving.manifest_in(tmp_path / "manifest", release_id) == envelope
    with pytest.raises(Refusal, match="release_not_meant"):
        approving.manifest_in(tmp_path / "manifest", "v1.2.4")


def test_what_was_signed_goes_into_the_catalogue_or_into_a_file(tmp_path):
    catalogue = Catalogue(tmp_path / "catalogue")
    for hosts, kept in (({}, catalogue.approvals), ({HOST: "prod-1"}, catalogue.authorizations)):
        consent = prepared(hosts=hosts)
        envelope = approving.sign(consent, signed.LEAD_KEY)
        path = approving.keep(envelope, consent.request, catalogue)
        assert path.read_bytes() == envelope
        assert kept("hello", consent.manifest.digest) == [envelope]
        output = tmp_path / f"to-send-{len(hosts)}"
        approving.require_free(output)
        assert approving.keep(envelope, consent.request, output) == output
        assert output.read_bytes() == envelope
        with pytest.raises(Refusal, match="output_exists"):
            approving.require_free(output)
    approving.require_free(None)
