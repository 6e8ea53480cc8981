# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_history_info."""

from __future__ import annotations

import doors
import pytest
from ansible.module_utils.slipway.host import handler
from releases import V1, V2, snapshot

NAME = "slipway_history_info"


@pytest.fixture
def module(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
        site.deploy(f"v{number}", f"run-{number}")

    def run(check=False, **parameters):
        given = {"application": "shop", **parameters}
        return doors.run(NAME, check=check, **{key: value for key, value in given.items() if value is not None})

    return run


@pytest.mark.parametrize("check", [False, True])
def test_records_come_newest_first_and_nothing_changes(site, module, check):
    before = snapshot(site.host.root)
    answer = module(check=check)
    assert answer["records"] == [dict(record) for record in reversed(site.records)]
    assert answer["changed"] is False
    assert snapshot(site.host.root) == before


def test_three_answers_are_kept_apart(site, module):
    site.rollback("v1", run=site.run("run-3"), takes_back="run-2")
    answer = module(limit=1)
    assert (answer["active"], answer["last_success"]["release_id"], answer["last_good"]) == ("v1", "v2", "v1")
    assert [record["operation"] for record in answer["records"]] == ["rollback"]


def test_every_documented_key_is_returned_and_no_other(module):
    answer = module()
    assert doors.undocumented(NAME, answer) == set()
    assert doors.documented_returns(NAME) - set(answer) == {"reason", "expected", "found", "remedy"}


def test_every_key_of_a_record_is_documented(module):
    documentation = doors.load(NAME).RETURN
    assert [key for key in module()["records"][0] if key not in documentation] == []


def test_an_unknown_application_is_refused(module):
    assert module(application="other")["reason"] == "application_not_bootstrapped"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"limit": "all"}, "unable to convert to int"),
        ({"application": None}, "missing required arguments: application"),
    ],
)
def test_parameters_of_the_wrong_type_are_refused(module, parameters, said):
    assert said in module(**parameters)["msg"]
