# SPDX-License-Identifier: GPL-3.0-or-later
"""How a unit takes a release."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.strategy import strategy_of

ONCE = {"interval_seconds": 0, "retries": 0, "deadline_seconds": 1}


@pytest.fixture
def one_unit(prepare, systemctl):
    """The strategy of an application with one unit, for what it declares."""
    places = prepare("shop")
    systemctl.units["shop.service"] = ("loaded", "inactive", "dead")
    return lambda **declared: strategy_of(Application.parse("shop", {"health_patience": ONCE, **declared}), places)


@pytest.mark.parametrize(
    ("declared", "verbs"),
    [
        ({"strategy": "restart"}, ["reset-failed", "restart"]),
        ({"strategy": "reload"}, ["reload-or-restart"]),
        ({"strategy": "none"}, []),
    ],
)
def test_a_unit_is_restarted_reloaded_or_left_alone_before_it_is_judged(one_unit, systemctl, declared, verbs):
    for run in (lambda strategy: strategy.run(), lambda strategy: strategy.run_again()):
        systemctl.calls.clear()
        verdict = run(one_unit(unit="shop.service", **declared))
        assert systemctl.verbs == verbs
        assert verdict.is_failure is (not verbs)  # one that is left alone does not run here
        assert "shop.service is inactive" in verdict.detail or verdict.detail == "unit"


def test_a_unit_that_does_not_start_is_not_judged(one_unit, systemctl):
    systemctl.ends["restart"] = Finished(1, "no such luck")
    verdict = one_unit(unit="shop.service").run()
    assert verdict.detail == "systemctl could not restart shop.service: exit code 1: no such luck"
    assert verdict.is_failure
    assert not [call for call in systemctl.calls if call[0] == "show"]


def test_without_a_unit_there_is_nothing_to_do_and_nothing_is_known(one_unit, systemctl):
    strategy = one_unit()
    strategy.require_loaded()
    strategy.settle()
    assert (strategy.run().outcome, strategy.stop().outcome) == ("inconclusive", "inconclusive")
    assert strategy.startup_milliseconds() is None
    assert systemctl.calls == []


def test_a_unit_that_systemd_does_not_know_is_refused(one_unit):
    one_unit(unit="shop.service").require_loaded()
    with pytest.raises(Refusal) as refused:
        one_unit(unit="other.service").require_loaded()
    assert refused.value.reason == "unit_missing"


@pytest.mark.parametrize(("ends", "outcome"), [({}, "success"), ({"stop": Finished(1, "it hangs")}, "failure")])
def test_stopping_says_how_it_ended(one_unit, systemctl, ends, outcome):
    systemctl.ends = ends
    verdict = one_unit(unit="shop.service").stop()
    assert verdict.outcome == outcome
    assert verdict.detail.startswith("stop of shop.service: exit code")


def test_the_start_up_time_is_that_of_the_unit(one_unit, systemctl):
    times = {"InactiveExitTimestampMonotonic": "1000", "ActiveEnterTimestampMonotonic": "251000"}
    systemctl.properties["shop.service"] = times
    assert one_unit(unit="shop.service").startup_milliseconds() == 250
