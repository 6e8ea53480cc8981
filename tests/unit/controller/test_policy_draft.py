# SPDX-License-Identifier: GPL-3.0-or-later
"""The first trust policy, from a description that people can read."""

from __future__ import annotations

import stat

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.policy_draft import Draft, establish
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.policy import Requirement, read_policy


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


def signed_at(path, now=signed.NOW, root_keys=(signed.ROOT_KEY,), check=False, **changes):
    return establish(Draft.parse(description(**changes)), path, root_keys, now=now, check=check)


def test_a_description_becomes_a_policy_that_hosts_read(tmp_path):
    path = tmp_path / "trust/policy.dsse.json"
    done = signed_at(path, thresholds={"risk_manager": 2})
    assert done.changed
    assert read_policy(path) == done.policy
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert done.policy.version == 1
    assert done.policy.expires == "2028-11-17T11:06:40Z"
    prod = done.policy.environment("prod")
    assert (prod.max_manifest_age, prod.max_approval_age, prod.rollback_depth) == (90 * 86400, 7 * 86400, 10)
    assert [(role.role, role.threshold) for role in prod.require] == [("risk_manager", 2)]
    assert prod.rollback_require == ()
    assert done.policy.roles["risk_manager"].threshold == 2
    assert {entry.holder for entry in done.policy.roles["risk_manager"].keys} == {"risk-1", "risk-2"}
    assert done.policy.roles["builder"].keys[0].not_before == signed.NOW


def test_a_description_says_who_may_authorize_a_rollback(tmp_path):
    authorizing = {**PROD, "rollback_require": [{"role": "risk_manager", "threshold": 1}]}
    done = signed_at(tmp_path / "policy.dsse.json", environments={"prod": authorizing})
    assert done.policy.environment("prod").rollback_require == (Requirement("risk_manager", 1),)


def test_signing_again_changes_nothing_however_late(tmp_path):
    path = tmp_path / "policy.dsse.json"
    first = signed_at(path)
    before = path.read_bytes()
    again = signed_at(path, now=signed.NOW + 5000 * 86400, root_keys=())
    assert (again.changed, again.policy) == (False, first.policy)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"environments": {"prod": {**PROD, "rollback_depth": 11}}},
        {"environments": {"prod": PROD, "staging": PROD}},
        {"keys": KEYS[:3], "environments": {"prod": {**PROD, "require": []}}},
        {"thresholds": {"risk_manager": 2}},
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_a_policy_that_says_something_else_is_not_replaced(tmp_path, changes, check):
    path = tmp_path / "policy.dsse.json"
    signed_at(path)
    before = path.read_bytes()
    with pytest.raises(Refusal, match="policy_exists"):
        signed_at(path, check=check, **changes)
    assert path.read_bytes() == before


def test_check_mode_signs_and_keeps_nothing(tmp_path):
    path = tmp_path / "trust/policy.dsse.json"
    assert signed_at(path, check=True).changed
    assert not path.parent.exists()


def test_a_policy_is_signed_by_its_own_root(tmp_path):
    with pytest.raises(Refusal, match="signature_unknown"):
        signed_at(tmp_path / "policy.dsse.json", root_keys=(signed.BUILDER_KEY,))
    with pytest.raises(Refusal, match="envelope_unsigned"):
        signed_at(tmp_path / "policy.dsse.json", root_keys=())
    assert list(tmp_path.iterdir()) == []


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
    "a threshold beyond the holders": ({"thresholds": {"root": 2}}, "policy_malformed"),
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
}


@pytest.mark.parametrize(("changes", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_description_is_refused(tmp_path, changes, reason):
    with pytest.raises(Refusal) as refusal:
        signed_at(tmp_path / "policy.dsse.json", **changes)
    assert refusal.value.reason == reason
    assert list(tmp_path.iterdir()) == []
