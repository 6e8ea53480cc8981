# SPDX-License-Identifier: GPL-3.0-or-later
"""What every exchange asks before it begins: of whom, as what, beside whom."""

from __future__ import annotations

import fcntl
import os

import pytest
import signed
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.host import lease, transaction
from releases import V3, Site, ask, refused, run_2, snapshot

EXCHANGES = ("stage", "activate", "confirm", "revert", "recover")


# check mode


def test_check_mode_changes_nothing_in_any_exchange(two):
    two.build("v3", V3)
    before = snapshot(two.host.root)
    for exchange in EXCHANGES:
        for release_id in ("v1", "v2", "v3"):
            ask(two, exchange, release_id, check=True)
    assert two.rollback("v2", check=True)["reason"] == "release_never_active"
    assert snapshot(two.host.root) == before


@pytest.mark.parametrize("release_id", ["v1", "v2", "v3"])
def test_check_mode_predicts_what_each_exchange_then_does(two, release_id):
    two.build("v3", V3)
    run = two.run("run-3")
    predicted = [ask(two, exchange, release_id, run=run, check=True) for exchange in ("stage", "activate", "confirm")]
    real = [ask(two, exchange, release_id, run=run) for exchange in ("stage", "activate", "confirm")]
    for before, after in zip(predicted, real, strict=True):
        assert (before["changed"], before.get("diff"), before.get("outcome")) == (
            after["changed"], after.get("diff"), after.get("outcome"),
        )  # fmt: skip
    assert (predicted[0]["objects"], predicted[0]["bytes"]) == (real[0]["objects"], real[0]["bytes"])


@pytest.mark.parametrize("exchange", ["stage", "activate", "recover"])
def test_check_mode_predicts_a_run_that_first_recovers(two, exchange):
    two.build("v3", V3)
    two.stage("v3", run=two.run("run-3"))
    run_2(two, "activate")
    run = two.run("run-3", dead_runs=["run-2"])
    before = snapshot(two.host.root)
    predicted = ask(two, exchange, "v3", run=run, check=True)
    assert snapshot(two.host.root) == before
    real = ask(two, exchange, "v3", run=run)
    for key in ("changed", "diff", "recovered", "outcome", "previous_release_id", "active_release_id"):
        assert predicted.get(key) == real.get(key), key
    assert real["changed"] is True


def test_check_mode_shows_what_is_active_while_another_run_is_at_work(two):
    run_2(two, "activate")
    assert two.stage("v1", run=two.run("run-3"), check=True)["diff"]["before_header"] == "shop v2"
    assert two.stage("v1", run=two.run("run-3"))["diff"]["before_header"] == "shop v2"
    assert two.current == "v2"


# refusals: nothing is changed


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_request_for_another_environment_is_refused(two, exchange):
    before = snapshot(two.host.root)
    refused(two, ask(two, exchange, "v2", environment="staging"), "environment_mismatch", before)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_wrong_description_is_refused(two, exchange):
    before = snapshot(two.host.root)
    two.description["unti"] = "shop.service"
    refused(two, ask(two, exchange, "v2"), "application_invalid", before)


@pytest.mark.parametrize("release_id", ["", "../v1", ".staging-v1", "v1/bin", "v..1"])
@pytest.mark.parametrize("exchange", EXCHANGES[:4])
def test_what_cannot_be_a_release_id_is_refused(two, exchange, release_id):
    before = snapshot(two.host.root)
    answer = two.ask(exchange, release_id=release_id, pack=None, keep_count=5, reason="r", message="m")
    refused(two, answer, "release_id_invalid", before)


def test_an_application_without_its_directories_is_refused(two):
    other = Site(two.directory, two.host, application="other", description=two.description)
    other.places.base.rmdir()
    before = snapshot(two.host.root)
    refused(two, other.ask("recover"), "application_not_bootstrapped", before)


def test_a_clock_that_was_set_back_is_refused(two, clock):
    clock.time -= 3600
    before = snapshot(two.host.root)
    refused(two, two.stage("v2"), "clock_set_back", before)
    refused(two, two.activate("v2"), "clock_set_back", before)


# who may


def test_another_run_is_told_who_is_at_work(two):
    run_2(two, "activate")
    before = snapshot(two.host.root)
    for exchange in ("activate", "recover"):
        answer = ask(two, exchange, "v1", run=two.run("run-3"))
        refused(two, answer, "locked", before)
        assert "held by alice (run run-2, deploy of v2, since " in answer["found"]
    assert two.inspect()["lease"]["run_id"] == "run-2"


