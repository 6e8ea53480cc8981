# SPDX-License-Identifier: GPL-3.0-or-later
"""Who let this host switch: approvals and authorizations as hosts get, judge, keep and record them."""

from __future__ import annotations

import os
import shutil

import pytest
import signed
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.host import evidence, judgement
from ansible.module_utils.slipway.host.handler import handle
from ansible.module_utils.slipway.host.history import View
from ansible.module_utils.slipway.trust.approval import Approval
from ansible.module_utils.slipway.trust.dsse import Envelope
from releases import V1, V2, V3, snapshot

BOTH = [{"role": "engineering_lead", "threshold": 1}, {"role": "risk_manager", "threshold": 1}]


def set_policy(site, **changes):
    """Let the host have a policy whose prod has these rules."""
    prod = signed.environment(**changes)
    document = signed.policy_document(environments={"prod": prod, "staging": signed.environment()})
    path = site.host.configuration / "trust-policy.dsse.json"
    path.write_bytes(signed.policy_envelope(document))
    path.chmod(0o644)


@pytest.fixture
def asking(site):
    """A host whose policy asks for a lead and a risk manager, and a release."""
    set_policy(site, require=BOTH)
    site.build("v1", V1)
    return site


def approvals(site, release_id, *, holders=("lead", "risk"), **changes):
    """The approvals of the release, as texts."""
    now = site.host.clock.now()
    given = {
        "manifest_digest": site.catalogue.manifest("shop", release_id).digest,
        "application": "shop",
        "created": timestamp(now),
        "expires": timestamp(now + signed.DAY),
        **changes,
    }
    keys = {"lead": (signed.LEAD_KEY, "engineering_lead"), "risk": (signed.RISK_KEY, "risk_manager")}
    return [
        signed.approval_envelope(keys[holder][0], holder=holder, role=keys[holder][1], **given).decode()
        for holder in holders
    ]


def authorizations(site, release_id, **changes):
    now = site.host.clock.now()
    given = {
        "manifest_digest": site.catalogue.manifest("shop", release_id).digest,
        "application": "shop",
        "created": timestamp(now),
        "expires": timestamp(now + 3600),
        **changes,
    }
    return [signed.authorization_envelope(**given).decode()]


def kept(site, release_id, kind="approvals"):
    return sorted((site.places.manifests / release_id / kind).glob("*"))


def deploy(site, release_id, run_id, **given):
    run = site.run(run_id)
    for answer in (
        site.stage(release_id, run=run, **given),
        site.activate(release_id, run=run),
        confirmed := site.confirm(release_id, run=run),
    ):
        assert not answer.get("failed"), answer
    return confirmed["record"]


def test_nothing_is_staged_without_its_approvals(asking):
    answer = asking.stage("v1")
    assert (answer["reason"], answer["changed"]) == ("approval_missing", False)
    assert asking.stage("v1", approvals=approvals(asking, "v1", holders=["lead"]))["reason"] == "approval_missing"
    assert not asking.release("v1").exists()
    assert kept(asking, "v1") == []


def test_no_request_makes_a_stage_a_rollback(asking):
    assert asking.stage("v1", rollback=True)["reason"] == "approval_missing"
    assert not asking.release("v1").exists()


def test_a_release_with_its_approvals_is_deployed_and_the_record_names_them(asking):
    given = approvals(asking, "v1")
    staged = asking.stage("v1", approvals=given)
    assert [(each["role"], each["holder"]) for each in staged["approvals"]] == [
        ("engineering_lead", "lead"),
        ("risk_manager", "risk"),
    ]
    record = deploy(asking, "v1", "run-1", approvals=given)
    policy = asking.host.policy()
    assert record["approvals"] == staged["approvals"]
    assert record["sequence"] == asking.catalogue.manifest("shop", "v1").sequence
    assert (record["policy"], record["authorizations"]) == ({"version": 1, "digest": policy.digest}, [])


def test_what_counted_is_kept_under_the_digest_of_its_payload(asking):
    given = approvals(asking, "v1")
    junk = ["{}", "", "\ud800", *approvals(asking, "v1", environment="staging")]
    asking.stage("v1", approvals=[*junk, *given])
    found = {path.name.removesuffix(".dsse.json"): path.read_text() for path in kept(asking, "v1")}
    assert sorted(found.values()) == sorted(given)
    for digest, text in found.items():
        envelope = Envelope.parse(text.encode(), payload_type="application/vnd.in-toto+json", what="approval")
        assert Approval.parse(envelope.payload).digest == digest
    assert {path.stat().st_mode & 0o777 for path in kept(asking, "v1")} == {0o644}


