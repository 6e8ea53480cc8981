# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_application_info."""

from __future__ import annotations

from pathlib import Path

import doors
import plugins
import pytest
from ansible.module_utils.slipway.host import handler
from releases import V1, V2, snapshot

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
    assert doors.documented_returns(NAME) - set(answer) == {"reason", "expected", "found", "remedy", "witness"}


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


# the plugin, which judges the history that comes with the answer


@pytest.fixture
def plugin(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)

    def run(name="prod-1", check=False, **options):
        given = {"application": "shop", "description": site.description, "environment": "prod", **options}
        return plugins.run_on_host(NAME, check=check, task_vars=site.variables(name), **given)

    return run


@pytest.mark.parametrize("check", [False, True])
def test_the_answer_comes_with_the_verdict_on_the_history(deployed, plugin, check):
    answers = [plugin(check=check), plugin(check=check)]
    assert [answer["witness"]["outcome"] for answer in answers] == ["first_seen", "intact"]
    assert doors.undocumented(NAME, answers[0]) == set()


def test_a_controller_that_cannot_remember_asks_all_the_same_and_judges_nothing(deployed, plugin):
    memory = Path(deployed.variables("prod-1")["slipway_state_directory"]) / "state.sqlite"
    memory.parent.mkdir(exist_ok=True)
    memory.write_bytes(b"garbage " * 200)
    answer = plugin()
    assert (answer["active"], answer["witness"]["outcome"]) == ("v1", "unjudged")
    assert "controller_memory_unusable" in answer["witness"]["detail"]


def test_a_host_is_asked_once_and_once_more_only_when_it_turns_out_to_be_another(deployed, plugin, monkeypatch):
    asked = []
    handle = handler.handle
    monkeypatch.setattr(
        handler, "handle", lambda request, host: asked.append(request["witnessed"]) or handle(request, host)
    )
    plugin()
    plugin()
    assert asked == [None, {"size": 1}]
    deployed.build("v2", V2)
    deployed.deploy("v2", "run-2")
    assert plugin("web-1")["witness"] == {"outcome": "intact", "detail": "2 records"}
    assert asked[2:] == [None, {"size": 1}]
    assert plugin("web-1")["witness"]["outcome"] == "intact"
    assert len(asked) == 5


def test_a_history_that_was_put_back_is_told(deployed, plugin):
    kept = {path: path.read_bytes() for path in deployed.places.state.iterdir() if path.is_file()}
    plugin()
    deployed.build("v2", V2)
    deployed.deploy("v2", "run-2")
    plugin()
    for path, data in kept.items():
        path.write_bytes(data)
    assert plugin()["witness"]["outcome"] == "restored"


def test_a_host_that_refuses_since_its_history_is_broken_is_told(deployed, plugin):
    deployed.places.history.write_bytes(b"{}\n")
    answer = plugin()
    assert (answer["reason"], answer["witness"]["outcome"]) == ("history_altered", "rewritten")


def test_another_refusal_says_nothing_of_the_history(deployed, plugin):
    answer = plugin(environment="staging")
    assert (answer["reason"], answer["witness"]) == ("environment_mismatch", None)
