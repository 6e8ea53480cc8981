# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking in approvals that were sent, and what a release has and lacks."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import approvals
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.approval import approval_statement
from ansible.module_utils.slipway.trust.authorization import authorization_statement
from ansible.module_utils.slipway.trust.verify import parse_manifest

LEAD, RISK = "engineering_lead", "risk_manager"
HOST = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"
NOW = signed.NOW + 3600
RULES = signed.environment(
    require=[{"role": LEAD, "threshold": 1}, {"role": RISK, "threshold": 1}],
    allowedRollback={"depth": 10, "require": [{"role": LEAD, "threshold": 1}]},
)
POLICY = signed.trust_policy(environments={"prod": RULES, "staging": signed.environment()})


@pytest.fixture
def catalogue(tmp_path):
    """A catalogue with one release, of whose manifest alone there is anything."""
    place = tmp_path / "catalogue/hello/manifests"
    place.mkdir(parents=True)
    (place / "v1.2.3.dsse.json").write_bytes(signed.sign(signed.manifest_payload()))
    return Catalogue(tmp_path / "catalogue")


def facts(catalogue, **changes):
    return {
        "manifest_digest": parse_manifest(catalogue.manifest_bytes("hello", "v1.2.3")).digest,
        "application": "hello", "environment": "prod", "role": LEAD, "holder": "lead", "created": timestamp(NOW),
        "expires": timestamp(NOW + 3600), **changes,
    }  # fmt: skip


def approval(catalogue, key=signed.LEAD_KEY, **changes):
    return signed.sign(approval_statement(**facts(catalogue, **changes)), key)


def received(catalogue, tmp_path, envelope, *, now=NOW, check=False):
    (tmp_path / "sent").write_bytes(envelope)
    return approvals.receive(approvals.sent(tmp_path / "sent", None), catalogue, POLICY, now=now, check=check)


def refused(catalogue, tmp_path, envelope, **options):
    with pytest.raises(Refusal) as refusal:
        received(catalogue, tmp_path, envelope, **options)
    assert not list(catalogue.root.glob("hello/a*"))
    return refusal.value.reason


def test_what_counts_is_taken_in(catalogue, tmp_path):
    envelope = approval(catalogue)
    assert received(catalogue, tmp_path, envelope, check=True).changed
    assert catalogue.approvals("hello", facts(catalogue)["manifest_digest"]) == []
    first = received(catalogue, tmp_path, envelope)
    assert (first.changed, first.what, first.manifest.release_id) == (True, approvals.APPROVAL, "v1.2.3")
    assert first.path.read_bytes() == envelope
    assert not received(catalogue, tmp_path, envelope).changed


def test_an_authorization_is_judged_for_the_hosts_that_it_names(catalogue, tmp_path):
    envelope = signed.sign(authorization_statement(hosts=[HOST], **facts(catalogue)), signed.LEAD_KEY)
    taken = received(catalogue, tmp_path, envelope)
    assert taken.what == approvals.AUTHORIZATION
    assert catalogue.authorizations("hello", taken.manifest.digest) == [envelope]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"holder": "risk"}, "approver_mismatch"),
        ({"role": RISK}, "approver_mismatch"),
        ({"key": signed.OTHER_KEY}, "signature_unknown"),
        ({"decision": "reject"}, "approval_rejects"),
        ({"created": timestamp(NOW + 301)}, "approval_from_future"),
        ({"created": timestamp(NOW - 100), "expires": timestamp(NOW)}, "approval_expired"),
        ({"manifest_digest": "0" * 64}, "approval_of_unknown_release"),
        ({"application": "shop"}, "approval_of_unknown_release"),
        ({"environment": "staging"}, "approval_not_asked"),
    ],
)
def test_what_no_host_would_count_is_refused(catalogue, tmp_path, changes, reason):
    assert refused(catalogue, tmp_path, approval(catalogue, **changes)) == reason