def test_a_forged_envelope_of_a_good_payload_is_never_what_is_kept(asking):
    given = approvals(asking, "v1")
    forged = signed.sign(
        Envelope.parse(given[0].encode(), payload_type="application/vnd.in-toto+json", what="x").payload,
        signed.OTHER_KEY,
    )
    asking.stage("v1", approvals=[forged.decode(), *given])
    assert sorted(path.read_text() for path in kept(asking, "v1")) == sorted(given)


def test_the_switch_needs_the_approvals_too(asking):
    given = approvals(asking, "v1")
    asking.stage("v1", approvals=given)
    for path in kept(asking, "v1"):
        path.unlink()
    assert asking.activate("v1")["reason"] == "approval_missing"
    assert asking.current is None
    assert asking.activate("v1", approvals=given)["outcome"] == "switched"
    assert len(kept(asking, "v1")) == 2


def test_approvals_that_end_between_stage_and_switch_do_not_count(asking):
    asking.stage("v1", approvals=approvals(asking, "v1"))
    asking.host.clock.advance(signed.DAY)
    assert asking.activate("v1")["reason"] == "approval_expired"
    asking.host.clock.advance(-signed.DAY)
    assert asking.activate("v1")["outcome"] == "switched"


def test_approvals_that_come_later_reach_the_host_without_objects(asking):
    asking.stage("v1", approvals=approvals(asking, "v1"))
    asking.host.clock.advance(signed.DAY)
    renewed = approvals(asking, "v1")
    checked = asking.ask("stage", release_id="v1", approvals=renewed, check=True)
    assert (checked["changed"], len(kept(asking, "v1"))) == (True, 2)
    answer = asking.ask("stage", release_id="v1", approvals=renewed)
    assert (answer["changed"], answer["objects"], len(kept(asking, "v1"))) == (True, 0, 4)
    again = asking.ask("stage", release_id="v1", approvals=renewed)
    assert (again["changed"], asking.ask("stage", release_id="v1", approvals=renewed, check=True)["changed"]) == (
        False,
        False,
    )


def test_deploying_what_is_active_with_the_same_approvals_writes_nothing(asking):
    given = approvals(asking, "v1")
    deploy(asking, "v1", "run-1", approvals=given)
    asking.recover()
    before = snapshot(asking.host.root)
    answers = [asking.ask("stage", release_id="v1", approvals=given), asking.activate("v1", approvals=given[::-1])]
    assert [answer["changed"] for answer in answers] == [False, False]
    assert snapshot(asking.host.root) == before


def test_check_mode_judges_and_keeps_nothing(asking):
    assert asking.stage("v1", check=True)["reason"] == "approval_missing"
    answer = asking.stage("v1", check=True, approvals=approvals(asking, "v1"))
    assert (answer["changed"], len(answer["approvals"]), kept(asking, "v1")) == (True, 2, [])
    asking.stage("v1", approvals=approvals(asking, "v1"))
    assert asking.activate("v1", check=True)["outcome"] == "switched"


def test_a_candidate_becomes_active_by_no_way(asking):
    """Nobody approves a candidate, so the switch looks again whether it is one."""
    asking.stage("v1", approvals=approvals(asking, "v1"))
    kept = asking.places.manifests / "v1" / "manifest.dsse.json"
    asking.catalogue.manifest_path("shop", "v1").unlink()
    shutil.rmtree(asking.directory / "sources")
    asking.build("v1", V1, candidate=True)
    kept.write_bytes(asking.catalogue.manifest_bytes("shop", "v1"))
    assert asking.activate("v1")["reason"] == "release_is_candidate"
    assert asking.current is None


def test_a_check_that_fails_is_recorded_with_the_approvals(asking):
    asking.description["check"] = {"argv": ["sh", "-c", "exit 3"], "timeout_seconds": 5}
    assert asking.stage("v1", approvals=approvals(asking, "v1"))["reason"] == "check_failed"
    assert [each["holder"] for each in asking.records[-1]["approvals"]] == ["lead", "risk"]
    assert asking.records[-1]["sequence"] == asking.catalogue.manifest("shop", "v1").sequence


def test_more_than_a_host_takes_is_refused(asking):
    answer = asking.stage("v1", approvals=[""] * (judgement.MAX_GIVEN + 1))
    assert answer["reason"] == "too_many_signed"


def test_what_is_kept_is_bounded_and_what_counts_stays(asking):
    asking.stage("v1", approvals=approvals(asking, "v1"))
    directory = asking.places.manifests / "v1" / "approvals"
    for number in range(evidence.MAX_CONSENTS):
        (directory / f"{number:064x}.dsse.json").write_bytes(b"{}")
    renewed = approvals(asking, "v1", expires=timestamp(asking.host.clock.now() + 2 * signed.DAY))
    asking.ask("stage", release_id="v1", approvals=renewed)
    texts = [path.read_text() for path in kept(asking, "v1")]
    assert len(texts) == evidence.MAX_CONSENTS
    assert set(renewed) <= set(texts)


