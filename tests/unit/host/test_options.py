# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules take, and the requests that they make of it."""

from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.slipway.host import handler
from ansible.module_utils.slipway.host.options import MODULES, STATES, Module


def filled(name, /, **options):
    """The options as the module's argument spec fills them in."""
    validation = ArgumentSpecValidator(MODULES[name].argument_spec).validate(options)
    assert not validation.error_messages
    return validation.validated_parameters


ABOUT = {"application": "shop", "description": {"unit": "shop.service"}, "environment": "prod"}


def request(name, /, **options):
    return MODULES[name].request(filled(name, **options))


@pytest.mark.parametrize("state", STATES)
def test_each_state_of_a_release_is_an_exchange(state):
    made = request("slipway_release", state=state, run={"run_id": "run-1"}, release_id="v1", **ABOUT)
    assert made["operation"] == STATES[state]
    assert made["application"] == {"name": "shop", "description": {"unit": "shop.service"}}
    assert "expected_current" not in made
    assert ("share" in made) is (state != "renewed")


@pytest.mark.parametrize(("given", "meant"), [("", None), ("v1", "v1")])
def test_an_empty_expected_current_means_that_nothing_is_active(given, meant):
    made = request("slipway_release", state="active", run={}, release_id="v1", expected_current=given, **ABOUT)
    assert made["expected_current"] == meant


def test_every_request_names_an_operation_of_the_handler():
    needs = {
        "slipway_balancer": {"backend": "b", "server": "s", "state": "ready"},
        "slipway_balancer_configuration": {"applications": {}, "timeout_seconds": 1},
        "slipway_failover": {"backend": "b"},
        "slipway_host": {"name": "prod-1", "environment": "prod", "trust_policy": "{}"},
        "slipway_proof_info": {"application": "shop", "run_id": "run-1"},
        "slipway_history_info": {"application": "shop"},
        "slipway_application_info": ABOUT,
        "slipway_lock": {key: ABOUT[key] for key in ("application", "environment")},
        "slipway_trust_rotation": {"trust_policy": "/p"},
        "slipway_unit": {
            **{key: ABOUT[key] for key in ("application", "description")},
            "memory_max": "1G", "cpu_quota": "50%", "tasks_max": 10, "stop_timeout_seconds": 1,
        },
    }  # fmt: skip
    asked = {request(name, **options)["operation"] for name, options in needs.items()}
    integrity = {**filled("slipway_integrity_info", applications=["shop"]), "application": "shop"}
    asked |= {MODULES["slipway_integrity_info"].request(integrity)["operation"]} | set(STATES.values())
    assert set(needs) | {"slipway_integrity_info", "slipway_release"} == set(MODULES)
    assert asked == set(handler.OPERATIONS)


def test_paths_are_those_of_the_host(monkeypatch):
    monkeypatch.setenv("HOME", "/opt/somebody")
    monkeypatch.setenv("PLACE", "there")
    monkeypatch.setattr(handler, "handle", lambda request, _host: request)
    module = Module({"socket": {"type": "path"}, "name": {"type": "str"}, "none": {"type": "path"}}, dict)
    answer = module.answer({"socket": "~/$PLACE/x", "name": "~/$PLACE", "none": None}, True)
    assert answer == {"socket": "/opt/somebody/there/x", "name": "~/$PLACE", "none": None, "check": True}


def test_every_application_is_verified_with_what_was_witnessed_of_it(site):
    options = {
        **filled("slipway_integrity_info", applications=["shop", "books"]),
        "witnessed": {"shop": {"size": 0, "sizes": [0]}},
    }
    answer = MODULES["slipway_integrity_info"].answer(options, False, site.host)
    assert answer["host"]["name"] == "prod-1"
    assert {name: found.get("reason") for name, found in answer["applications"].items()} == {
        "shop": None,
        "books": "application_not_bootstrapped",
    }
