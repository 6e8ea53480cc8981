# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a fleet: a line for each application on each host, and for each finding what to do."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.controller.verification import Finding, Verification, beside_policy


def answer(**changes):
    """A host's answer about one application, with nothing to find; `changes` are outcomes by part."""
    outcomes = {"release": "intact", "trust": "intact", "witness": "intact", "own_runs": "complete", **changes}
    parts = {part: {"outcome": outcome, "detail": f"about {part}"} for part, outcome in outcomes.items() if outcome}
    return {"active": "v1", **parts}


def verification(**applications):
    return Verification({"prod-1": {"applications": applications}})


def found(judged):
    return [(each.host, each.application, each.part, each.outcome) for each in judged.findings]


def test_a_fleet_of_which_everything_fits_is_intact():
    judged = verification(shop=answer(), other=answer(witness="torn", release="nothing_active", trust="nothing_active"))
    assert (judged.is_intact, judged.findings) == (True, [])
    assert judged.report().splitlines()[1:] == [
        "prod-1  other        v1      nothing_active  nothing_active  torn     complete",
        "prod-1  shop         v1      intact          intact          intact   complete",
        "everything is intact",
    ]


def test_a_host_whose_policy_is_older_than_the_controllers_is_a_finding():
    answers = {
        "prod-1": {"applications": {"shop": {**answer(), "policy": {"version": 1}}}},
        "prod-2": {"applications": {"shop": {**answer(), "policy": {"version": 2}}}},
        "prod-3": {"applications": {"shop": {**answer(trust="signature_unknown"), "policy": {"version": 1}}}},
        "prod-4": {"applications": {"shop": {**answer(), "policy": None}}},
        "prod-5": {},
    }
    judged = Verification(beside_policy(answers, 2))
    assert [each for each in found(judged) if each[2] == "trust"] == [
        ("prod-1", "shop", "trust", "policy_behind"),
        ("prod-3", "shop", "trust", "signature_unknown"),
    ]
    assert "make trust-rotate LIMIT=prod-1" in judged.report()
    assert Verification(beside_policy(answers, 1)).findings != judged.findings


def test_what_was_accepted_is_no_finding_and_is_told():
    judged = verification(shop=answer(witness="accepted"))
    assert judged.is_intact
    assert judged.report().splitlines()[-2:] == [
        "prod-1 shop: history accepted: about witness",
        "everything else is intact",
    ]


@pytest.mark.parametrize(
    ("changes", "part", "outcome"),
    [
        ({"release": "file_changed"}, "release", "file_changed"),
        ({"trust": "approval_missing"}, "trust", "approval_missing"),
        *[
            ({"witness": outcome}, "history", outcome)
            for outcome in (
                "truncated", "restored", "forked", "rewritten", "key_changed", "foreign_checkpoint", "unknown_witness", "unjudged",
            )
        ],
        ({"own_runs": "missing"}, "runs", "missing"),
        ({"own_runs": "unknown"}, "runs", "unknown"),
    ],
)  # fmt: skip
def test_each_thing_that_does_not_fit_is_a_finding_with_what_to_do(changes, part, outcome):
    judged = verification(shop=answer(**changes), other=answer())
    assert found(judged) == [("prod-1", "shop", part, outcome)]
    remedy = judged.findings[0].remedy
    assert remedy
    assert "{" not in remedy
    assert remedy in judged.report()
    assert judged.report().splitlines()[-1] == "not intact: prod-1"
    assert judged.as_dict()["findings"][0]["remedy"] == remedy


def test_everything_that_is_found_is_told_and_not_only_the_first():
    assert len(verification(shop=answer(release="file_changed", witness="forked", own_runs="missing")).findings) == 3


@pytest.mark.parametrize("missing", ["release", "trust", "witness", "own_runs"])
def test_a_part_that_the_host_did_not_speak_of_is_a_finding(missing):
    judged = verification(shop=answer(**{missing: None}))
    part = {"witness": "history", "own_runs": "runs"}.get(missing, missing)
    assert found(judged) == [("prod-1", "shop", part, "not_told")]
    assert judged.report().splitlines()[1].split().count("?") == 1


@pytest.mark.parametrize(
    ("silent", "outcome"),
    [({}, "unreachable"), ({"unreachable": True, "msg": "timed out"}, "unreachable"), ({"failed": True, "reason": "host_error", "found": "so"}, "host_error")],
)  # fmt: skip
def test_a_host_without_an_answer_is_a_finding(silent, outcome):
    judged = Verification({"prod-1": {"applications": {"shop": answer()}}, "prod-2": silent})
    assert found(judged) == [("prod-2", "", "host", outcome)]
    assert judged.report().splitlines()[2].split()[:4] == ["prod-2", "?", "?", outcome]


def test_a_host_that_refuses_for_an_application_is_a_finding():
    refused = {"failed": True, "reason": "environment_mismatch", "found": "a request for 'prod'", "witness": None}
    assert found(verification(shop=refused, other=answer())) == [("prod-1", "shop", "host", "environment_mismatch")]


def test_an_application_that_was_never_prepared_on_a_host_is_no_finding():
    absent = {"failed": True, "reason": "application_not_bootstrapped", "found": "none"}
    judged = verification(shop={**absent, "witness": {"outcome": "first_seen", "detail": ""}}, other=answer())
    assert judged.is_intact
    assert judged.report().splitlines()[2].split() == ["prod-1", "shop", "-", "-", "-", "first_seen", "-"]
    gone = verification(shop={**absent, "witness": {"outcome": "truncated", "detail": ""}})
    assert found(gone) == [("prod-1", "shop", "history", "truncated")]


def test_a_fleet_without_hosts_or_a_host_without_applications_proves_nothing():
    assert found(verification()) == [("prod-1", "", "host", "nothing_verified")]


def test_the_data_has_every_part_with_its_detail():
    data = verification(shop=answer()).as_dict()
    assert data["intact"] is True
    assert data["hosts"]["prod-1"]["shop"] == {
        "active": "v1",
        "release": {"outcome": "intact", "detail": "about release"},
        "trust": {"outcome": "intact", "detail": "about trust"},
        "history": {"outcome": "intact", "detail": "about witness"},
        "runs": {"outcome": "complete", "detail": "about own_runs"},
    }


def test_a_finding_without_a_remedy_of_its_own_has_that_of_its_part():
    assert Finding("prod-1", "shop", "history", "new_outcome", "").remedy.startswith("Take the host for tampered with")
