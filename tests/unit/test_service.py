# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemctl, and what its answers mean."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.command import Finished, run
from ansible.module_utils.slipway.errors import Refusal
from ansible.module_utils.slipway.service import START_TIMEOUT_SECONDS, Service, UnitState


@pytest.fixture
def service(systemctl):
    systemctl.units["shop.service"] = ("loaded", "active", "running")
    return Service("shop.service", systemctl)


@pytest.mark.parametrize(
    ("state", "is_running", "has_failed"),
    [
        (("loaded", "active", "running"), True, False),
        (("loaded", "active", "exited"), True, False),
        (("loaded", "activating", "auto-restart"), False, False),
        (("loaded", "reloading", "reload"), False, False),
        (("loaded", "inactive", "dead"), False, False),
        (("loaded", "failed", "failed"), False, True),
        (("not-found", "inactive", "dead"), False, False),
    ],
)
def test_a_unit_is_in_the_state_that_systemctl_shows(service, systemctl, state, is_running, has_failed):
    systemctl.units["shop.service"] = state
    assert service.state() == UnitState(*state)
    assert (service.state().is_running, service.state().has_failed) == (is_running, has_failed)
    assert systemctl.calls[0] == ("show", "--property=LoadState,ActiveState,SubState", "shop.service")


@pytest.mark.parametrize("output", ["", "System has not been booted with systemd\n", "garbage = \n=\n"])
def test_a_state_that_is_not_shown_is_unknown_and_neither_well_nor_failed(service, systemctl, output):
    systemctl.ends["show"] = Finished(1, output)
    assert service.state() == UnitState("unknown", "unknown", "unknown")
    assert not service.state().is_running
    assert not service.state().has_failed


def test_a_loaded_unit_is_good_enough_to_depend_on(service):
    service.require_loaded()


@pytest.mark.parametrize("load", ["not-found", "bad-setting", "masked", "error"])
def test_a_unit_that_cannot_be_loaded_is_refused(service, systemctl, load):
    systemctl.units["shop.service"] = (load, "inactive", "dead")
    with pytest.raises(Refusal) as refused:
        service.require_loaded()
    assert refused.value.reason == "unit_missing"
    assert refused.value.found == f"LoadState={load}"


def test_a_restart_clears_the_start_limit_first(service, systemctl):
    systemctl.units["shop.service"] = ("loaded", "failed", "failed")
    assert service.restart().succeeded
    assert systemctl.calls == [("reset-failed", "shop.service"), ("restart", "shop.service")]


def test_a_unit_without_a_start_limit_is_restarted_all_the_same(service, systemctl):
    systemctl.ends["reset-failed"] = Finished(1, "Unit shop.service not loaded.")
    assert service.restart().succeeded


def test_a_restart_ends_as_systemctl_ends(service, systemctl):
    systemctl.ends["restart"] = Finished(1, "Job for shop.service failed.")
    assert service.restart() == Finished(1, "Job for shop.service failed.")


def test_a_reload_starts_a_unit_that_does_not_run(service, systemctl):
    systemctl.units["shop.service"] = ("loaded", "inactive", "dead")
    assert service.reload().succeeded
    assert systemctl.calls == [("reload-or-restart", "shop.service")]
    assert service.state().is_running


def test_a_unit_is_stopped(service, systemctl):
    assert service.stop().succeeded
    assert systemctl.calls == [("stop", "shop.service")]
    assert not service.state().is_running


def test_systemctl_is_a_command_that_asks_for_no_password_and_may_not_hang():
    asked = []

    def runner(argv, *, timeout_seconds, user=None, directory=None):
        asked.append((argv[0], argv[1], timeout_seconds, user))
        return run(("true",), timeout_seconds=timeout_seconds)

    Service("shop.service", runner).stop()
    assert asked == [("systemctl", "--no-ask-password", START_TIMEOUT_SECONDS, None)]
