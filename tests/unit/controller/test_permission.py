# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller says early of approvals and steps back, and what it sends along."""

from __future__ import annotations

import os

import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller import deployment, permission
from ansible.module_utils.slipway.controller.deployment import Controller
from ansible.module_utils.slipway.host.judgement import MAX_GIVEN
from ansible.module_utils.slipway.trust.approval import open_approval
from releases import V1, V2, V3

BOTH = [{"role": "engineering_lead", "threshold": 1}, {"role": "risk_manager", "threshold": 1}]
KEYS = {"lead": (signed.LEAD_KEY, "engineering_lead"), "risk": (signed.RISK_KEY, "risk_manager")}


@pytest.fixture
def controller(site):
    return Controller(site.state, "shop", "prod", "alice", site.host.clock.now(), Process.of(os.getpid()))


@pytest.fixture
def set_policy(site):
    """Give host and controller the same policy, whose prod has these rules; returns the controller's copy."""

    def set_to(**changes):
        prod = signed.environment(**changes)
        document = signed.policy_document(environments={"prod": prod, "staging": signed.environment()})
        path = site.host.configuration / "trust-policy.dsse.json"
        path.write_bytes(signed.policy_envelope(document))
        path.chmod(0o644)
        return path

    return set_to


def scope_of(site, release_id):
    return {
        "manifest_digest": site.catalogue.manifest("shop", release_id).digest,
        "application": "shop",
        "created": timestamp(site.host.clock.now()),
    }


def approve(site, release_id, *holders, **changes):
    for holder in holders or KEYS:
        key, role = KEYS[holder]
        envelope = signed.approval_envelope(key, holder=holder, role=role, **scope_of(site, release_id) | changes)
        site.catalogue.add_approval(envelope, check=False)


def authorize(site, release_id, **changes):
    expires = timestamp(site.host.clock.now() + 3600)
    envelope = signed.authorization_envelope(**scope_of(site, release_id) | {"expires": expires} | changes)
    site.catalogue.add_authorization(envelope, check=False)


@pytest.fixture
def plan(site, controller, set_policy):
    def planned(policy, *, requested=""):
        answers = {"prod-1": site.witnessed(preflight=False)}
        options = {"requested": requested, "retry": False, "rollout": {"waves": ["1"]}, "description": {}, "forks": 20}
        return deployment.plan_deployment(controller, site.catalogue, policy, answers, **options)

    return planned


@pytest.fixture
def ready(site, monkeypatch):
    """Hosts that are ready for everything, so that only approvals decide."""
    monkeypatch.setattr(deployment.preflight, "judge", lambda *_: deployment.Judgement(()))


@pytest.mark.usefixtures("ready")
def test_a_plan_names_the_approvals_that_count(site, plan, set_policy):
    site.build("v1", V1)
    approve(site, "v1")
    planned = plan(set_policy(require=BOTH))
    assert [each["holder"] for each in planned["approvals"]] == ["lead", "risk"]


@pytest.mark.usefixtures("ready")
def test_the_newest_release_is_not_passed_over_for_want_of_approvals(site, plan, set_policy):
    policy = set_policy(require=BOTH)
    site.build("v1", V1)
    site.build("v2", V2)
    with pytest.raises(Refusal) as raised:
        plan(policy)
    assert raised.value.reason == "approval_missing"
    assert raised.value.remedy.endswith("make approve RELEASE_ID=v2 ENVIRONMENT=prod ROLE=risk_manager.")
    approve(site, "v2", "lead")
    approve(site, "v1")
    with pytest.raises(Refusal) as raised:
        plan(policy)
    assert "missing: 1 risk_manager (risk may give it)" in raised.value.found
    assert raised.value.remedy.endswith("Or deploy one that is approved: -e release_id=v1.")
    assert plan(policy, requested="v1")["release_id"] == "v1"
    assert not site.places.history.exists()


@pytest.mark.usefixtures("ready")
def test_approvals_for_another_environment_are_no_news_and_what_cannot_be_read_is(site, plan, set_policy):
    site.build("v1", V1)
    approve(site, "v1", "lead")
    approve(site, "v1", environment="staging")
    policy = set_policy(require=BOTH)
    with pytest.raises(Refusal) as raised:
        plan(policy)
    assert raised.value.found == "engineering_lead by lead; missing: 1 risk_manager (risk may give it)"
    junk = site.catalogue.root / "shop/approvals" / site.catalogue.manifest("shop", "v1").digest / "junk.dsse.json"
    junk.write_bytes(b"{}")
    with pytest.raises(Refusal) as raised:
        plan(policy)
    assert "not counted: one that cannot be read" in raised.value.found


@pytest.mark.usefixtures("ready")
def test_a_candidate_is_never_the_one_that_is_approved(site, plan, set_policy):
    policy = set_policy(require=BOTH)
    site.build("v1", V1, candidate=True)
    site.build("v2", V2)
    with pytest.raises(Refusal) as raised:
        plan(policy)
    assert "Or deploy" not in raised.value.remedy