def test_a_controller_takes_over_from_its_own_dead_run_and_recovers_first(two):
    run_2(two, "activate")
    two.build("v3", V3)
    run = two.run("run-3", dead_runs=["run-2"])
    assert two.stage("v3", run=run)["recovered"] is True
    assert (two.current, two.statuses[-1]) == ("v1", ("v2", "interrupted"))
    assert two.inspect()["bad"] == {}
    assert two.activate("v3", run=run, expected_current="v1")["outcome"] == "switched"


@pytest.fixture
def recorded(two, monkeypatch):
    """v2 is confirmed and recorded; who did it was killed before the transaction was forgotten."""

    class Killed(BaseException):
        pass

    def killed(*_arguments):
        raise Killed

    run_2(two, "activate")
    with monkeypatch.context() as patched:
        patched.setattr(transaction.Transactions, "_settle", killed)
        with pytest.raises(Killed):
            run_2(two, "confirm")
    assert two.statuses == [("v1", "success"), ("v2", "success")]
    return two


def test_what_lacks_only_its_end_is_ended_by_anybody_who_stages(recorded):
    """Else a check that fails would be recorded before it."""
    recorded.description["check"] = {"argv": ["/bin/false"]}
    recorded.build("v3", V3)
    answer = recorded.stage("v3", run=recorded.run("run-3", controller_id="controller-2"))
    assert (answer["reason"], answer["recovered"]) == ("check_failed", True)
    assert recorded.statuses == [("v1", "success"), ("v2", "success"), ("v3", "failed")]
    assert recorded.is_settled()


def test_a_transaction_is_recorded_once_whatever_was_recorded_after_it(recorded):
    left = recorded.places.journal.read_bytes()
    recorded.deploy("v1", "run-3")
    records = recorded.records
    recorded.places.journal.write_bytes(left)
    transaction.Transactions(recorded.places).recover()
    assert recorded.records == records


def test_a_dead_run_of_another_controller_is_left_alone(two):
    run_2(two, "activate")
    run = two.run("run-3", dead_runs=["run-2"], controller_id="controller-2")
    assert two.activate("v1", run=run)["reason"] == "locked"


def test_an_expired_lease_stops_nobody(two, clock):
    run_2(two, "activate")
    clock.advance(900)
    answer = two.activate("v1", run=two.run("run-3"))
    assert (answer["recovered"], answer["changed"], answer["outcome"]) == (True, True, "unchanged")
    assert two.statuses[-1] == ("v2", "rolled_back")


@pytest.fixture
def occupied(two):
    """The lock as another exchange on this host holds it, whose end is to close this descriptor."""
    descriptor = os.open(two.places.lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_an_exchange_waits_for_the_one_before_it_to_end(two, clock, occupied, monkeypatch):
    monkeypatch.setattr(clock, "sleep", lambda _seconds: os.close(occupied))
    assert two.recover()["outcome"] == "unchanged"


def test_an_exchange_that_waits_too_long_is_refused(two, clock, occupied):
    before = snapshot(two.host.root)
    refused(two, run_2(two, "activate"), "busy", before)
    assert sum(clock.slept) >= lease.EXCLUSIVE_WAIT_SECONDS
    os.close(occupied)


def test_of_two_runs_at_once_one_wins_and_the_other_names_it(two):
    """Two real processes activate at the same moment."""
    two.build("v3", V3)
    two.stage("v3", run=two.run("run-3"))
    ready, go = os.pipe()
    children = []
    for run_id, release_id in (("run-2", "v2"), ("run-3", "v3")):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            object.__setattr__(two.host, "clock", SystemClock())
            SystemClock.now = lambda _self: signed.NOW + 100
            os.close(go)
            os.read(ready, 1)
            answer = two.activate(release_id, run=two.run(run_id))
            os.write(writer, str(answer.get("reason") or answer["outcome"]).encode())
            os._exit(0)
        os.close(writer)
        children.append((pid, reader))
    os.close(go)
    outcomes = sorted(os.read(reader, 100).decode() for _pid, reader in children)
    for pid, reader in children:
        os.waitpid(pid, 0)
        os.close(reader)
    assert outcomes == ["locked", "switched"]
    assert two.current in ("v2", "v3")
