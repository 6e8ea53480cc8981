# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a change, as failed and as restored, and the measures that follow."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.delivery_measures import (
    ALL,
    REDEPLOYMENT,
    WEEK,
    measured,
    week_of,
    window,
)
from ansible.module_utils.slipway.controller.memory import HostOfRun, RunRecord
from hypothesis import given
from hypothesis import strategies as st

HOUR = 3600
MONDAY = seconds_of("2026-11-16T00:00:00Z")  # of 2026-W47
SINCE, UNTIL = MONDAY - WEEK, MONDAY + WEEK
SOON = MONDAY + 12 * HOUR
BAD = "not as asked"


class Ledger:
    """Runs, each an hour after the one before and ten minutes long."""

    def __init__(self):
        self.runs, self.now = [], MONDAY

    def add(self, operation="deploy", outcome="as asked", hosts=("confirmed", "confirmed"), release="v1", **about):
        began = about.pop("began", self.now)
        self.now = began + HOUR
        rows = about.pop("rows", None)
        filled = {
            "application": "shop", "environment": "prod", "deployed_by": "alice", "release_type": "minor", "created": began - HOUR,
            "ended": began + 600 if outcome else None, **about,
        }  # fmt: skip
        named = rows or tuple(HostOfRun(f"prod-{number}", each) for number, each in enumerate(hosts, 1))
        run_id = f"run-{len(self.runs) + 1}"
        self.runs.append(
            RunRecord(run_id, operation, began=began, outcome=outcome, release_id=release, hosts=named, **filled)
        )
        return run_id

    def measured(self, until=UNTIL):
        return measured(self.runs, since=SINCE, until=until)

    def change(self, run_id):
        return next(each for each in self.measured().changes if each.run.run_id == run_id)

    def measure(self, week=ALL, release_type=ALL, environment="prod"):
        (found,) = (
            each for each in self.measured().measures
            if (each.week, each.release_type, each.environment) == (week, release_type, environment)
        )  # fmt: skip
        return found


@pytest.fixture
def ledger():
    return Ledger()


def test_without_runs_there_is_nothing_to_measure(ledger):
    assert (ledger.measured().measures, ledger.measured().changes) == ((), ())


@pytest.mark.parametrize(
    "about",
    [{"hosts": ("unchanged", "unchanged")}, {"hosts": ("untouched", "untouched"), "outcome": BAD}, {"hosts": ()}],
)  # fmt: skip
def test_a_run_that_switched_nothing_is_no_change(ledger, about):
    ledger.add(**about)
    assert ledger.measured().measures == ()


def test_a_run_without_an_end_may_be_going_on_and_is_told(ledger):
    ledger.add()
    run = ledger.add(release="v2", outcome=None, hosts=())
    ledger.add(release="v2", outcome=BAD, hosts=("untouched",))
    found = ledger.measured(until=SOON)
    assert [each.run_id for each in found.unended] == [run]
    assert [each.run.run_id for each in found.changes] == ["run-1"]


def test_a_deployment_that_was_cut_off_failed_once_a_later_run_has_settled_it_or_a_day_is_over(ledger):
    ledger.add(began=MONDAY - HOUR)
    run = ledger.add(release="v2", outcome=None, hosts=(), began=MONDAY)
    found = ledger.measured()
    assert (found.changes[-1].failed_at, found.changes[-1].restored_at, found.unended) == (MONDAY, None, ())
    assert (ledger.measure().failures, ledger.measure(week="2026-W47").not_restored) == (1, 1)
    assert [each.run_id for each in ledger.measured(until=MONDAY + 86400).unended] == [run]
    ledger.add(release="v3", outcome=BAD, hosts=("reverted",), began=MONDAY + HOUR)
    ledger.add(release="v3", began=MONDAY + 2 * HOUR)
    found = ledger.measured(until=SOON)
    assert [each.run.run_id for each in found.changes] == ["run-1", run, "run-3", "run-4"]
    assert (found.changes[1].restored_at, found.unended) == (MONDAY + 2 * HOUR + 600, ())


@pytest.mark.parametrize("operation", ["rollback", "recover"])
def test_what_is_no_deployment_and_has_no_end_is_no_change(ledger, operation):
    run = ledger.add(operation, outcome=None, hosts=())
    assert ledger.measured().changes == ()
    assert [each.run_id for each in ledger.measured().unended] == [run]


