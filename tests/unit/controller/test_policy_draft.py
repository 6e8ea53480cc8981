# SPDX-License-Identifier: GPL-3.0-or-later
"""The next version of a trust policy, from a description that people can read."""

from __future__ import annotations

import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.policy_draft import Draft
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import Requirement, TrustPolicy


def key(private, holder, role):
    return {"holder": holder, "role": role, "public_key": PublicKey.of(private).hex}


KEYS = [
    key(signed.ROOT_KEY, "operator", "root"),
    key(signed.BUILDER_KEY, "ci", "builder"),
    key(signed.RISK_KEY, "risk-1", "risk_manager"),
    key(signed.LEAD_KEY, "risk-2", "risk_manager"),
]
PROD = {
    "require": [{"role": "risk_manager", "threshold": 2}],
    "distinct_holders": True,
    "max_manifest_age_days": 90,
    "max_approval_age_days": 7,
    "rollback_depth": 10,
}


def description(**changes):
    return {"keys": KEYS, "environments": {"prod": PROD}, "thresholds": {}, "valid_days": 730, **changes}


def drafted(before=None, now=signed.NOW, **changes):
    """The next version as a policy, which nobody has signed."""
    payload = Draft.parse(description(**changes)).next_version(before, now=now)
    return TrustPolicy.from_payload(payload)


def test_a_description_becomes_a_policy_that_hosts_read():
    policy = drafted(thresholds={"risk_manager": 2})
    assert policy.version == 1
    assert policy.expires == "2028-11-17T11:06:40Z"
    prod = policy.environment("prod")
    assert (prod.max_manifest_age, prod.max_approval_age, prod.rollback_depth) == (90 * 86400, 7 * 86400, 10)
    assert [(role.role, role.threshold) for role in prod.require] == [("risk_manager", 2)]
    assert prod.rollback_require == ()
    assert policy.roles["risk_manager"].threshold == 2
    assert {entry.holder for entry in policy.roles["risk_manager"].keys} == {"risk-1", "risk-2"}
    (builder,) = policy.roles["builder"].keys
    assert (builder.not_before, timestamp(builder.not_after)) == (signed.NOW, policy.expires)


def test_a_description_says_who_may_authorize_a_rollback():
    authorizing = {**PROD, "rollback_require": [{"role": "risk_manager", "threshold": 1}]}
    policy = drafted(environments={"prod": authorizing})
    assert policy.environment("prod").rollback_require == (Requirement("risk_manager", 1),)


FIRST = drafted()
LATER = signed.NOW + 100 * signed.DAY


def test_kept_keys_keep_their_beginning_and_new_ones_begin_at_the_signing():
    spare = key(signed.OTHER_KEY, "ci-2", "builder")
    second = drafted(FIRST, now=LATER, keys=[*KEYS, spare])
    assert (second.version, second.expires) == (2, timestamp(LATER + 730 * signed.DAY))
    begins = {entry.holder: entry.not_before for entry in second.roles["builder"].keys}
    assert begins == {"ci": signed.NOW, "ci-2": LATER}
    assert {timestamp(entry.not_after) for entry in second.roles["builder"].keys} == {second.expires}


def test_a_key_that_retires_ends_then_and_not_later_than_the_policy():
    until = "2026-12-01T00:00:00Z"
    retired = [{**each, "valid_until": until} if each["role"] == "builder" else each for each in KEYS]
    second = drafted(FIRST, keys=[*retired, key(signed.OTHER_KEY, "ci-2", "builder")])
    ends = {entry.holder: timestamp(entry.not_after) for entry in second.roles["builder"].keys}
    assert ends == {"ci": until, "ci-2": second.expires}
    unquoted = [
        {**each, "valid_until": "2026-12-01T00:00:00+00:00"} if each["role"] == "builder" else each for each in KEYS
    ]
    assert timestamp(drafted(FIRST, keys=unquoted).roles["builder"].keys[0].not_after) == until
    far = [{**each, "valid_until": "2099-01-01T00:00:00Z"} if each["role"] == "builder" else each for each in KEYS]
    (builder,) = drafted(FIRST, keys=far).roles["builder"].keys
    assert timestamp(builder.not_after) == drafted(FIRST).expires


