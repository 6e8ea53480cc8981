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

    def measured(self):
        return measured(self.runs, since=SINCE, until=UNTIL)

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
    [{"hosts": ("unchanged", "unchanged")}, {"hosts": ("untouched", "untouched"), "outcome": BAD}, {"hosts": ()}, {"outcome": None}],
)  # fmt: skip
def test_a_run_that_switched_nothing_or_has_no_end_is_no_change(ledger, about):
    ledger.add(**about)
    assert ledger.measured().measures == ()


def test_a_run_without_an_end_is_told(ledger):
    run = ledger.add(outcome=None)
    assert [each.run_id for each in ledger.measured().unended] == [run]


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
    failed = [each.run.run_id for each in ledger.measured().changes if each.failed_at == each.ended]
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