def test_what_cannot_be_read_among_the_kept_ones_is_passed_over(asking):
    asking.stage("v1", approvals=approvals(asking, "v1"))
    directory = asking.places.manifests / "v1" / "approvals"
    os.mkfifo(directory / "0.dsse.json")
    (directory / "1.dsse.json").mkdir()
    (directory / "2.dsse.json").write_bytes(b"x" * (1 << 17))
    assert asking.activate("v1")["outcome"] == "switched"


# --- how far back


@pytest.fixture
def three(site):
    """v1, v2 and v3, deployed in this order; v3 is active."""
    for number, files in enumerate((V1, V2, V3), start=1):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")
    return site


def test_a_rollback_goes_as_far_as_the_policy_says(three):
    set_policy(three, allowedRollback={"depth": 1})
    assert three.rollback("v1", check=True)["reason"] == "rollback_too_deep"
    assert three.rollback("v1")["reason"] == "rollback_too_deep"
    assert three.current == "v3"
    assert three.rollback("v2")["outcome"] == "confirmed"


def test_a_deployment_goes_back_no_further(three):
    set_policy(three, allowedRollback={"depth": 1})
    assert three.stage("v1")["reason"] == "rollback_too_deep"
    assert three.activate("v1")["reason"] == "rollback_too_deep"
    assert not three.stage("v2").get("failed")


