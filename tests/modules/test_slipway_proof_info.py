# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_proof_info, and its plugin, which asks for a proof against a checkpoint that the controller cosigned."""

from __future__ import annotations

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.host import handler
from releases import V1, V2, snapshot

NAME = "slipway_proof_info"


@pytest.fixture(autouse=True)
def here(site, monkeypatch):
    monkeypatch.setattr(handler, "Host", lambda: site.host)


@pytest.fixture
def proof(site):
    site.build("v1", V1)
    site.deploy("v1", "run-1")

    def asked(run_id="run-1", **options):
        return plugins.run_on_host(NAME, task_vars=site.variables(), application="shop", run_id=run_id, **options)

    return asked


def test_a_proof_is_witnessed_and_changes_nothing_on_the_host(site, proof):
    before = snapshot(site.places.base, site.places.state)
    answer = proof()
    assert (answer["changed"], answer["host"]["name"]) == (False, "prod-1")
    assert answer["witness"]["outcome"] == "first_seen"
    assert doors.undocumented(NAME, answer) == set()
    assert snapshot(site.places.base, site.places.state) == before


def test_a_run_is_proven_against_the_oldest_checkpoint_that_was_kept_of_it(site, proof):
    assert [line["size"] for line in proof()["lines"]] == [1]
    site.build("v2", V2)
    site.deploy("v2", "run-2")
    assert [line["size"] for line in proof("run-2")["lines"]] == [2]
    answer = proof()
    assert [line["size"] for line in answer["lines"]] == [1]
    assert answer["witness"]["outcome"] == "intact"
    memory = Witness(site.directory / "witness").memory()
    assert [kept.size for kept in memory.checkpoints(site.host.identity().id, "shop")] == [1, 2]


def test_a_run_that_is_not_recorded_is_no_part_of_it(proof):
    answer = proof("run-9")
    assert (answer["failed"], answer["reason"]) == (True, "record_unknown")
    assert doors.undocumented(NAME, answer) == set()
