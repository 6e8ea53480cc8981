# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to what approvals a release has and lacks."""

from __future__ import annotations

import doors

MODULE = "slipway_approvals_info"


def told(office, **options):
    given = {"catalogue": office.catalogue, "application": "shop", "release_id": "v1", "trust_policy": office.policy}
    return doors.run(MODULE, **{**given, **options})


def test_what_is_missing_is_named_with_who_can_give_it(office):
    answer = told(office, holders={"risk": {"name": "Rico Risk", "email": "risk@example.org"}})
    prod = answer["environments"]["prod"]
    assert not prod["is_complete"]
    assert prod["lacking"] == [
        {"role": "engineering-lead", "count": 1, "holders": ["lead"]},
        {"role": "risk-manager", "count": 1, "holders": ["risk"]},
    ]
    assert answer["environments"]["staging"] == {"is_complete": True, "counted": [], "lacking": [], "not_counted": []}
    assert "Rico Risk <risk@example.org>" in answer["words"]
    assert "none asked" in answer["words"]
    assert answer["changed"] is False
    assert doors.undocumented(MODULE, answer) == set()


def test_what_was_given_is_named_with_its_end(office):
    given = [office.approve(holder) for holder in ("lead", "risk")]
    answer = told(office)
    prod = answer["environments"]["prod"]
    assert prod["is_complete"]
    assert [each["holder"] for each in prod["counted"]] == ["lead", "risk"]
    assert f"lead until {given[0]['expires']}" in answer["words"]
    assert "not counted" not in answer["words"]  # in staging they are for another environment, which is no news


def test_what_does_not_count_is_named_with_its_reason(office):
    office.approve()
    (path,) = (office.catalogue / "shop/approvals").glob("*/*")
    path.write_text("{}")
    answer = told(office)
    (uncounted,) = answer["environments"]["prod"]["not_counted"]
    assert uncounted["reason"] == "envelope_payload_type"
    assert "not counted in prod: one that cannot be read" in answer["words"]


def test_a_release_that_is_not_there_is_refused(office):
    refused = told(office, release_id="v9")
    assert refused["reason"] == "release_unknown"
    assert doors.undocumented(MODULE, refused) == set()


def test_where_all_are_required_what_is_missing_is_refused_as_a_deployment_is(office):
    office.approve()
    refused = told(office, required_in="prod")
    assert refused["reason"] == "approval_missing"
    assert "make approve RELEASE_ID=v1 ENVIRONMENT=prod ROLE=risk-manager" in refused["remedy"]
    assert "ROLE=engineering-lead" not in refused["remedy"]
    assert not told(office, required_in="staging").get("failed")
    office.approve("risk")
    assert not told(office, required_in="prod").get("failed")
