# SPDX-License-Identifier: GPL-3.0-or-later
"""How it stands with the approvals of a release; whether that lets it pass is in test_verify.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import signed
from ansible.module_utils.slipway.trust import consent, verify

BOTH = [{"role": "engineering_lead", "threshold": 1}, {"role": "risk_manager", "threshold": 1}]
LEAD = signed.approval_envelope()
RISK = signed.approval_envelope(signed.RISK_KEY, role="risk_manager", holder="risk")
WRONG_LEAD = signed.approval_envelope(environment="staging")
WRONG_RISK = signed.approval_envelope(signed.RISK_KEY, role="risk_manager", holder="risk", decision="reject")


@pytest.fixture
def scope():
    environments = {"prod": signed.environment(require=BOTH), "staging": signed.environment()}
    policy = signed.trust_policy(environments=environments)
    envelope = signed.sign(signed.manifest_payload())
    manifest = verify.verify_manifest(policy, envelope, application="hello", environment="prod", now=signed.NOW)
    return consent.Scope(manifest, policy, "prod", signed.NOW)


def test_it_says_what_is_asked_for_what_counts_and_what_is_missing(scope):
    standing = consent.judge_approvals(scope, [LEAD])
    assert standing.asked() == "1 engineering_lead, 1 risk_manager"
    assert [each.holder for each in standing.counted] == ["lead"]
    assert standing.missing == (consent.Missing("risk_manager", 1, ("risk",)),)
    assert standing.found() == "engineering_lead by lead; missing: 1 risk_manager (risk may give it)"


def test_where_nobody_is_asked_nothing_is_missing(scope):
    standing = consent.judge_approvals(replace(scope, environment="staging"), [])
    assert (standing.asked(), standing.found(), standing.missing) == ("nobody", "none", ())


def test_judging_raises_nothing_whatever_it_is_given(scope):
    standing = consent.judge_approvals(scope, [b"", b"\xff", b"[" * 10_000, LEAD, RISK, WRONG_LEAD])
    assert (len(standing.counted), len(standing.uncounted), standing.missing) == (2, 4, ())
    assert standing.uncounted[0].described().startswith("one that cannot be read (json_invalid: ")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], None),
        ([LEAD], None),
        ([WRONG_LEAD], None),
        ([LEAD, WRONG_RISK], "approval_rejects"),
        ([WRONG_LEAD, WRONG_RISK], "approval_of_another_environment"),
        ([WRONG_LEAD, WRONG_LEAD + b" "], None),
        ([WRONG_LEAD, b"{}"], "approval_of_another_environment"),
        ([b"{}", b"[]"], "envelope_payload_type"),
        ([RISK, WRONG_RISK, WRONG_LEAD], "approval_of_another_environment"),
    ],
    ids=[
        "nothing", "one of two", "one that is wrong", "a good and a wrong one", "two wrong ones", "the same wrong one twice",
        "a wrong and an unreadable one", "two unreadable ones", "one role good and wrong, the other wrong",
    ],
)  # fmt: skip
def test_the_reason_is_that_of_what_was_given_only_when_nothing_was_left_out(scope, given, reason):
    assert consent.judge_approvals(scope, given).reason() == reason


def test_who_may_agree_has_a_valid_key_and_did_not_build(scope):
    assert consent.able_to_agree(scope, "risk_manager") == ["risk"]
    assert consent.able_to_agree(replace(scope, now=signed.NOW + 800 * signed.DAY), "risk_manager") == []


def test_the_builder_that_a_manifest_names_is_one_whoever_signed_it(scope):
    named = replace(scope, manifest=replace(scope.manifest, builder="risk", keyids=()))
    assert consent.able_to_agree(named, "risk_manager") == []
    assert consent.judge_approvals(named, [RISK]).uncounted[0].refusal.reason == "approval_by_builder"
