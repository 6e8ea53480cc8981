# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that plans a rollback on the controller, with the answer of a real host."""

from __future__ import annotations

import doors
import plugins
import pytest

PLUGIN = "slipway_rollback_plan"


@pytest.fixture
def plan(site):
    def planned(**options):
        given = {
            "application": "shop",
            "environment": "prod",
            "state_directory": str(site.state),
            "catalogue": str(site.catalogue.root),
            "answers": {"prod-1": site.witnessed()},
            **options,
        }
        return plugins.run(PLUGIN, **given)

    return planned


@pytest.fixture
def deployed(site):
    """v1 in run-1, then v2 in run-2."""
    for number in (1, 2):
        site.build(f"v{number}", {"bin/shop": b"%d" % number})
        site.deploy(f"v{number}", f"run-{number}")
    return site


def test_the_newest_run_is_taken_back_where_it_was(deployed, plan):
    answer = plan()
    assert (answer["targets"], answer["takes_back"]) == ({"prod-1": "v1"}, {"prod-1": "run-2"})
    assert (answer["recover"], answer["silent"], answer["changed"]) == ([], [], False)
    assert doors.undocumented(PLUGIN, answer) == set()
    assert deployed.rollback("v1", run=answer["run"])["outcome"] == "confirmed"


def test_going_to_what_is_active_needs_no_run(deployed, plan):
    answer = plan(release_id="v2")
    assert (answer["run"], answer["targets"]) == (None, {})
    assert answer["message"] == "v2 is already active on prod-1: nothing to do."


def test_a_release_that_is_named_to_be_undone_is_not_gone_to(deployed, plan):
    assert plan(release_id="v2", undone=True)["targets"] == {"prod-1": "v1"}
    answer = plan(release_id="v1", undone=True)
    assert (answer["run"], answer["targets"]) == (None, {})
    assert "which did not bring v1: nothing to do" in answer["message"]


def test_within_a_limit_a_silent_host_is_named_and_left_alone(deployed, plan):
    answer = plan(limited=True, answers={"prod-1": deployed.witnessed(), "prod-2": {}})
    assert (answer["targets"], answer["silent"]) == ({"prod-1": "v1"}, ["prod-2"])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"release_id": "v9"}, "release_not_here"),
        ({"undone": True}, "release_id_missing"),
        ({"answers": {"prod-1": {}}}, "host_unreachable"),
    ],
)
def test_what_cannot_be_done_is_refused(deployed, plan, options, reason):
    answer = plan(**options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert doors.undocumented(PLUGIN, answer) == set()