@pytest.mark.usefixtures("ready")
def test_a_step_too_far_back_is_refused_before_anything_travels(site, plan, set_policy):
    for number, files in enumerate((V1, V2, V3), start=1):
        site.build(f"v{number}", files)
    site.deploy("v2", "run-1")
    with pytest.raises(Refusal) as raised:
        plan(set_policy(), requested="v1")
    assert raised.value.reason == "sequence_behind"
    assert raised.value.found.startswith("on prod-1: v1, created ")
    policy = set_policy(allowedRollback={"depth": 0, "require": BOTH[:1]})
    with pytest.raises(Refusal) as raised:
        plan(policy, requested="v1")
    assert raised.value.remedy.endswith("RELEASE_ID=v1 ENVIRONMENT=prod ROLE=engineering_lead HOSTS=prod-1.")
    authorize(site, "v1")
    assert plan(policy, requested="v1")["release_id"] == "v1"
    assert plan(policy, requested="v2")["release_id"] == "v2"
    assert plan(policy)["release_id"] == "v3"


@pytest.fixture
def three(site):
    for number, files in enumerate((V1, V2, V3), start=1):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")
    return site


def reach(site, release_id):
    permission.require_within_reach(site.catalogue, "shop", {"prod-1": site.witnessed()}, {"prod-1": release_id})


def test_a_rollback_that_hosts_would_refuse_is_refused_early(three, set_policy):
    reach(three, "v1")
    set_policy(allowedRollback={"depth": 1, "require": BOTH[:1]})
    reach(three, "v2")
    reach(three, "v3")
    with pytest.raises(Refusal) as raised:
        reach(three, "v1")
    assert raised.value.reason == "rollback_too_deep"
    assert raised.value.found == "v1 is out of reach on prod-1"
    assert "make authorize-rollback RELEASE_ID=v1 ENVIRONMENT=prod ROLE=… HOSTS=prod-1" in raised.value.remedy
    authorize(three, "v1", hosts=["00000000-0000-4000-8000-000000000000"])
    with pytest.raises(Refusal, match="rollback_too_deep"):
        reach(three, "v1")
    authorize(three, "v1")
    reach(three, "v1")


def test_a_host_that_cannot_say_is_left_to_judge(three, set_policy):
    set_policy(allowedRollback={"depth": 0}).write_bytes(b"{}")
    reach(three, "v1")


def test_what_is_newer_than_the_mark_is_no_step_back(three):
    answer = three.inspect()
    answer["high_water"]["sequence"] -= 1000
    answer["reach"] = []
    permission.require_within_reach(three.catalogue, "shop", {"prod-1": answer}, {"prod-1": "v2"})


def test_what_travels_is_for_the_environment_and_has_not_expired(site):
    site.build("v1", V1)
    digest, now = site.catalogue.manifest("shop", "v1").digest, site.host.clock.now()
    assert permission.signed_for(site.catalogue, "shop", digest, "prod", now) == {"approvals": [], "authorizations": []}
    approve(site, "v1")
    approve(site, "v1", "lead", environment="staging")
    approve(site, "v1", "lead", created=timestamp(now - 10), expires=timestamp(now))
    authorize(site, "v1")
    (site.catalogue.root / "shop/approvals" / digest / "junk.dsse.json").write_bytes(b"{}")
    (site.catalogue.root / "shop/authorizations" / digest / "junk.dsse.json").write_bytes(b"{}")
    given = permission.signed_for(site.catalogue, "shop", digest, "prod", now)
    assert [len(given["approvals"]), len(given["authorizations"])] == [2, 1]


def test_no_more_travels_than_a_host_takes_and_the_newest_first(site):
    site.build("v1", V1)
    digest, now = site.catalogue.manifest("shop", "v1").digest, site.host.clock.now()
    for second in range(MAX_GIVEN + 4):
        approve(site, "v1", "lead", created=timestamp(now - second), expires=timestamp(now + signed.DAY))
    given = permission.signed_for(site.catalogue, "shop", digest, "prod", now)["approvals"]
    assert len(given) == MAX_GIVEN
    assert permission.open_approval(given[0].encode())[1].created == timestamp(now)


def test_one_holders_many_approvals_shut_out_nobodys_only_one(site):
    site.build("v1", V1)
    approve(site, "v1", "risk")
    now = site.host.clock.now()
    for later in range(MAX_GIVEN + 4):
        approve(site, "v1", "lead", created=timestamp(now + later))
    digest = site.catalogue.manifest("shop", "v1").digest
    sent = permission.signed_for(site.catalogue, "shop", digest, "prod", now)["approvals"]
    assert len(sent) == MAX_GIVEN
    assert "risk_manager" in {open_approval(envelope.encode())[1].role for envelope in sent}


def test_readiness_has_a_row_for_the_approvals_that_are_missing(site, set_policy):
    site.build("v1", V1)
    policy, now = set_policy(require=BOTH), site.host.clock.now()
    judgement = deployment.judge_readiness(
        "shop", site.catalogue, policy, {"prod-1": site.witnessed(preflight=True)}, requested="v1", now=now
    )
    row = next(each for _host, each in judgement.rows if each.check == "approvals")
    assert (row.subject, row.status, "approval_missing" in row.found) == ("v1", "FAIL", True)
