# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's clock that jumps by a day between any two exchanges: nobody is locked out for long, nothing old becomes right."""

from __future__ import annotations

import pytest

from faults.invariants import Known, require_served, require_settled
from faults.machine import Machine
from faults.operations import activate, boot, confirm, recover, revert, roll_back, stage

DAY = 86_400


@pytest.fixture
def switched(machine: Machine) -> Machine:
    """A machine where v2 waits for its confirmation by run-2."""
    assert not activate(machine).get("failed")
    return machine


def jump(machine: Machine, seconds: int) -> None:
    """Only the wall clock: CLOCK_BOOTTIME does not jump."""
    machine.clock.time += seconds


JUMPS = pytest.mark.parametrize("by", [-DAY, DAY], ids=["a day back", "a day forward"])


@JUMPS
@pytest.mark.parametrize(
    ("settle", "served", "status"),
    [(confirm, "v2", "success"), (revert, "v1", "rolled_back"), (recover, "v1", "interrupted")],
    ids=["confirm", "revert", "recover"],
)
def test_a_run_settles_what_it_switched_whatever_the_clock_says_now(switched, by, settle, served, status, tell):
    before = Known.of(switched)
    jump(switched, by)
    answer = settle(switched)
    assert not answer.get("failed"), answer
    require_settled(switched, before, {served})
    assert switched.site.statuses[-1] == ("v2", status)
    assert switched.site.records[-1]["durations"]["total_seconds"] >= 0
    tell(f"{settle.__name__} after it", f"clock {'back' if by < 0 else 'forward'}", 1)


@JUMPS
def test_the_deadman_goes_by_the_clock_that_does_not_jump(switched, by, tell):
    """Neither does a jump end the time that a run has, nor does it give it more."""
    site = switched.site
    stranger = site.run("run-8", controller_id="controller-8", deployed_by="bob")
    before = Known.of(switched)
    jump(switched, by)
    assert site.recover(run=stranger)["reason"] == "locked"
    assert site.inspect()["transaction"]["seconds_left"] > 800
    switched.clock.boot += 901
    assert site.recover(run=stranger)["outcome"] == "recovered"
    require_settled(switched, before, {"v1"})
    assert site.records[-1]["reason"] == "not_confirmed"
    tell("the dead-man", f"clock {'back' if by < 0 else 'forward'}", 1)


@JUMPS
def test_after_a_reboot_recovery_asks_no_clock(switched, by, tell):
    before = Known.of(switched)
    jump(switched, by)
    switched.clock.boot = 1.0
    switched.lose_memory()
    boot(switched)
    switched.start_units()
    require_settled(switched, before, {"v1"})
    assert switched.site.records[-1]["reason"] == "interrupted_by_reboot"
    tell("recovery at boot", f"clock {'back' if by < 0 else 'forward'}", 1)


def test_a_deployment_is_refused_while_the_clock_is_behind_the_history_and_a_rollback_is_not(switched, tell):
    machine, site = switched, switched.site
    confirm(machine)
    before = Known.of(machine)
    jump(machine, -DAY)
    answer = stage(machine)
    assert (answer["reason"], answer["changed"]) == ("clock_set_back", False)
    assert Known.of(machine) == before
    assert site.activate("v3", run=site.run("run-3"), migrate=True)["reason"] == "clock_set_back"
    assert not roll_back(machine).get("failed")
    require_settled(machine, before, {"v1"})
    jump(machine, DAY)
    site.deploy("v4", "run-4", migrate=True)
    require_served(machine, {"v4"})
    tell("deploy and roll back", "clock back", 2)


def test_an_approval_does_not_come_to_life_again_by_a_clock_that_was_set_back(machine, tell):
    """What has expired is refused a day later, and a clock behind the history decides nothing."""
    site = machine.site
    jump(machine, 91 * DAY)
    assert stage(machine)["reason"] == "manifest_too_old"
    site.rollback("v1", run=site.run("run-3"))
    tell("expiry", "clock forward", 1)


def test_the_wait_for_the_lock_ends_by_the_clock_that_does_not_jump(switched, tell):
    """However the wall clock jumps meanwhile, the loser waits its seconds and no longer."""
    from ansible.module_utils.slipway.host.lease import EXCLUSIVE_WAIT_SECONDS, exclusive

    site, clock = switched.site, switched.clock
    sleep, began = clock.sleep, clock.boot

    def sleep_and_jump(seconds: float) -> None:
        sleep(seconds)
        clock.time += DAY if clock.boot % 1 < 0.5 else -DAY

    clock.sleep = sleep_and_jump
    with exclusive(site.places.lock, clock):
        assert revert(switched)["reason"] == "busy"
    assert clock.boot - began == pytest.approx(EXCLUSIVE_WAIT_SECONDS, abs=0.2)
    tell("the wait for a lock", "clock back", 1)
