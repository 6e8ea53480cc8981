# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the report of deliveries."""

from __future__ import annotations

import json
import time

import doors
import plugins
import pytest
from ansible.errors import AnsibleActionFail
from ansible.module_utils.slipway.controller.memory import ControllerState, Subject

PLUGIN = "slipway_delivery_info"


@pytest.fixture
def deliveries(tmp_path):
    """Ask, with two deployments of shop to prod and one to staging in the memory."""
    memory, now = ControllerState(tmp_path / "state"), int(time.time()) - 3600
    for number, environment in enumerate(("prod", "prod", "staging")):
        subject = Subject(f"v{number}", "minor", now - 60)
        about = {
            "operation": "deploy",
            "application": "shop",
            "environment": environment,
            "deployed_by": "alice",
            "now": now,
        }
        run_id = memory.begin_run(**about, subject=subject)
        memory.note_host_of_run(
            run_id, host_id="id-1", outcome="confirmed", recorded=True, now=now, name="h", region="eu"
        )
        memory.end_run(run_id, outcome="as asked", now=now + 60)
    return lambda **options: plugins.run(PLUGIN, **{"state_directory": str(tmp_path / "state"), **options})


def test_it_says_what_the_memory_has_without_a_host(deliveries):
    answer = deliveries()
    assert [each["environment"] for each in answer["history"]["changes"]] == ["prod", "prod", "staging"]
    assert "h in eu" in answer["text"]
    assert answer["changed"] is False
    assert doors.undocumented(PLUGIN, answer) == set()


def test_json_is_what_the_table_is_of(deliveries):
    answer = deliveries(format="json")
    assert json.loads(answer["text"]) == answer["history"]


def test_a_format_that_there_is_not_is_refused(deliveries):
    with pytest.raises(AnsibleActionFail, match="table, json"):
        deliveries(format="xml")


def test_an_application_and_an_environment_are_picked(deliveries):
    assert len(deliveries(environment="staging")["history"]["changes"]) == 1
    assert len(deliveries(application="shop")["history"]["changes"]) == 3


@pytest.mark.parametrize(
    "asked", [{"application": "shpo"}, {"environment": "prdo"}, {"application": "shop", "environment": "prdo"}]
)
def test_an_application_or_environment_that_nobody_knows_is_refused(deliveries, asked, tmp_path):
    page = tmp_path / "page.html"
    answer = deliveries(page=str(page), **asked)
    assert (answer["failed"], answer["reason"]) == (True, "report_unknown")
    assert answer["found"] == "runs of shop in prod, shop in staging"
    assert doors.undocumented(PLUGIN, answer) == set()
    assert not page.exists()


def test_a_directory_without_a_memory_is_refused_and_none_is_made_there(tmp_path):
    answer = plugins.run(PLUGIN, state_directory=str(tmp_path / "mistyped"))
    assert (answer["failed"], answer["reason"]) == (True, "state_missing")
    assert doors.undocumented(PLUGIN, answer) == set()
    assert not (tmp_path / "mistyped").exists()


def test_a_page_is_written_where_it_is_asked_for(deliveries, tmp_path):
    page = tmp_path / "page.html"
    assert deliveries(page=str(page), check=True)["changed"] is True
    assert not page.exists()
    assert deliveries(page=str(page))["changed"] is True
    assert "<h1>Deliveries</h1>" in page.read_text()


def test_a_time_that_is_none_is_refused(deliveries):
    answer = deliveries(weeks=0)
    assert (answer["failed"], answer["reason"]) == (True, "report_weeks_invalid")
    assert doors.undocumented(PLUGIN, answer) == set()