def test_a_document_of_another_kind_is_refused(catalogue, tmp_path):
    for document in ([], {}, {"predicateType": 1}, {"predicateType": "https://slipway.dev/release-manifest/v1"}):
        envelope = dsse.sign(dsse.IN_TOTO_TYPE, canonical.encode(document), signed.LEAD_KEY).encode()
        assert refused(catalogue, tmp_path, envelope) == "approval_expected"


def test_a_damaged_manifest_beside_it_is_no_hindrance(catalogue, tmp_path):
    catalogue.manifest_path("hello", "a-damaged-one").write_text("{}")
    assert received(catalogue, tmp_path, approval(catalogue)).changed


def test_a_release_that_no_host_would_trust_takes_no_approvals(catalogue, tmp_path):
    envelope = approval(catalogue)
    manifest = signed.sign(signed.manifest_payload(), signed.OTHER_KEY)
    catalogue.manifest_path("hello", "v1.2.3").write_bytes(manifest)
    assert refused(catalogue, tmp_path, envelope) == "signature_unknown"


def test_each_environment_is_told_with_what_it_has_and_lacks(catalogue, tmp_path):
    received(catalogue, tmp_path, approval(catalogue))
    found = approvals.standings(catalogue, "hello", catalogue.manifest_bytes("hello", "v1.2.3"), POLICY, now=NOW)
    assert {name: not standing.missing for name, standing in found.items()} == {"prod": False, "staging": True}
    text = approvals.approvals_table(found, Holders.parse({"lead": {"name": "Ann Lee", "email": "ann@example.org"}}))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines == [
        "environment role given by who can give it",
        f"prod engineering_lead 1 of 1 Ann Lee <ann@example.org> until {timestamp(NOW + 3600)} -",
        "prod risk_manager 0 of 1 - risk",
        "staging - none asked - -",
    ]
    assert approvals.as_data(found["prod"])["lacking"] == [{"role": RISK, "count": 1, "holders": ["risk"]}]


def test_those_who_can_give_what_is_missing_are_told_what_to_sign(catalogue, tmp_path):
    envelope = catalogue.manifest_bytes("hello", "v1.2.3")
    manifest = parse_manifest(envelope)

    def told():
        return approvals.what_to_sign(manifest, approvals.standings(catalogue, "hello", envelope, POLICY, now=NOW))

    received(catalogue, tmp_path, approval(catalogue))
    assert told().splitlines() == [
        f"to be signed: the manifest of v1.2.3 with the sha256 {manifest.digest}",
        f"make approve MANIFEST=v1.2.3.dsse.json ENVIRONMENT=prod ROLE={RISK} KEY=… OUTPUT=v1.2.3.prod.{RISK}.json",
    ]
    received(catalogue, tmp_path, approval(catalogue, signed.RISK_KEY, role=RISK, holder="risk"))
    assert told() == ""


def test_what_has_ended_since_is_told(catalogue, tmp_path):
    received(catalogue, tmp_path, approval(catalogue))
    late = approvals.standings(catalogue, "hello", catalogue.manifest_bytes("hello", "v1.2.3"), POLICY, now=NOW + 3600)
    text = approvals.approvals_table(late, Holders())
    assert "not counted in prod: engineering_lead by lead (approval_expired" in text
    assert approvals.as_data(late["prod"])["not_counted"] == [
        {"role": LEAD, "holder": "lead", "reason": "approval_expired"}
    ]


def test_nobody_can_give_what_only_revoked_keys_could(catalogue):
    policy = signed.trust_policy(
        environments={"prod": RULES}, revoked={"keys": [signed.keyid(signed.RISK_KEY)], "payloads": []}
    )
    found = approvals.standings(catalogue, "hello", catalogue.manifest_bytes("hello", "v1.2.3"), policy, now=NOW)
    assert "risk_manager      0 of 1  -   nobody" in approvals.approvals_table(found, Holders())
