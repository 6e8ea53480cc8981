# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a fleet; how it is worded is in tests/golden/story.txt."""

from __future__ import annotations

from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.story import story
from releases import V1, V2


def told(site, *, after_hours=0):
    """The story of a fleet of one host, that many hours later."""
    site.host.clock.advance(after_hours * 3600)
    records = site.ask("history", limit=50)["records"]
    answers = {"prod-1": site.inspect(health=True, manifest=True)}
    return story(answers, {"prod-1": records}, application="shop", now=site.host.clock.now())


def test_a_fleet_to_which_nothing_was_deployed_has_a_short_story(site):
    assert told(site).endswith("\n\nnothing was deployed yet")


def test_the_watch_of_a_release_ends_by_itself(site):
    site.build("v1", V1)
    site.deploy("v1")
    assert "47 h 0 min left" in told(site, after_hours=1)
    assert "over since" in told(site, after_hours=47)


def test_after_a_rollback_the_story_is_that_of_the_older_release(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    site.deploy("v2", "run-2")
    assert "way back    to v1: ansible-playbook rollback.yml -l prod-1 -e application=shop -e release_id=v1" in told(
        site
    )
    site.rollback("v1", run=site.run("run-3"))
    text = told(site)
    assert "v1 on prod-1" in text
    assert "back since" in text
    assert "way back    none" in text


def test_each_host_has_the_way_back_that_is_its_own(site):
    site.build("v1", V1)
    site.deploy("v1")
    answer = {**site.inspect(health=True, manifest=True)}
    answers = {"a": {**answer, "previous": "v0"}, "b": {**answer, "previous": "v9"}, "c": answer}
    text = story(answers, {}, application="shop", now=site.host.clock.now())
    assert "way back    to v0: ansible-playbook rollback.yml -l a -e application=shop -e release_id=v0" in text
    assert "way back    to v9: ansible-playbook rollback.yml -l b -e application=shop -e release_id=v9" in text
    assert "way back    none on c" in text


def test_who_built_and_who_approved_are_named_while_they_are_known(site):
    site.build("v1", V1)
    site.deploy("v1")
    answers = {"prod-1": site.inspect(health=True, manifest=True)}
    records = [{**site.ask("history", limit=1)["records"][0]}]
    records[0]["approvals"] = [
        {"role": "engineering_lead", "holder": "lead"},
        {"role": "risk_manager", "holder": "risk"},
    ]
    people = Holders.parse(
        {"lead": {"name": "Ann Lee", "email": "ann@example.org"}, "ci": {"name": "CI", "email": "ci@example.org"}}
    )

    def text(holders):
        return story(answers, {"prod-1": records}, application="shop", now=site.host.clock.now(), holders=holders)

    assert "approvals   Ann Lee <ann@example.org>, engineering_lead; risk, risk_manager" in text(people)
    assert "by CI <ci@example.org>, valid until" in text(people)
    assert "approvals   lead, engineering_lead; risk, risk_manager" in text(Holders())
    assert "example.org" not in text(Holders())
    records[0]["authorizations"] = [{"role": "engineering_lead", "holder": "lead"}]
    assert "authorized  Ann Lee <ann@example.org>, engineering_lead" in text(people)