def builder_id():
    return signed.keyid(signed.BUILDER_KEY)


@pytest.mark.parametrize("name", [builder_id(), PublicKey.of(signed.BUILDER_KEY).hex], ids=["key id", "public key"])
def test_a_key_is_revoked_by_its_id_or_as_a_public_key_and_stays_revoked(name):
    keys = [*KEYS, key(signed.OTHER_KEY, "ci-2", "builder")]
    second = drafted(FIRST, keys=keys, revoked_keys=[name])
    assert second.revoked_keys == {builder_id()}
    third = drafted(second, keys=[each for each in keys if each["holder"] != "ci"])
    assert third.revoked_keys == {builder_id()}
    assert drafted(third, keys=keys[2:] + keys[:1], revoked_keys=[builder_id()]).revoked_keys == {builder_id()}


def test_a_key_that_was_taken_out_before_can_be_revoked_with_its_taking_out():
    keys = [each for each in KEYS if each["holder"] != "ci"] + [key(signed.OTHER_KEY, "ci-2", "builder")]
    assert drafted(FIRST, keys=keys, revoked_keys=[builder_id()]).revoked_keys == {builder_id()}


def test_releases_stay_revoked_and_floors_stay():
    second = drafted(FIRST, revoked_releases=["a" * 64], floors={"hello": "2026-11-18T11:06:40Z", "shop": 7})
    assert (second.revoked_payloads, second.min_safe_sequence) == ({"a" * 64}, {"hello": signed.NOW, "shop": 7})
    third = drafted(second, revoked_releases=["b" * 64], floors={"shop": 8})
    assert (third.revoked_payloads, third.min_safe_sequence) == (
        {"a" * 64, "b" * 64},
        {"hello": signed.NOW, "shop": 8},
    )


def test_a_floor_that_is_described_lower_is_refused():
    second = drafted(FIRST, floors={"hello": 7})
    with pytest.raises(Refusal, match="policy_floor_lowered"):
        drafted(second, floors={"hello": 6})


def test_what_changes_is_said_in_words_and_nothing_where_nothing_does():
    assert Draft.parse(description()).changes(FIRST) == []
    (said,) = Draft.parse(description(environments={"prod": {**PROD, "rollback_depth": 11}})).changes(FIRST)
    assert said == "prod: rollback over 10 releases -> rollback over 11 releases"
    revoking = Draft.parse(description(revoked_keys=[signed.keyid(signed.LEAD_KEY)])).changes(FIRST)
    assert [line.endswith("-> revoked") for line in revoking] == [True]
    second = drafted(
        FIRST, revoked_keys=[signed.keyid(signed.LEAD_KEY)], environments={"prod": {**PROD, "require": []}}
    )
    assert Draft.parse(description(environments={"prod": {**PROD, "require": []}})).changes(second) == []
    retiring = [*KEYS, {**key(signed.OTHER_KEY, "ci-2", "builder"), "valid_until": "2026-11-19T00:00:00Z"}]
    assert len(Draft.parse(description(keys=retiring)).changes(FIRST)) == 1


UNREACHABLE = {
    "a root that revokes too many of its keys": {"revoked_keys": [signed.keyid(signed.ROOT_KEY)]},
    "a builder that retired": {"keys": [KEYS[0], {**KEYS[1], "valid_until": "2026-11-18T11:06:40Z"}, *KEYS[2:]]},
    "a builder that is revoked": {"revoked_keys": [builder_id()]},
    "approvers that are revoked": {"revoked_keys": [signed.keyid(signed.LEAD_KEY)]},
    "authorizers that are revoked": {
        "revoked_keys": [signed.keyid(signed.LEAD_KEY)],
        "environments": {"prod": {**PROD, "require": [], "rollback_require": PROD["require"]}},
    },
}