def test_what_was_never_active_here_is_behind_once_something_newer_was(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v2", "run-1")
    assert site.stage("v1")["reason"] == "sequence_behind"
    assert not site.release("v1").exists()


def test_the_mark_does_not_fall_when_an_older_release_is_active(three):
    assert three.rollback("v1")["outcome"] == "confirmed"
    three.deploy("v2", "run-5", retry=True)
    view = three.inspect()
    assert view["high_water"]["sequence"] == three.catalogue.manifest("shop", "v3").sequence


def test_a_deployment_that_was_taken_back_raises_no_mark(three):
    three.build("v4", V1)
    three.stage("v4", run=three.run("run-4"))
    three.activate("v4", run=three.run("run-4"))
    three.revert("v4", run=three.run("run-4"))
    assert three.inspect()["high_water"]["manifest_digest"] == three.catalogue.manifest("shop", "v3").digest


def test_an_unconfirmed_switch_goes_back_however_deep_the_policy_lets_it(three):
    set_policy(three, allowedRollback={"depth": 0})
    three.build("v4", V1)
    three.sicken("v4")
    three.stage("v4", run=three.run("run-4"))
    assert three.activate("v4", run=three.run("run-4"))["outcome"] == "reverted"
    assert three.current == "v3"
    assert three.rollback("v2")["reason"] == "rollback_too_deep"


def test_going_back_needs_no_approvals_and_no_unexpired_release(three):
    set_policy(three, require=BOTH, maxManifestAge=1)
    three.host.clock.advance(400 * signed.DAY)
    assert three.rollback("v2")["outcome"] == "confirmed"
    assert three.records[-1]["approvals"] == []


def test_an_authorization_lets_a_host_go_back_further_once(three):
    set_policy(three, allowedRollback={"depth": 0, "require": BOTH[:1]})
    given = authorizations(three, "v1")
    assert three.rollback("v1")["reason"] == "rollback_too_deep"
    assert three.rollback("v1", authorizations=given)["outcome"] == "confirmed"
    record = three.records[-1]
    assert [(each["role"], each["holder"]) for each in record["authorizations"]] == [("engineering_lead", "lead")]
    assert [path.read_text() for path in kept(three, "v1", "authorizations")] == given
    assert three.inspect()["reach"] == []
    three.deploy("v3", "run-5", retry=True)
    assert three.rollback("v1", authorizations=given)["reason"] == "authorization_used"
    assert three.rollback("v1")["reason"] == "authorization_used"  # the one that is kept
    three.host.clock.advance(1)
    assert three.rollback("v1", authorizations=authorizations(three, "v1"))["outcome"] == "confirmed"


def test_an_authorization_is_used_by_a_rollback_that_failed_too(three):
    set_policy(three, allowedRollback={"depth": 0, "require": BOTH[:1]})
    given = authorizations(three, "v1")
    three.sicken("v1")
    assert three.rollback("v1", authorizations=given)["outcome"] == "reverted"
    used = {each["digest"] for each in three.records[-1]["authorizations"]}
    assert len(used) == 1
    assert View.of(three.records).used == used


def test_an_authorization_for_other_hosts_does_not_count(three):
    set_policy(three, allowedRollback={"depth": 0, "require": BOTH[:1]})
    given = authorizations(three, "v1", hosts=["00000000-0000-4000-8000-000000000000"])
    assert three.rollback("v1", authorizations=given)["reason"] == "authorization_of_another_host"


def test_a_clock_that_was_set_back_revives_no_authorization(three):
    set_policy(three, allowedRollback={"depth": 0, "require": BOTH[:1]})
    three.host.clock.advance(-3600)
    given = authorizations(three, "v1")
    assert three.rollback("v1", authorizations=given)["reason"] == "clock_set_back"
    set_policy(three)
    assert three.rollback("v1")["outcome"] == "confirmed"  # which looks at no time


def test_an_older_release_that_is_new_here_is_deployed_with_an_authorization(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v2", "run-1")
    set_policy(site, allowedRollback={"depth": 0, "require": BOTH[:1]})
    record = deploy(site, "v1", "run-2", authorizations=authorizations(site, "v1"))
    assert len(record["authorizations"]) == 1
    assert site.inspect()["high_water"]["manifest_digest"] == site.catalogue.manifest("shop", "v2").digest


def test_records_of_an_older_version_count_as_activations_but_set_no_mark(three):
    old = [
        {key: value for key, value in record.items() if key not in ("sequence", "authorizations")}
        for record in three.records
    ]
    view = View.of(old)
    assert view.highest is None
    assert len(view.past("v3").before) == 2


def test_a_host_says_what_it_may_go_back_to(three):
    digests = {name: three.catalogue.manifest("shop", name).digest for name in ("v1", "v2", "v3")}
    assert three.inspect()["reach"] == [digests["v2"], digests["v1"]]
    set_policy(three, allowedRollback={"depth": 1})
    assert three.inspect()["reach"] == [digests["v2"]]
    (three.host.configuration / "trust-policy.dsse.json").write_bytes(b"{}")
    assert three.inspect()["reach"] is None


@pytest.fixture
def approved(asking):
    """v1 is active with its approvals; answers what the host says of it."""
    deploy(asking, "v1", "run-1", approvals=approvals(asking, "v1"))

    def trusted():
        request = {"operation": "verify", "application": {"name": "shop"}, "bytes": True, "sizes": []}
        return handle(request, asking.host)["trust"]

    return trusted


def test_the_approvals_of_what_is_active_are_verified_too(asking, approved):
    assert approved()["outcome"] == "intact"
    asking.host.clock.advance(3650 * signed.DAY)
    assert approved()["outcome"] == "intact"  # they are judged as of then


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")])
def test_an_approval_that_is_gone_or_changed_shows(asking, approved, damage):
    damage(kept(asking, "v1")[0])
    found = approved()
    assert (found["outcome"], "found 1 of 2" in found["detail"]) == ("approvals_altered", True)


def test_an_approval_whose_signature_was_changed_shows(asking, approved):
    path = kept(asking, "v1")[0]
    envelope = Envelope.parse(path.read_bytes(), payload_type="application/vnd.in-toto+json", what="approval")
    forged = signed.sign(envelope.payload, signed.OTHER_KEY)
    path.write_bytes(forged)
    assert approved()["outcome"] == "approvals_altered"


def test_after_a_rotation_it_is_enough_that_the_approvals_are_still_there(asking, approved):
    set_policy(asking, require=BOTH, maxApprovalAge=1)
    assert approved()["outcome"] == "intact"
    kept(asking, "v1")[0].write_bytes(b"{}")
    assert approved()["outcome"] == "approvals_altered"


def put_policy(site, version):
    document = signed.policy_document(
        environments={"prod": signed.environment(), "staging": signed.environment()}, version=version
    )
    path = site.host.configuration / "trust-policy.dsse.json"
    path.write_bytes(signed.policy_envelope(document))


def test_an_older_policy_that_was_put_back_decides_nothing_and_shows(site):
    put_policy(site, 2)
    for number in (1, 2):
        site.build(f"v{number}", V1)
        deploy(site, f"v{number}", f"run-{number}")
    put_policy(site, 1)
    site.build("v3", V3)
    assert site.stage("v3")["reason"] == "policy_version_older"
    found = handle({"operation": "verify", "application": {"name": "shop"}, "bytes": True, "sizes": []}, site.host)
    assert (found["trust"]["outcome"], found["policy"]["version"]) == ("policy_version_older", 1)
    assert site.rollback("v1")["reason"] == "policy_version_older"  # what the newest one revokes must not come back
    put_policy(site, 3)
    assert not site.stage("v3").get("failed")
