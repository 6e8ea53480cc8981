# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_application_info."""

from __future__ import annotations

import doors
import pytest
from ansible.module_utils.slipway.host import handler
from releases import V1, snapshot

NAME = "slipway_application_info"


@pytest.fixture
def module(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)

    def run(check=False, **parameters):
        given = {"application": "shop", "description": site.description, **parameters}
        return doors.run(NAME, check=check, **{key: value for key, value in given.items() if value is not None})

    return run


@pytest.fixture
def deployed(site):
    site.build("v1", V1)
    site.deploy("v1")
    return site


@pytest.mark.parametrize("check", [False, True])
def test_it_answers_and_changes_nothing(deployed, module, check):
    before = snapshot(deployed.host.root)
    answer = module(environment="prod", health=True, verify=True, check=check)
    assert (answer["changed"], answer["active"], answer["health"]["outcome"], answer["integrity"]["outcome"]) == (
        False, "v1", "success", "intact",
    )  # fmt: skip
    assert snapshot(deployed.host.root) == before


def test_every_documented_key_is_returned_and_no_other(deployed, module):
    answer = module()
    assert doors.undocumented(NAME, answer) == set()
    assert doors.documented_returns(NAME) - set(answer) == {"reason", "expected", "found", "remedy"}


def test_health_bytes_and_readiness_are_not_asked_for_by_default(deployed, module, systemctl):
    systemctl.calls.clear()
    answer = module()
    assert (answer["health"], answer["integrity"], answer["preflight"], systemctl.calls) == (None, None, None, [])


@pytest.mark.parametrize("check", [False, True])
def test_readiness_is_told_without_a_word_of_any_secret_and_changes_nothing(deployed, module, check):
    place = deployed.host.root / "etc/shop.env"
    place.write_text("TOKEN=canary-5e5d3f0a\nPORT=canary-5e5d3f0a\n")
    keys = {"TOKEN": {"required": True, "secret": True, "min_length": 32}, "PORT": {"type": "int", "secret": True}}
    deployed.description["configuration"] = {"files": ["/etc/shop.env"], "keys": keys}
    before = snapshot(deployed.host.root)
    answer = module(preflight=True, check=check)
    results = answer["preflight"]["results"]
    assert [(each["subject"], each["status"]) for each in results if each["check"] == "configuration"] == [
        ("TOKEN", "FAIL"), ("PORT", "FAIL"),
    ]  # fmt: skip
    assert "canary" not in str(answer)
    assert set(answer["preflight"]) == {"results", "room", "schema_revision"}
    assert snapshot(deployed.host.root) == before


def test_another_environment_is_refused(module):
    answer = module(environment="staging")
    assert (answer["failed"], answer["reason"]) == (True, "environment_mismatch")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"application": None}, "missing required arguments: application"),
        ({"description": "a shop"}, "argument 'description' is of type str"),
        ({"verify": "perhaps"}, "unable to convert to bool"),
    ],
)
def test_parameters_of_the_wrong_type_are_refused(module, parameters, said):
    assert said in module(**parameters)["msg"]