@pytest.mark.parametrize("changes", UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_a_version_that_nobody_could_live_by_is_refused(changes):
    with pytest.raises(Refusal, match="policy_threshold_unreachable"):
        drafted(FIRST, **changes)


def test_a_role_that_nothing_asks_for_may_have_retired_keys_only():
    retired = [*KEYS[:2], *({**each, "valid_until": "2026-11-18T11:06:40Z"} for each in KEYS[2:])]
    assert drafted(FIRST, keys=retired, environments={"prod": {**PROD, "require": []}}).version == 2


def prod(**changes):
    return {"environments": {"prod": {**PROD, **changes}}}


BAD = {
    "an unknown member": ({"comment": ""}, "policy_draft_invalid"),
    "keys as a mapping": ({"keys": {}}, "policy_draft_invalid"),
    "a key twice": ({"keys": [*KEYS, {**KEYS[0], "role": "builder"}]}, "policy_draft_invalid"),
    "a public key that is none": ({"keys": [{**KEYS[0], "public_key": "abc"}]}, "policy_draft_invalid"),
    "a weak public key": ({"keys": [{**KEYS[0], "public_key": "01" + "0" * 62}]}, "key_weak"),
    "a holder with a space": ({"keys": [{**KEYS[0], "holder": "Jane Doe"}]}, "policy_draft_invalid"),
    "a key with an unknown member": ({"keys": [{**KEYS[0], "path": "x"}]}, "policy_draft_invalid"),
    "a threshold for a role without keys": ({"thresholds": {"auditor": 1}}, "policy_draft_invalid"),
    "a threshold that is text": ({"thresholds": {"root": "1"}}, "policy_draft_invalid"),
    "a threshold beyond the holders": ({"thresholds": {"root": 2}}, "policy_threshold"),
    "no root": ({"keys": KEYS[1:]}, "policy_malformed"),
    "no builder": ({"keys": [KEYS[0]], **prod(require=[])}, "policy_malformed"),
    "an approval by an unknown role": (prod(require=[{"role": "auditor", "threshold": 1}]), "policy_malformed"),
    "an approval with an unknown member": (
        prod(require=[{"role": "risk_manager", "threshold": 1, "or": 1}]),
        "policy_draft_invalid",
    ),
    "an authorization by an unknown role": (
        prod(rollback_require=[{"role": "auditor", "threshold": 1}]),
        "policy_malformed",
    ),
    "an environment with an unknown member": (prod(skip=True), "policy_draft_invalid"),
    "an environment without an age": ({"environments": {"prod": {}}}, "policy_draft_invalid"),
    "no days at all": ({"valid_days": 0}, "policy_draft_invalid"),
    "an end that is no time": (
        {"keys": [KEYS[0], {**KEYS[1], "valid_until": "2026-12-01"}, *KEYS[2:]]},
        "policy_draft_invalid",
    ),
    "a key that ends before it begins": (
        {"keys": [*KEYS, {**key(signed.OTHER_KEY, "ci-2", "builder"), "valid_until": "2026-01-01T00:00:00Z"}]},
        "policy_malformed",
    ),
    "a root key that retires": (
        {"keys": [{**KEYS[0], "valid_until": "2027-01-01T00:00:00Z"}, *KEYS[1:]]},
        "policy_draft_invalid",
    ),
    "an unknown key to revoke": ({"revoked_keys": ["a" * 64]}, "policy_draft_invalid"),
    "a key to revoke that is none": ({"revoked_keys": ["ci"]}, "policy_draft_invalid"),
    "a release to revoke by its name": ({"revoked_releases": ["v1"]}, "policy_draft_invalid"),
    "a floor that is a date": ({"floors": {"hello": "2026-12-01"}}, "policy_draft_invalid"),
    "a floor that is no number": ({"floors": {"hello": 1.5}}, "policy_draft_invalid"),
    "a floor of no application": ({"floors": {"Hello": 1}}, "policy_draft_invalid"),
}


@pytest.mark.parametrize(("changes", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_description_is_refused(changes, reason):
    with pytest.raises(Refusal) as refusal:
        drafted(**changes)
    assert refusal.value.reason == reason
