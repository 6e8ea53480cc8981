# SPDX-License-Identifier: GPL-3.0-or-later
"""How a unit takes a release."""

from __future__ import annotations

import subprocess
import sys

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
    strategy.settle(kept=True)
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


# files that others read

READER = """
import os, sys
current, enough, stop = sys.argv[1:]
reads = 0
while reads < int(enough) or not os.path.exists(stop):
    tree = os.open(current, os.O_RDONLY | os.O_DIRECTORY)  # resolved once: the tree stays what it is
    try:
        found = set()
        for number in range(20):
            with open(f"file{number}", opener=lambda name, flags: os.open(name, flags, dir_fd=tree)) as file:
                found.add(file.read())
    finally:
        os.close(tree)
    assert len(found) == 1 and found <= {"v1", "v2"}, found
    reads += 1
print(reads)
"""
READERS, SWITCHES = 3, 24


def test_readers_that_resolve_the_link_once_never_see_a_missing_or_mixed_tree(site, capsys):
    del site.description["unit"]
    site.description["health"] = []
    for release_id in ("v1", "v2"):
        site.build(release_id, {f"file{number}": release_id.encode() for number in range(20)})
    site.deploy("v1", "run-0")
    site.stage("v2", run=site.run("run-1"))
    stop = site.directory / "stop"
    command = [sys.executable, "-I", "-c", READER, str(site.places.current), "50", str(stop)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(READERS)]
    try:
        for number in range(SWITCHES // 2):
            run = site.run(f"run-{number + 1}")
            assert site.activate("v2", run=run, retry=True)["outcome"] == "switched"
            site.confirm("v2", run=run) if number % 2 else site.revert("v2", run=run)
            if site.current == "v2":
                assert site.rollback("v1", run=site.run(f"back-{number}"))["outcome"] == "confirmed"
    finally:
        stop.touch()
        said = [(reader.communicate()[0].decode(), reader.returncode) for reader in readers]
    assert [code for _text, code in said] == [0] * READERS, said
    with capsys.disabled():
        print(
            f" {sum(int(text) for text, _code in said)} trees read by {READERS} readers over {SWITCHES} switches",
            end=" ",
        )
