# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemctl, and what its answers mean."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.service import (
    JOB_BACKSTOP_SECONDS,
    QUESTION_TIMEOUT_SECONDS,
    Service,
    UnitState,
)
from ansible.module_utils.slipway.application.unit import MOST_SECONDS
from ansible.module_utils.slipway.base.command import Finished, run
from ansible.module_utils.slipway.base.errors import Refusal


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


@pytest.mark.parametrize(
    ("left_inactive", "became_active", "milliseconds"),
    [
        ("13210928972", "13211058878", 130),
        ("5000", "5000", 0),
        ("5000", "5499", 0),
        ("13094682529", "0", None),  # it has never become active
        ("9000", "5000", None),  # it is starting anew, or failed to
        ("0", "0", None),
        ("", "", None),
        ("n/a", "-1", None),
    ],
)
def test_a_start_took_from_leaving_inactive_to_being_active(
    service, systemctl, left_inactive, became_active, milliseconds
):
    systemctl.properties["shop.service"] = {
        "InactiveExitTimestampMonotonic": left_inactive,
        "ActiveEnterTimestampMonotonic": became_active,
    }
    assert service.startup_milliseconds() == milliseconds
    asked = "--property=InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic"
    assert systemctl.calls == [("show", asked, "shop.service")]


def test_a_start_of_which_nothing_is_shown_took_no_time_that_is_known(service, systemctl):
    systemctl.ends["show"] = Finished(1, "System has not been booted with systemd")
    assert service.startup_milliseconds() is None


@pytest.mark.parametrize(("shown", "needed"), [("yes", True), ("no", False), ("", False)])
def test_systemd_says_whether_it_has_yet_to_read_the_file(service, systemctl, shown, needed):
    systemctl.properties["shop.service"] = {"NeedDaemonReload": shown}
    assert service.needs_reload() is needed


@pytest.fixture
def asked():
    """Each question to systemctl as (program, option, verb, time-out, user)."""
    return []


@pytest.fixture
def patient(asked):
    def runner(argv, *, timeout_seconds, user=None, directory=None):
        asked.append((*argv[:3], timeout_seconds, user))
        return run(("true",), timeout_seconds=timeout_seconds)

    return Service("shop.service", runner)


def test_systemctl_is_a_command_that_asks_for_no_password_and_may_not_hang(patient, asked):
    patient.state()
    assert asked == [("systemctl", "--no-ask-password", "show", QUESTION_TIMEOUT_SECONDS, None)]


def test_how_long_a_job_takes_is_left_to_the_unit(patient, asked):
    patient.restart()
    patient.reload()
    patient.stop()
    assert [(verb, timeout) for _, _, verb, timeout, _ in asked] == [
        ("reset-failed", QUESTION_TIMEOUT_SECONDS),
        ("restart", JOB_BACKSTOP_SECONDS),
        ("reload-or-restart", JOB_BACKSTOP_SECONDS),
        ("stop", JOB_BACKSTOP_SECONDS),
    ]


def test_no_unit_of_ours_can_take_longer_than_we_wait():
    """A stop ends at most twice its time-out later, after SIGTERM and after SIGKILL; then the check and the command start."""
    assert 2 * MOST_SECONDS + 2 * MOST_SECONDS < JOB_BACKSTOP_SECONDS
