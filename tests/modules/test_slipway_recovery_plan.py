# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that says which runs of this controller are dead."""

from __future__ import annotations

import os
from dataclasses import replace

import doors
import plugins
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.controller.deployment import Controller
from ansible.module_utils.slipway.controller.memory import ControllerState

NAME = "slipway_recovery_plan"
GONE = replace(Process.of(os.getpid()), started="never")


def test_it_names_the_controller_and_its_dead_runs_and_begins_none(site):
    dead = Controller(site.state, "shop", "prod", "anna", site.host.clock.now(), GONE)
    run_id = dead.begin("deploy")[0]["run_id"]
    answer = plugins.run(NAME, application="shop", environment="prod", state_directory=str(site.state))
    memory = ControllerState(site.state)
    assert answer["changed"] is False
    assert (answer["run"]["controller_id"], answer["run"]["dead_runs"]) == (memory.controller_id(), [run_id])
    assert memory.run_ids("shop") == {run_id}
    assert doors.undocumented(NAME, answer) == set()


def test_with_it_a_host_settles_what_such_a_run_left_open(site):
    for number in (1, 2):
        site.build(f"v{number}", {"bin/shop": b"%d" % number})
    site.deploy("v1")
    dead = Controller(site.state, "shop", "prod", "anna", site.host.clock.now(), GONE)
    run, _unrecorded = dead.begin("deploy")
    site.stage("v2", run=run)
    site.activate("v2", run=run)
    answer = plugins.run(NAME, application="shop", environment="prod", state_directory=str(site.state))
    recovered = site.recover(run=answer["run"])
    assert (recovered["outcome"], recovered["record"]["status"], site.current) == ("recovered", "interrupted", "v1")
    assert site.recover(run=answer["run"])["record"] is None


def test_a_run_that_may_still_live_is_settled_only_by_force(site):
    for number in (1, 2):
        site.build(f"v{number}", {"bin/shop": b"%d" % number})
    site.deploy("v1")
    site.stage("v2", run=site.run("run-2"))
    site.activate("v2", run=site.run("run-2"))
    other = site.run("", controller_id="controller-9")
    assert site.recover(run=other)["reason"] == "locked"
    assert site.recover(run=other, forced=True)["changed"] is True
    assert site.current == "v1"
