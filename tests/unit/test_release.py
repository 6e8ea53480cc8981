# SPDX-License-Identifier: GPL-3.0-or-later
"""The exchanges of a deployment, through the one door, with real signed releases and real files."""

from __future__ import annotations

import pytest
from releases import ALWAYS, NEVER, ONCE, UNIT, Site, snapshot

V1 = {"bin/shop!": b"#!/bin/sh\necho one\n", "config.json": b'{"version": "1.0"}', "data/same": b"same" * 100, "empty/": b""}
V2 = {**V1, "bin/shop!": b"#!/bin/sh\necho two\n"}
V3 = {**V1, "bin/shop!": b"#!/bin/sh\necho three\n"}


def test_a_first_deploy_makes_the_release_current_and_records_it(site):
    site.build("v1", V1)
    staged = site.stage("v1")
    assert (staged["changed"], staged["objects"], site.current) == (True, 3, None)
    activated = site.activate("v1", expected_current=None)
    assert (activated["outcome"], activated["previous_release_id"], site.current) == ("switched", None, "v1")
    confirmed = site.confirm("v1")
    assert (confirmed["outcome"], confirmed["active_release_id"]) == ("confirmed", "v1")
    assert site.statuses == [("v1", "success")]
    assert site.is_settled()


def test_a_second_deploy_leaves_the_first_release_to_go_back_to(site):
    site.build("v1", V1)
    site.build("v2", V2)
    site.deploy("v1", "run-1")
    site.deploy("v2", "run-2")
    assert site.current == "v2"
    assert site.inspect()["previous"] == "v1"
    assert (site.release("v2") / "bin/shop").read_bytes() == V2["bin/shop!"]
    assert site.statuses == [("v1", "success"), ("v2", "success")]
