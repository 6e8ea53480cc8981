# SPDX-License-Identifier: GPL-3.0-or-later
"""What an alert says of the application: what is active, who deployed last, whether it is watched."""

from __future__ import annotations

from ansible.module_utils.slipway.watch.facts import Facts, facts_of
from releases import V1, V2


def test_of_a_host_that_serves_they_are_what_its_history_says(site):
    site.build("v1", V1)
    site.deploy("v1")
    found = facts_of(site.host, "shop")
    record = site.records[-1]
    assert found.release == "v1"
    assert found.last_deploy == {
        "release_id": "v1",
        "at": record["timestamp"],
        "by": "alice",
        "outcome": "deploy success",
    }
    assert found.window == ({"open": True, "until": record["window"]["end"]} if record["window"] else {"open": False})


def test_a_deployment_that_failed_is_the_last_one(site):
    site.build("v1", V1)
    site.deploy("v1")
    site.build("v2", V2)
    site.sicken("v2")
    site.stage("v2", run=site.run("run-2"))
    site.activate("v2", run=site.run("run-2"))
    found = facts_of(site.host, "shop")
    assert (found.release, found.last_deploy["release_id"], found.last_deploy["outcome"]) == (
        "v1",
        "v2",
        "deploy rolled_back",
    )


def test_what_is_not_known_holds_nothing_up(site, host):
    assert facts_of(host, "nothing") == Facts()
    assert facts_of(host, "NO NAME") == Facts()
    site.build("v1", V1)
    site.deploy("v1")
    site.places.history.write_bytes(b"no history\n")
    assert facts_of(site.host, "shop") == Facts(release="v1")
    site.places.history.unlink()
    assert facts_of(site.host, "shop") == Facts(release="v1")
