# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a change, as failed and as restored, and the measures that follow."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.delivery_measures import ALL, WEEK, measured, week_of, window
from ansible.module_utils.slipway.controller.memory import HostOfRun, RunRecord

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
        given = {
            "application": "shop", "environment": "prod", "deployed_by": "alice", "release_type": "minor", "created": began - HOUR,
            "ended": began + 600 if outcome else None, **about,
        }  # fmt: skip
        named = tuple(HostOfRun(f"prod-{number}", each) for number, each in enumerate(hosts, 1))
        run_id = f"run-{len(self.runs) + 1}"
        self.runs.append(
            RunRecord(run_id, operation, began=began, outcome=outcome, release_id=release, hosts=named, **given)
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
    ledger.add("rollback", release="v0", outcome=BAD, hosts=("stuck", "untouched", "untouched", "confirmed"))
    assert ledger.change(run).restored_at == MONDAY + 3 * HOUR + 600


def test_what_was_taken_back_itself_restores_nothing(ledger):
    """A bad release on the first hosts, the same on the others, then both taken back: until then nobody was well."""
    runs = [ledger.add(release="v2", hosts=hosts) for hosts in (("confirmed",), ("untouched", "confirmed"))]
    again = ledger.add(release="v2", outcome=BAD, hosts=("stuck",))
    runs.append(ledger.add(release="v2", hosts=("confirmed",)))
    ledger.add("rollback", release="v1", takes_back=tuple(runs))
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
    ledger.add(release="v3", outcome=BAD, hosts=("reverted",))
    for _ in range(2):
        ledger.add("rollback", release="v0")
    failed = [each.run.run_id for each in ledger.measured().changes if each.failed_at == each.run.ended]
    assert failed == [first, second]


def test_a_rollback_that_did_not_end_as_asked_takes_nothing_back(ledger):
    run = ledger.add()
    ledger.add("rollback", outcome=BAD, hosts=("stuck",), takes_back=(run,))
    assert ledger.measure().failures == 0


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


def test_each_place_type_and_week_is_measured_apart(ledger):
    ledger.add(began=MONDAY - HOUR)
    ledger.add(release="v2", release_type="hotfix")
    ledger.add(environment="staging", outcome=BAD, hosts=("reverted",))
    ledger.add(application="other", release_type="")
    rows = [
        (each.application, each.environment, each.week, each.release_type, each.changes)
        for each in ledger.measured().measures
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