def test_a_failure_is_restored_on_the_hosts_that_it_left_ill_and_not_by_others(ledger):
    run = ledger.add(outcome=BAD, hosts=("confirmed", "reverted", "stuck", "unreachable"))
    ledger.add(release="v2", hosts=("confirmed", "confirmed"))
    assert ledger.change(run).restored_at is None
    ledger.add(release="v2", hosts=("unchanged", "unchanged", "confirmed", "unchanged"))
    assert ledger.change(run).restored_at is None
    ledger.add("rollback", release="v0", outcome=BAD, hosts=("stuck", "unchanged", "unchanged", "confirmed"))
    assert ledger.change(run).restored_at == MONDAY + 3 * HOUR + 600


def test_what_was_taken_back_itself_restores_nothing(ledger):
    """A bad release on the first hosts, the same on the others, then both taken back: until then nobody was well."""
    runs = [ledger.add(release="v2", hosts=hosts) for hosts in (("confirmed",), ("untouched", "confirmed"))]
    again = ledger.add(release="v2", outcome=BAD, hosts=("untouched", "untouched", "stuck"))
    runs.append(ledger.add(release="v2", hosts=("untouched", "untouched", "confirmed")))
    ledger.add("rollback", release="v1", takes_back=tuple(runs), hosts=("confirmed",) * 3)
    ended = MONDAY + 4 * HOUR + 600
    assert [ledger.change(run).restored_at for run in (*runs, again)] == [ended] * 4


def test_the_same_release_again_does_not_restore_what_had_to_be_taken_back(ledger):
    bad = ledger.add(release="v2", hosts=("confirmed",))
    ledger.add(release="v2", hosts=("confirmed",))
    ledger.add("rollback", release="v1", hosts=("confirmed",), takes_back=(bad,))
    assert ledger.change(bad).restored_at == MONDAY + 2 * HOUR + 600


def test_the_same_release_restores_what_was_not_its_fault(ledger):
    """It failed at once, and the second time it is well on that host: a network that was mended, say."""
    run = ledger.add(outcome=BAD, hosts=("confirmed", "unreachable"))
    ledger.add(hosts=("unchanged", "confirmed"))
    assert ledger.change(run).restored_at == MONDAY + HOUR + 600


def test_deployments_that_end_as_asked_are_successes_and_are_counted_for_each_week(ledger):
    for release in ("v1", "v2", "v3"):
        ledger.add(release=release)
    found = ledger.measure()
    assert (found.changes, found.failures, found.success_rate, found.change_failure_rate) == (3, 0, 1.0, 0.0)
    assert found.deployments_per_week == 1.5, "two weeks were asked for"
    assert ledger.measure(week="2026-W47").deployments_per_week == 3
    assert (found.time_to_restore_seconds, found.not_restored) == (None, 0)


def test_a_deployment_that_went_back_by_itself_failed_and_is_restored_at_its_end(ledger):
    ledger.add()
    ledger.add(outcome=BAD, hosts=("reverted", "untouched"), release="v2")
    found = ledger.measure()
    assert (found.changes, found.failures, found.change_failure_rate) == (2, 1, 0.5)
    assert (found.time_to_restore_seconds, found.not_restored) == (600, 0)


