# SPDX-License-Identifier: GPL-3.0-or-later
"""A release that nobody confirms goes back by itself: at its deadline, or as soon as the host has been restarted."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.command import Finished
from ansible.module_utils.slipway.host import deadman
from ansible.module_utils.slipway.host.journal import Journal
from ansible.module_utils.slipway.host.lease import LeaseFile
from ansible.module_utils.slipway.host.transaction import Transactions
from releases import V1, V2, Site


@pytest.fixture
def two(site):
    """v1 is active, v2 is staged."""
    for number, files in ((1, V1), (2, V2)):
        site.build(f"v{number}", files)
    site.deploy("v1")
    site.stage("v2", run=site.run("run-2"))
    return site


def run_2(site, exchange, **keys):
    return getattr(site, exchange)("v2", run=site.run("run-2"), **keys)


def renew(site, seconds, run="run-2", **keys):
    return site.ask("renew", **{"release_id": "v2", "run": site.run(run), "confirm_within_seconds": seconds, **keys})


def journal(site):
    return Journal(site.places.journal).read()


def restart(site):
    """What a reboot leaves of /run."""
    shutil.rmtree(site.host.root / "run")


def timers(site):
    return sorted((site.host.root / deadman.DIRECTORY).glob("*.timer"))


def test_a_switch_arms_a_timer_and_a_marker_before_its_intent_is_durable(two, systemctl, clock):
    assert run_2(two, "activate", confirm_within_seconds=60)["outcome"] == "switched"
    transaction = journal(two)
    (timer,) = timers(two)
    assert systemctl.timers == [timer.name]
    assert timer.name.startswith(f"slipway-deadman-shop-{transaction.id}-")
    text = timer.read_text()
    assert "\nOnActiveSec=60000ms\nAccuracySec=1s\n" in text
    assert "\nUnit=slipway-deadman@shop.service\n" in text
    assert [path.name for path in two.places.markers.iterdir()] == [transaction.id]
    assert transaction.intent["deadline"] == (clock.boot + 60) * 1000
    assert Transactions(two.places).deadman.seconds_left(transaction) == 60


def test_the_timer_runs_before_the_link_moves(two, systemctl):
    seen = []
    systemctl.on_timer = lambda verb: seen.append((verb, two.current, two.places.journal.exists()))
    run_2(two, "activate")
    assert seen == [("start", "v1", False)]


@pytest.mark.parametrize("exchange", ["confirm", "revert"])
def test_what_is_settled_leaves_neither_timer_nor_marker(two, systemctl, exchange):
    run_2(two, "activate")
    run_2(two, exchange)
    assert (timers(two), systemctl.timers, list(two.places.markers.iterdir())) == ([], [], [])
    assert two.is_settled()


def test_without_a_time_of_its_own_it_is_a_quarter_of_an_hour(two):
    run_2(two, "activate")
    assert Transactions(two.places).deadman.seconds_left(journal(two)) == 900


@pytest.mark.parametrize("seconds", [0, 4, 604801, True, "60", 60.0])
def test_a_time_that_makes_no_sense_is_refused(two, seconds):
    answer = run_2(two, "activate", confirm_within_seconds=seconds)
    assert (answer["reason"], answer["changed"], two.current, two.is_settled()) == (
        "confirm_within_invalid", False, "v1", True,
    )  # fmt: skip


@pytest.mark.parametrize("seconds", [5, 604800])
def test_the_shortest_and_the_longest_time(two, seconds):
    assert run_2(two, "activate", confirm_within_seconds=seconds)["outcome"] == "switched"


def test_without_a_timer_there_is_no_switch(two, systemctl):
    systemctl.timers_end = Finished(1, "Unit slipway-deadman@shop.service not found.")
    answer = run_2(two, "activate")
    assert (answer["reason"], answer["changed"], two.current) == ("deadman_not_armed", False, "v1")
    assert "not found" in answer["found"]
    assert two.is_settled()


def test_where_the_marker_cannot_be_made_there_is_no_switch(two):
    shutil.rmtree(two.host.root / "run")
    (two.host.root / "run").write_bytes(b"no directory")
    answer = run_2(two, "activate")
    assert (answer["reason"], answer["changed"], two.current) == ("deadman_not_armed", False, "v1")
    assert two.is_settled()


def test_a_rollback_goes_on_where_nothing_can_be_armed(two, systemctl):
    run_2(two, "activate")
    run_2(two, "confirm")
    systemctl.timers_end = Finished(1, "no room in /run")
    answer = two.rollback("v1", run=two.run("run-3"))
    assert (answer["outcome"], two.current, two.is_settled()) == ("confirmed", "v1", True)


def test_going_back_needs_neither_timer_nor_marker(two, systemctl):
    run_2(two, "activate")
    restart(two)
    (two.host.root / "run").write_bytes(b"no directory")
    systemctl.timers_end = Finished(1, "no room in /run")
    assert (run_2(two, "revert")["outcome"], two.current) == ("reverted", "v1")


def test_an_overdue_release_is_not_confirmed_but_taken_back(two, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    clock.boot += 60
    answer = run_2(two, "confirm")
    assert (answer["failed"], answer["changed"], answer["reason"]) == (True, True, "nothing_to_confirm")
    assert (answer["outcome"], answer["active_release_id"], two.current) == ("reverted", "v1", "v1")
    record = two.records[-1]
    assert (record["status"], record["reason"]) == ("rolled_back", "not_confirmed")
    assert record["message"] == "run run-2 by alice did not confirm in time; this host went back by itself"
    assert two.inspect()["bad"] == {"v2": "not_confirmed"}


def test_a_release_is_confirmed_until_its_last_millisecond(two, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    clock.boot += 59.999
    assert run_2(two, "confirm")["outcome"] == "confirmed"


def test_a_confirmation_that_comes_too_late_is_told_what_the_host_did_and_when(two, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    clock.boot += 60
    two.recover(run=two.run("run-9", controller_id="controller-9"))
    answer = run_2(two, "confirm")
    assert (answer["reason"], answer["changed"], answer["outcome"], answer["active_release_id"]) == (
        "nothing_to_confirm", False, "reverted", "v1",
    )  # fmt: skip
    became = f"rolled_back at {two.records[-1]['timestamp']}: run run-2 by alice did not confirm"
    assert became in answer["found"]
    returned = run_2(two, "revert")
    assert (returned["outcome"], returned["changed"]) == ("unchanged", False)
    assert "nothing of this run to take back" in returned["msg"]
    assert became in returned["msg"]


def test_anybody_settles_what_is_overdue_whatever_the_lease_says(two, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    other = two.run("run-9", controller_id="controller-9")
    assert two.recover(run=other)["reason"] == "locked"
    clock.boot += 60
    assert two.inspect()["lease"] is not None
    answer = two.activate("v1", run=other)
    assert (answer["recovered"], answer["outcome"], two.current) == (True, "unchanged", "v1")


def test_staging_settles_what_is_overdue(two, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    other = two.run("run-9", controller_id="controller-9")
    assert two.stage("v1", run=other)["recovered"] is False
    clock.boot += 60
    assert two.stage("v1", run=other)["recovered"] is True


@pytest.mark.parametrize("days", [-1, 1])
def test_a_wall_clock_that_is_set_moves_no_deadline(two, clock, days):
    run_2(two, "activate", confirm_within_seconds=60)
    clock.time += days * 86400
    other = two.run("run-9", controller_id="controller-9")
    assert two.recover(run=other)["reason"] == "locked"
    assert two.current == "v2"
    clock.boot += 60
    assert two.recover(run=other)["changed"] is True
    assert two.current == "v1"


def test_the_lease_ends_no_earlier_than_the_deadline(two, clock):
    clock.time += 0.9
    run_2(two, "activate", confirm_within_seconds=3600)
    assert LeaseFile(two.places.lease).read().expires >= clock.time + 3600
    clock.advance(100)
    renew(two, 7200)
    assert LeaseFile(two.places.lease).read().expires >= clock.time + 7200


def test_an_unconfirmed_release_does_not_survive_a_restart(two):
    run_2(two, "activate")
    restart(two)
    assert two.inspect()["transaction"]["seconds_left"] == 0
    answer = run_2(two, "confirm")
    assert (answer["reason"], two.current) == ("nothing_to_confirm", "v1")
    record = two.records[-1]
    assert (record["status"], record["reason"]) == ("interrupted", "interrupted_by_reboot")
    assert two.inspect()["bad"] == {}


def test_a_release_that_is_healthy_too_late_goes_back_at_once(two, systemctl, clock):
    systemctl.before = lambda arguments: (
        clock.advance(61) if arguments[0] == "restart" and two.current == "v2" else None
    )
    answer = run_2(two, "activate", confirm_within_seconds=60)
    assert (answer["failed"], answer["reason"], answer["outcome"]) == (True, "not_confirmed", "reverted")
    assert (two.current, two.statuses[-1], two.is_settled()) == ("v1", ("v2", "rolled_back"), True)


def test_a_switch_has_no_more_patience_than_there_is_time(two, clock):
    given = []

    def run(argv, *, timeout_seconds, **options):
        given.append(timeout_seconds)
        clock.advance(7 if argv == ["probe"] else 0)
        return Finished(0, "")

    run_2(two, "activate", confirm_within_seconds=20)
    places = replace(two.places, host=replace(two.host, run=run))
    application = Application.parse("shop", {**two.description, "health_patience": {"deadline_seconds": 300}})
    hurried, impatient = deadman.Deadman(places).in_time(journal(two), application)
    assert impatient.health_patience.deadline_seconds == 20
    for _each in range(4):
        hurried.host.run(["probe"], timeout_seconds=10)
    assert given == [10, 10, 6, 1]
    older = type(journal(two))({})
    assert deadman.Deadman(places).in_time(older, application) == (places, application)


def test_a_gate_tells_another_share_or_leaves_it(two):
    run_2(two, "activate", share=10)
    renew(two, 60)
    assert two.places.share.read_text() == "10\n"
    renew(two, 60, share=50)
    assert two.places.share.read_text() == "50\n"
    assert renew(two, 60, share=0)["reason"] == "share_invalid"
    renew(two, 60, share=None)
    assert not two.places.share.exists()


def test_a_rollback_is_kept_however_long_it_takes(two, systemctl, clock):
    run_2(two, "activate")
    run_2(two, "confirm")
    systemctl.before = lambda arguments: clock.advance(1000) if arguments[0] == "restart" else None
    assert two.rollback("v1", run=two.run("run-3"))["outcome"] == "confirmed"


def test_a_rollback_that_died_is_interrupted_and_its_release_not_bad(two, clock):
    run_2(two, "activate")
    run_2(two, "confirm")
    assert two.activate("v1", run=two.run("run-3"), rollback=True)["outcome"] == "switched"
    clock.boot += 900
    two.recover(run=two.run("run-4"))
    assert (two.current, two.statuses[-1]) == ("v2", ("v1", "interrupted"))


def test_the_same_release_again_fails_when_it_is_not_confirmed(two, clock):
    two.description["files"] = [{"source": "config.json", "path": "/etc/shop.json", "owner": two.description["user"]}]
    (two.host.root / "etc/shop.json").write_bytes(b"drifted")
    assert two.activate("v1", run=two.run("run-3"))["outcome"] == "switched"
    clock.boot += 900
    two.recover(run=two.run("run-4"))
    assert two.statuses[-1] == ("v1", "failed")
    assert two.inspect()["bad"] == {}


def test_a_switch_that_was_never_begun_is_no_fault_of_the_release(two, clock, monkeypatch):
    def die(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(Transactions, "switch", die)
    with pytest.raises(KeyboardInterrupt):
        run_2(two, "activate")
    clock.boot += 900
    two.recover(run=two.run("run-4"))
    assert (two.statuses[-1], two.records[-1]["reason"]) == (("v2", "interrupted"), "not_confirmed")


def test_renewing_moves_the_deadline_and_leaves_one_timer(two, systemctl, clock):
    run_2(two, "activate", confirm_within_seconds=60)
    (first,) = timers(two)
    clock.advance(50)
    answer = renew(two, 600)
    assert (answer["changed"], answer["outcome"], answer["seconds_left"], answer["active_release_id"]) == (
        True, "renewed", 600, "v2",
    )  # fmt: skip
    (second,) = timers(two)
    assert (second != first, systemctl.timers) == (True, [second.name])
    assert "OnActiveSec=600000ms" in second.read_text()
    clock.advance(599)
    assert run_2(two, "confirm")["outcome"] == "confirmed"
    assert (timers(two), systemctl.timers) == ([], [])


def test_renewing_may_shorten_as_well(two, clock):
    run_2(two, "activate", confirm_within_seconds=600)
    renew(two, 5)
    clock.advance(5)
    assert run_2(two, "confirm")["reason"] == "nothing_to_confirm"


def test_renewing_in_check_mode_changes_nothing(two):
    run_2(two, "activate", confirm_within_seconds=60)
    before = two.places.journal.read_bytes()
    assert renew(two, 600, check=True)["seconds_left"] == 600
    assert two.places.journal.read_bytes() == before


def test_where_renewing_cannot_be_armed_the_deadline_stays(two, systemctl):
    run_2(two, "activate", confirm_within_seconds=60)
    systemctl.timers_end = Finished(1, "no room in /run")
    assert renew(two, 600)["reason"] == "deadman_not_armed"
    assert (Transactions(two.places).deadman.seconds_left(journal(two)), len(timers(two))) == (60, 1)


def test_only_the_run_itself_renews_and_only_in_time(two, clock):
    assert renew(two, 60)["reason"] == "nothing_to_renew"
    run_2(two, "activate", confirm_within_seconds=60)
    assert renew(two, 60, run="run-3")["reason"] == "nothing_to_renew"
    assert renew(two, 60, release_id="v1")["reason"] == "nothing_to_renew"
    assert renew(two, 4)["reason"] == "confirm_within_invalid"
    clock.boot += 60
    assert renew(two, 60)["reason"] == "nothing_to_renew"
    assert two.current == "v2", "whoever is refused changes nothing"


def test_what_is_noted_as_confirmed_is_neither_renewed_nor_overdue(two, clock):
    run_2(two, "activate")
    with open(two.places.journal, "ab") as stream:
        stream.write(b'{"confirmed_by":"alice","smoke_test_passed":true,"step":"confirmed"}\n')
    assert renew(two, 60)["reason"] == "nothing_to_renew"
    clock.boot += 10000
    two.recover(run=two.run("run-9"))
    assert (two.current, two.statuses[-1]) == ("v2", ("v2", "success"))


def test_a_transaction_of_a_slipway_without_a_dead_man_is_never_overdue(two, clock):
    run_2(two, "activate")
    transaction = journal(two)
    older = type(transaction)({k: v for k, v in transaction.intent.items() if k != "deadline"}, transaction.steps)
    clock.boot += 10000
    assert Transactions(two.places).deadman.overdue(older) is None
    assert Transactions(two.places).deadman.seconds_left(older) is None


def test_timers_of_an_application_whose_name_begins_alike_are_left_alone(two):
    other = Site(two.directory, two.host, application="shop-2")
    id_ = "0" * 32
    theirs = deadman.Deadman(other.places).arm(id_, 2_000_000)
    run_2(two, "activate")
    run_2(two, "confirm")
    assert timers(two) == [theirs]
    assert (other.places.markers / id_).exists()


def test_what_a_crash_left_of_a_dead_man_is_swept_up(two, systemctl):
    deadman.Deadman(two.places).arm("0" * 32, 2_000_000)
    two.recover()
    assert (timers(two), systemctl.timers, two.is_settled()) == ([], [], True)


def test_a_timer_that_cannot_be_removed_is_no_reason_to_fail(two, monkeypatch):
    run_2(two, "activate")
    real = os.unlink

    def fail(path, *arguments, **options):
        if "slipway-deadman" in str(path) or len(os.path.basename(path)) == 32:
            raise OSError(5, "bad memory")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", fail)
    assert run_2(two, "confirm")["outcome"] == "confirmed"
    assert timers(two)
