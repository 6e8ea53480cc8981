# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says whether every host is ready, with the answer of a real host."""

from __future__ import annotations

import json

import doors
import plugins
import pytest
import signed

PLUGIN = "slipway_preflight_report"


@pytest.fixture
def report(site, monkeypatch):
    """Report on the readiness of prod-1 for the shop, on the day of the site's releases."""
    policy = site.directory / "trust-policy.dsse.json"
    policy.write_bytes(signed.policy_envelope())
    module = plugins.load(PLUGIN)
    monkeypatch.setattr(module.time, "time", lambda: float(site.host.clock.now()))
    site.description.update(user="nobody")

    def reported(**options):
        given = {
            "application": "shop",
            "catalogue": str(site.catalogue.root),
            "trust_policy": str(policy),
            "answers": {"prod-1": site.witnessed(preflight=True, health=True)},
            **options,
        }
        return plugins.run_class(module.ActionModule, PLUGIN, **given)

    return reported


def test_a_fleet_that_is_ready_is_told_with_every_row(site, report):
    site.build("v1", {"bin/shop": b"one"})
    answer = report()
    assert (answer["ready"], answer.get("failed"), answer["counts"]["FAIL"], answer["changed"]) == (
        True,
        None,
        0,
        False,
    )
    assert answer["msg"].startswith("shop: ready\n")
    assert {(row["host"], row["check"]) for row in answer["rows"]} >= {
        ("all of prod", "release"), ("prod-1", "disk"), ("prod-1", "unit"), ("prod-1", "security"), ("prod-1", "health"),
    }  # fmt: skip
    assert doors.undocumented(PLUGIN, answer) == set()


@pytest.mark.parametrize("check", [False, True])
def test_a_fleet_that_is_not_ready_fails_and_still_tells_every_row(site, report, check):
    site.description["preflight"] = {"commands": ["no-such-command", "sh"]}
    answer = report(check=check)
    assert (answer["ready"], answer["failed"], answer["reason"]) == (False, True, "not_ready")
    assert "no-such-command" in answer["msg"]
    assert " sh " in answer["msg"]
    assert answer["msg"].splitlines()[-1].endswith("1 FAIL")
    assert doors.undocumented(PLUGIN, answer) == set()


def test_programs_get_it_as_json(report):
    answer = report(format="json")
    assert json.loads(answer["msg"]) == {key: answer[key] for key in ("ready", "counts", "rows")}


def test_a_release_that_is_not_there_is_a_row(report):
    answer = report(release_id="v9")
    assert (answer["failed"], answer["rows"][0]["check"]) == (True, "release")
    assert answer["rows"][0]["found"].startswith("release_unknown: ")