@pytest.mark.parametrize("outcome", ["stuck", "unwell", "unreachable", "unconfirmed", "unverified"])
def test_a_deployment_that_left_a_host_ill_is_restored_by_the_next_run_that_ends_well(ledger, outcome):
    ledger.add(outcome=BAD, hosts=("reverted", outcome))
    assert (ledger.measure().not_restored, ledger.measure().time_to_restore_seconds) == (1, None)
    ledger.add(outcome=BAD, hosts=("reverted", outcome))
    ledger.add(hosts=("unchanged", "unchanged"))
    assert ledger.measure().not_restored == 2, "a run that did nothing mends nothing"
    ledger.add(release="v2")
    found = ledger.measure()
    assert (found.not_restored, found.time_to_restore_seconds) == (0, (3 * HOUR + 600 + 2 * HOUR + 600) // 2)


def test_a_rollback_makes_what_it_takes_back_a_failure_since_it_was_served(ledger):
    first, second = ledger.add(), ledger.add(release="v2")
    ledger.add(release="v3")
    ledger.add("rollback", takes_back=(second,), release="v1")
    changes = {each.run.run_id: each for each in ledger.measured().changes}
    assert changes[first].failed_at is None
    assert (changes[second].failed_at, changes[second].restored_at) == (MONDAY + HOUR + 600, MONDAY + 2 * HOUR + 600)
    assert ledger.measure().failures == 1


def test_a_rollback_that_names_no_run_takes_the_newest_back_that_stands(ledger):
    first, second = ledger.add(), ledger.add(release="v2")
    ledger.add(release="v3", outcome=BAD, hosts=("reverted", "reverted"))
    ledger.add(release="", hosts=("unchanged", "unchanged"))
    for release in ("v1", "v0"):
        ledger.add("rollback", release=release)
    failed = [each.run.run_id for each in ledger.measured().changes if each.failed_at == each.run.ended]
    assert failed == [first, second]


@pytest.mark.parametrize("outcome", ["stuck", "reverted", "unreachable", "untouched"])
def test_what_a_rollback_was_begun_for_failed_and_is_restored_by_a_later_run_where_that_did_not_go_back(
    ledger, outcome
):
    run = ledger.add(release="v2")
    ledger.add("rollback", release="v1", outcome=BAD, hosts=("confirmed", outcome), takes_back=(run,))
    found = ledger.change(run)
    assert (found.failed_at, found.restored_at) == (found.run.ended, None)
    again = ledger.add(release="v2")
    assert ledger.change(run).restored_at is None, "the same release is what was to go"
    ledger.add(release="v3")
    assert ledger.change(run).restored_at == MONDAY + 3 * HOUR + 600
    assert ledger.change(again).failed_at is None


def test_a_rollback_for_the_same_deployment_again_restores_it_once_its_hosts_are_back(ledger):
    run = ledger.add(release="v2")
    ledger.add("rollback", release="v1", outcome=BAD, hosts=("confirmed", "stuck"), takes_back=(run,))
    ledger.add("rollback", release="v1", hosts=("unchanged", "confirmed"), takes_back=(run,))
    assert ledger.change(run).restored_at == MONDAY + 2 * HOUR + 600
    assert ledger.measure().failures == 1


def test_a_rollback_that_could_begin_on_no_host_says_all_the_same_that_the_deployment_failed(ledger):
    run = ledger.add(release="v2")
    ledger.add("rollback", release="v1", outcome=BAD, hosts=("untouched", "untouched"), takes_back=(run,))
    assert (ledger.measure().failures, ledger.measure().not_restored) == (1, 1)
    assert ledger.change(ledger.add(release="v2")).is_redeployment, "its hosts serve it still"


def test_hosts_that_could_not_go_back_go_back_from_the_same_deployment_later(ledger):
    first, second = ledger.add(), ledger.add(release="v2")
    ledger.add("rollback", release="v1", outcome=BAD, hosts=("stuck", "stuck"))
    ledger.add("rollback", release="v0")
    assert (ledger.change(first).failed_at, ledger.change(second).restored_at) == (None, MONDAY + 3 * HOUR + 600)


def test_a_deployment_whose_rollback_was_cut_off_is_restored_by_the_next_run_with_another_release(ledger):
    ledger.add()
    run = ledger.add(release="v2")
    ledger.add("rollback", outcome=None, hosts=(), takes_back=(run,))
    ledger.add(release="v2")
    assert (ledger.change(run).failed_at, ledger.change(run).restored_at) == (MONDAY + HOUR + 600, None)
    ledger.add(release="v3")
    assert ledger.change(run).restored_at == MONDAY + 4 * HOUR + 600


def test_a_rollback_that_was_cut_off_is_over_with_the_next_run_and_was_for_what_it_names(ledger):
    runs = [ledger.add(release="v2"), ledger.add(release="v3")]
    ledger.add("rollback", release="v2", outcome=None, hosts=(), takes_back=(runs[1],))
    assert [each.failed_at for each in ledger.measured(until=SOON).changes] == [None, None], "it may be going on"
    ledger.add("rollback", release="v2", hosts=("unchanged", "confirmed"), takes_back=(runs[1],))
    found = [ledger.change(run) for run in runs]
    assert [each.failed_at for each in found] == [None, found[1].run.ended]
    assert found[1].restored_at == MONDAY + 3 * HOUR + 600


@pytest.mark.parametrize("named", [True, False])
def test_a_rollback_of_some_hosts_is_for_the_deployment_that_they_serve(ledger, named):
    """A region after the other; then the first one goes back, and the second one stays on what is good there."""
    ledger.add(hosts=("confirmed", "confirmed"))
    first, second = (ledger.add(release="v2", hosts=hosts) for hosts in (("confirmed",), ("unchanged", "confirmed")))
    ledger.add("rollback", release="v1", hosts=("confirmed",), takes_back=(first,) if named else ())
    assert (ledger.change(first).restored_at, ledger.change(second).failed_at) == (MONDAY + 3 * HOUR + 600, None)
    assert ledger.measure().not_restored == 0


@pytest.mark.parametrize("named", [True, False])
def test_a_rollback_is_for_the_deployments_of_all_its_hosts(ledger, named):
    ledger.add(hosts=("confirmed",) * 3)
    runs = [ledger.add(release="v2", hosts=("unchanged",) * place + ("confirmed",)) for place in range(3)]
    ledger.add("rollback", release="v1", hosts=("confirmed", "confirmed"), takes_back=tuple(runs[:2]) if named else ())
    assert [ledger.change(run).restored_at for run in runs] == [MONDAY + 4 * HOUR + 600] * 2 + [None]
    assert ledger.measure().failures == 2


def test_a_deployment_is_restored_on_the_hosts_that_were_to_go_back_and_no_others(ledger):
    run = ledger.add(release="v2", hosts=("confirmed",) * 3)
    ledger.add("rollback", release="v1", hosts=("confirmed",), takes_back=(run,))
    assert ledger.change(run).restored_at == MONDAY + HOUR + 600
    ledger.add("rollback", release="v1", hosts=("unchanged", "confirmed"), takes_back=(run,))
    assert ledger.change(run).restored_at == MONDAY + 2 * HOUR + 600


@pytest.mark.parametrize("named", [True, False])
def test_going_further_back_is_for_the_deployment_that_the_first_rollback_went_back_to(ledger, named):
    """A host's history names the rollback then: it was what moved that host last."""
    runs = [ledger.add(release=release) for release in ("v1", "v2", "v3")]
    back = ledger.add("rollback", release="v2", takes_back=(runs[2],))
    ledger.add("rollback", release="v1", takes_back=(back,) if named else ())
    assert [ledger.change(run).restored_at for run in runs] == [None, *[MONDAY + 4 * HOUR + 600] * 2]
    assert [ledger.change(run).failed_at is None for run in runs] == [True, False, False]


def test_a_rollback_over_several_releases_is_for_the_newest_of_them(ledger):
    runs = [ledger.add(release=release) for release in ("v1", "v2", "v3")]
    ledger.add("rollback", release="v1")
    ledger.add("rollback", release="v0")
    assert [ledger.change(run).failed_at is None for run in runs] == [False, True, False]


@pytest.mark.parametrize("release", ["v1", ""])
def test_going_back_from_what_was_cut_off_is_not_for_what_stood_before(ledger, release):
    stood = ledger.add()
    cut_off = ledger.add(release="v2", outcome=None, hosts=())
    ledger.add("rollback", release=release)
    assert ledger.change(stood).failed_at is None
    assert ledger.change(cut_off).restored_at == MONDAY + 2 * HOUR + 600


def test_what_was_cut_off_and_stood_all_the_same_is_restored_on_the_hosts_that_went_back(ledger):
    ledger.add()
    cut_off = ledger.add(release="v2", outcome=None, hosts=())
    ledger.add(release="v2", hosts=("unchanged", "confirmed"))
    assert ledger.change(cut_off).restored_at == MONDAY + 2 * HOUR + 600
    ledger.add("rollback", release="v1", hosts=("confirmed",), takes_back=(cut_off,))
    assert ledger.change(cut_off).restored_at == MONDAY + 3 * HOUR + 600


def test_a_deployment_that_left_hosts_on_it_is_what_they_go_back_from(ledger):
    """It failed at once; the one before it was good, and is what they go back to."""
    good, bad = ledger.add(), ledger.add(release="v2", outcome=BAD, hosts=("unwell", "stuck"))
    ledger.add("rollback", release="")
    assert ledger.change(good).failed_at is None
    assert ledger.change(bad).restored_at == MONDAY + 2 * HOUR + 600


def test_a_rollback_to_what_hosts_serve_by_this_memory_is_for_nothing_in_it(ledger):
    """They were brought somewhere else while no memory was there."""
    run = ledger.add()
    ledger.add("rollback")
    ledger.add("rollback", release="v0", takes_back=("run-unknown",))
    assert ledger.change(run).failed_at is None


def test_a_rollback_names_a_run_whatever_its_hosts_were_called_then(ledger):
    run = ledger.add(release="v2", hosts=("confirmed",))
    ledger.add("rollback", release="v1", hosts=("unchanged", "confirmed"), takes_back=(run,))
    assert ledger.change(run).restored_at == MONDAY + HOUR + 600


def test_a_rollback_of_one_application_or_environment_is_for_no_other(ledger):
    for place in ({}, {"application": "other"}, {"environment": "staging"}):
        ledger.add(release="v2", **place)
    ledger.add("rollback", release="v1", application="other")
    failed = [each.run.run_id for each in ledger.measured().changes if each.failed_at is not None]
    assert failed == ["run-2"]


def test_the_same_release_again_on_hosts_that_serve_it_is_a_redeployment_and_no_change_of_software(ledger):
    """As where secrets are rotated."""
    ledger.add()
    runs = [ledger.add(), ledger.add(hosts=("unchanged", "confirmed"))]
    assert [ledger.change(run).is_redeployment for run in runs] == [True, True]
    assert ledger.change(runs[0]).lead_seconds is None
    found, again = ledger.measure(week="2026-W47"), ledger.measure(week="2026-W47", release_type=REDEPLOYMENT)
    assert (found.changes, found.deployments_per_week) == (1, 1)
    assert (again.changes, again.deployments_per_week, again.failures, again.lead_time_seconds) == (2, 2, 0, None)
    assert ledger.measure(week="2026-W47", release_type="minor").changes == 1


def test_a_redeployment_after_a_rollback_to_what_nobody_noted_is_one(ledger):
    ledger.add()
    ledger.add("rollback", release="v0")
    assert ledger.change(ledger.add(release="v0")).is_redeployment


def test_the_lead_time_of_a_release_is_none_of_a_redeployment(ledger):
    """It went to one host, was deployed there again, and then to the other."""
    ledger.add(outcome=BAD, hosts=("confirmed", "reverted"))
    again, first = ledger.add(hosts=("confirmed",)), ledger.add(hosts=("unchanged", "confirmed"))
    assert [ledger.change(run).lead_seconds for run in (again, first)] == [None, HOUR + 600]


@pytest.mark.parametrize("named", [0, 1])
def test_a_release_that_two_deployments_may_have_brought_was_both_times_the_one_that_had_to_go(ledger, named):
    """Of the hosts in between nobody knows, and their histories name the one that moved them."""
    runs = [ledger.add()]
    ledger.add(release="v2", outcome=None, hosts=())
    runs.append(ledger.add())
    ledger.add("rollback", release="v0", takes_back=(runs[named],))
    assert [ledger.change(run).restored_at for run in runs] == [MONDAY + 3 * HOUR + 600] * 2


def test_a_redeployment_that_fails_is_none_of_the_failed_changes(ledger):
    ledger.add()
    ledger.add(outcome=BAD, hosts=("reverted", "stuck"))
    ledger.add()
    assert (ledger.measure().failures, ledger.measure().changes) == (0, 1), "however it ended, it was the same release"
    again = ledger.measure(release_type=REDEPLOYMENT)
    assert (again.failures, again.time_to_restore_seconds) == (1, HOUR + 600)


def test_a_redeployment_that_was_cut_off_is_one(ledger):
    ledger.add()
    runs = [ledger.add(outcome=None, hosts=()), ledger.add()]
    assert [ledger.change(run).is_redeployment for run in runs] == [True, True]
    assert (ledger.measure().failures, ledger.measure().changes) == (0, 1)


@pytest.mark.parametrize(
    ("before", "hosts"),
    [
        ({"hosts": ("confirmed",)}, ("confirmed", "confirmed")),  # one of them is new to it
        ({"outcome": BAD, "hosts": ("unwell", "unwell")}, ("confirmed", "confirmed")),  # it was never well with it
        ({"outcome": BAD, "hosts": ("unreachable", "confirmed")}, ("confirmed", "confirmed")),
        ({"release": ""}, ("confirmed", "confirmed")),
    ],
)
def test_what_hosts_may_not_have_served_well_is_a_change(ledger, before, hosts):
    ledger.add(**before)
    run = ledger.add(hosts=hosts, release=before.get("release", "v1"))
    assert not ledger.change(run).is_redeployment


def test_a_deployment_after_another_one_was_cut_off_is_a_change(ledger):
    """Nobody knows what that had switched."""
    ledger.add()
    ledger.add(release="v2", outcome=None, hosts=())
    assert not ledger.change(ledger.add()).is_redeployment


def test_a_rollback_after_a_redeployment_is_for_what_brought_the_release(ledger):
    """Nor does the redeployment restore anything where its release had to be taken back."""
    ill = ledger.add(outcome=BAD, hosts=("stuck",))
    run, again = ledger.add(release="v2", hosts=("confirmed",)), ledger.add(release="v2", hosts=("confirmed",))
    ledger.add("rollback", release="v0", hosts=("confirmed",), takes_back=(run,))
    assert (ledger.change(run).failed_at is None, ledger.change(again).failed_at) == (False, None)
    assert ledger.change(ill).restored_at == ledger.change(run).restored_at == MONDAY + 3 * HOUR + 600


NAMES = ("prod-1", "prod-2", "prod-3")


class Served:
    """A host as it is, and what its own history says: the newest run that moved it."""

    def __init__(self):
        self.active, self.moved_by, self.been, self.bad, self.brought = "v0", "", {"v0"}, set(), {}

    def deploy(self, run_id, release):
        if self.active != release:
            self.brought[release] = run_id
            self.active, self.moved_by = release, run_id
        self.been.add(release)

    def go_back(self, run_id, release):
        taken = self.brought.get(self.active)
        self.bad.add(self.active)
        self.active, self.moved_by = release, run_id
        return taken


@st.composite
def steps(draw):
    return draw(
        st.lists(
            st.tuples(st.sampled_from(["deploy", "deploy", "rollback"]), st.sampled_from(["v0", "v1", "v2", "v3"]), st.sets(st.sampled_from(NAMES), min_size=1)),
            min_size=1, max_size=14,
        )
    )  # fmt: skip


@given(steps())
def test_whatever_is_deployed_and_taken_back_where_what_hosts_served_then_failed_named_or_not(wanted):
    """Against hosts that remember themselves who brought what they serve."""
    fleet, failed, again = {name: Served() for name in NAMES}, set(), set()
    named, unnamed = Ledger(), Ledger()
    for ledger in (named, unnamed):
        ledger.add(release="v0", hosts=("confirmed",) * 3)
    for served in fleet.values():
        served.brought["v0"] = served.moved_by = "run-1"
    for operation, release, names in wanted:
        hosts = {name: fleet[name] for name in sorted(names)}
        run_id, takes_back = f"run-{len(named.runs) + 1}", ()
        if any(release in served.bad for served in hosts.values()):
            continue
        if operation == "deploy":
            if all(served.active == release for served in hosts.values()):
                again.add(run_id)
            for served in hosts.values():
                served.deploy(run_id, release)
        else:
            hosts = {name: served for name, served in hosts.items() if served.active != release}
            if not hosts or any(release not in served.been for served in hosts.values()):
                continue
            takes_back = tuple(sorted({served.moved_by for served in hosts.values()}))
            failed |= {served.go_back(run_id, release) for served in hosts.values()}
        rows = tuple(HostOfRun(name, "confirmed") for name in hosts)
        for ledger, told in ((named, takes_back), (unnamed, ())):
            ledger.add(operation, release=release, rows=rows, takes_back=told)
    for ledger in (named, unnamed):
        changes = ledger.measured().changes
        assert {each.run.run_id for each in changes if each.failed_at is not None} == failed
        assert {each.run.run_id for each in changes if each.is_redeployment} == again
        assert all(each.restored_at for each in changes if each.failed_at is not None)


def test_the_lead_time_is_that_of_the_first_deployment_of_a_release_that_ends_as_asked(ledger):
    made = MONDAY - 10 * HOUR
    ledger.add(release="v1", created=made, outcome=BAD, hosts=("reverted",))
    ledger.add(release="v1", created=made)
    ledger.add(release="v1", created=made)
    assert ledger.measure().lead_time_seconds == 11 * HOUR + 600
    ledger.add(release="v2", created=None)
    assert ledger.measure().lead_time_seconds == 11 * HOUR + 600, "nobody noted when that was made"
    ledger.add(release="v3", created=ledger.now + 60)
    assert ledger.measure().lead_time_seconds == (11 * HOUR + 600 + 540) // 2


def test_a_clock_that_was_ahead_makes_no_lead_time_below_nothing(ledger):
    ledger.add(created=MONDAY + HOUR)
    assert ledger.measure().lead_time_seconds == 0


def weeks(ledger):
    return {each.week: each.changes for each in ledger.measured().measures if each.week != ALL}


def test_a_week_without_a_deployment_is_said_from_the_first_one_on(ledger):
    """The report is of 2026-W46 to the first second of W48."""
    ledger.add(began=MONDAY - 2 * WEEK)
    assert weeks(ledger) == {"2026-W46": 0, "2026-W47": 0, "2026-W48": 0}
    quiet = ledger.measure(week="2026-W47")
    assert (quiet.deployments_per_week, quiet.success_rate, quiet.change_failure_rate) == (0, None, None)
    assert (ledger.measure().changes, ledger.measured().changes) == (0, ())


def test_before_its_first_deployment_a_place_has_no_weeks(ledger):
    ledger.add()
    assert set(weeks(ledger)) == {"2026-W47", "2026-W48"}


def test_each_place_type_and_week_is_measured_apart(ledger):
    ledger.add(began=MONDAY - HOUR)
    ledger.add(release="v2", release_type="hotfix")
    ledger.add(environment="staging", outcome=BAD, hosts=("reverted",))
    ledger.add(application="other", release_type="")
    rows = [
        (each.application, each.environment, each.week, each.release_type, each.changes)
        for each in ledger.measured().measures
        if each.changes
    ]
    assert rows == [
        ("other", "prod", "all", "all", 1),
        ("other", "prod", "all", "unknown", 1),
        ("other", "prod", "2026-W47", "all", 1),
        ("other", "prod", "2026-W47", "unknown", 1),
        ("shop", "prod", "all", "all", 2),
        ("shop", "prod", "all", "hotfix", 1),
        ("shop", "prod", "all", "minor", 1),
        ("shop", "prod", "2026-W46", "all", 1),
        ("shop", "prod", "2026-W46", "minor", 1),
        ("shop", "prod", "2026-W47", "all", 1),
        ("shop", "prod", "2026-W47", "hotfix", 1),
        ("shop", "staging", "all", "all", 1),
        ("shop", "staging", "all", "minor", 1),
        ("shop", "staging", "2026-W47", "all", 1),
        ("shop", "staging", "2026-W47", "minor", 1),
    ]


def test_what_ended_outside_of_the_time_is_known_and_not_measured(ledger):
    ledger.add(began=SINCE - HOUR)
    ledger.add(began=UNTIL - 600)
    ledger.add(began=UNTIL + 1, environment="other")
    assert [each.run.run_id for each in ledger.measured().changes] == ["run-2"]
    assert ledger.measured().changes[0].lead_seconds is None, "that release was deployed before"


def test_weeks_are_those_of_iso_8601():
    assert [week_of(seconds_of(f"{day}T00:00:00Z")) for day in ("2026-12-31", "2027-01-01", "2027-01-04")] == [
        "2026-W53", "2026-W53", "2027-W01",
    ]  # fmt: skip


@pytest.mark.parametrize("weeks", [0, -1, 521])
def test_a_time_of_no_weeks_or_of_too_many_is_refused(weeks):
    with pytest.raises(Refusal) as caught:
        window(weeks, 1000)
    assert caught.value.reason == "report_weeks_invalid"


def test_a_time_is_so_many_weeks_until_now():
    assert window(2, UNTIL) == (SINCE, UNTIL)
