# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators read, word for word: reports, tables, plans and refusals, each in its file beside this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.slipway.errors import Refusal
from ansible.module_utils.slipway.report import endings_of, run_report, status_table
from ansible.module_utils.slipway.selection import (
    Candidate,
    choose_release,
    choose_rollback,
    require_reachable,
    require_waves,
)

OLD, NEW = "release_20261120_090000", "release_20261121_040641"
UNHEALTHY = f"health_failed: {NEW} on prod-1: http://127.0.0.1:8080/health answered 503, expected 200 (after 15 attempts). Went back: "


def inspected(active=OLD):
    return {"active": active, "changed": False}


def answered(outcome, active, **more):
    return {"outcome": outcome, "active_release_id": active, **more}


def failed(message, **more):
    return {"failed": True, "msg": message, **more}


LOST = {"unreachable": True, "msg": "Failed to connect to the host via ssh: Connection timed out"}
SKIPPED = {"skipped": True}
ALL = {"prod-1": inspected(), "prod-2": inspected(), "prod-3": inspected()}
SWITCHED = {name: answered("switched", NEW) for name in ALL}
DEPLOY = f"deploy of hello {NEW}"
ROLLBACK = f"rollback of hello to {OLD}"

# name: (title, results by stage and host, hosts that never answered, options of the report)
RUNS = {
    "deploy": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "confirmation": {name: answered("confirmed", NEW) for name in ALL},
        },
        [],
        {},
    ),
    "deploy_of_what_is_there": (DEPLOY, {"activation": {name: answered("unchanged", NEW) for name in ALL}}, [], {}),
    "deploy_in_check_mode": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "confirmation": {name: answered("confirmed", NEW) for name in ALL},
        },
        [],
        {"check": True},
    ),
    "deploy_with_a_canary_that_fails": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": {"prod-1": failed(f"{UNHEALTHY}{OLD} is active.", **answered("reverted", OLD))},
        },
        [],
        {},
    ),
    "deploy_that_loses_a_host": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": {**SWITCHED, "prod-2": LOST, "prod-3": answered("switched", NEW)},
            "return": {"prod-1": answered("reverted", OLD), "prod-2": LOST, "prod-3": answered("reverted", OLD)},
        },
        [],
        {},
    ),
    "deploy_with_a_failed_smoke_test": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "smoke": {"prod-2": failed("smoke_test_failed: http://192.0.2.12:8080/version: Connection refused")},
            "reversion": {"prod-2": answered("reverted", OLD)},
            "return": {name: answered("reverted", OLD) for name in ("prod-1", "prod-3")},
        },
        [],
        {},
    ),
    "first_deploy_that_fails": (
        DEPLOY,
        {
            "inspection": {"prod-1": inspected(None)},
            "activation": {"prod-1": failed(f"{UNHEALTHY}nothing is active.", **answered("reverted", None))},
        },
        [],
        {},
    ),
    "deploy_without_a_way_back": (
        DEPLOY,
        {"activation": {"prod-1": failed("release_altered: …", **answered("stuck", NEW))}},
        [],
        {},
    ),
    "rollback": (
        ROLLBACK,
        {"activation": {name: answered("confirmed", OLD) for name in ALL}},
        [],
        {"rollback": True},
    ),
    "rollback_without_a_host": (
        ROLLBACK,
        {"activation": {name: answered("confirmed", OLD) for name in ("prod-1", "prod-2")}},
        ["prod-3"],
        {"rollback": True},
    ),
    "rollback_that_is_not_well": (
        ROLLBACK,
        {
            "activation": {"prod-1": answered("confirmed", OLD)},
            "smoke": {"prod-1": failed("smoke_test_failed: http://192.0.2.11:8080/version answered 502, expected 200")},
        },
        [],
        {"rollback": True},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_with_this_report(golden, name):
    title, results, silent, options = RUNS[name]
    golden(f"report_{name}", run_report(title, endings_of(results, silent), **{"rollback": False, **options}))


def test_the_fleet_is_shown_in_this_table(golden):
    served = {
        "active": NEW, "since": "2026-11-21T04:06:55Z", "deployed_by": "anna", "health": {"outcome": "success"}, "previous": OLD,
        "bad": {},
    }  # fmt: skip
    nothing = {"active": None, "since": None, "deployed_by": None, "health": None, "previous": None, "bad": {}}
    answers = {
        "prod-1": served,
        "prod-2": {**served, "active": OLD, "previous": None, "bad": {NEW: "health_failed", "v1.1.0": "taken_back"}},
        "prod-3": {**served, "health": {"outcome": "failure"}},
        "prod-4": nothing,
        "prod-5": {"failed": True, "reason": "environment_mismatch"},
        "prod-6": {},
    }
    golden("status", status_table(answers))


def run(number, operation, release, active=None, status="success"):
    return {
        "run_id": f"run_20261121T04000{number}Z_3f09ab", "operation": operation, "release_id": release, "status": status,
        "active_release_id": active or release, "timestamp": f"2026-11-21T04:00:0{number}Z", "reason": None,
    }  # fmt: skip


def host(*runs, active=NEW, previous=OLD, bad=(), here=(OLD, NEW), transaction=None):
    """The answer of a host, its newest run first."""
    return {
        "active": active, "settled": active, "previous": previous, "bad": dict.fromkeys(bad, "health_failed"), "runs": list(runs),
        "releases": [{"release_id": release, "was_active": True} for release in here], "transaction": transaction,
    }  # fmt: skip


FIRST, SECOND = run(1, "deploy", OLD), run(2, "deploy", NEW)
BACK = run(3, "rollback", OLD)
FLEET = {name: host(SECOND, FIRST) for name in ALL}
CATALOGUE = [Candidate(OLD, 1), Candidate(NEW, 2)]
OPEN = {
    "operation": "deploy", "run_id": SECOND["run_id"], "release_id": NEW, "previous_release_id": OLD, "step": "switched",
    "started": "2026-11-21T04:00:02Z",
}  # fmt: skip


def deployment(answers, requested="", *, retry=False, candidates=CATALOGUE):
    return lambda: choose_release(candidates, answers, requested=requested, retry=retry).described()


def rollback(answers, requested="", *, limited=False):
    return lambda: choose_rollback(answers, requested=requested, limited=limited).message


PLANS = {
    "deploy_the_newest": deployment({"prod-1": host(FIRST, active=OLD)}),
    "deploy_another_since_the_newest_is_bad": deployment(
        {"prod-1": host(FIRST, active=OLD, bad=[NEW]), "prod-2": host(FIRST, active=OLD, bad=[NEW])}
    ),
    "roll_back_the_newest_run": rollback(FLEET),
    "roll_back_what_was_taken_back": rollback({name: host(BACK, SECOND, FIRST, active=OLD, bad=[NEW]) for name in ALL}),
    "roll_back_to_a_release": rollback(FLEET, OLD),
    "roll_back_to_what_is_active": rollback(FLEET, NEW),
    "roll_back_what_is_still_open": rollback(
        {"prod-1": {**host(FIRST, active=OLD, transaction=OPEN), "active": NEW}}, limited=True
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_said_like_this(golden, name):
    golden(f"plan_{name}", PLANS[name]())


REFUSALS = {
    "a_release_that_is_not_there": deployment(FLEET, "v9.9.9"),
    "a_release_of_an_empty_catalogue": deployment(FLEET, "v9.9.9", candidates=[]),
    "a_release_that_is_bad": deployment({"prod-1": host(bad=[NEW]), "prod-2": host()}, NEW),
    "only_bad_releases": deployment({"prod-1": host(bad=[OLD, NEW])}),
    "no_releases": deployment(FLEET, candidates=[]),
    "a_catalogue_that_is_behind": deployment({"prod-1": host(bad=[NEW]), "prod-2": host()}),
    "a_rollback_before_any_deployment": rollback({"prod-1": host(active=None, previous=None)}),
    "a_rollback_of_the_first_deployment": rollback({"prod-1": host(FIRST, active=OLD, previous=None)}),
    "a_rollback_to_different_releases": rollback(
        {"prod-1": host(SECOND, FIRST), "prod-2": host(SECOND, FIRST, previous="v0.9.0")}
    ),
    "a_rollback_to_what_is_gone": rollback({"prod-1": host(SECOND), "prod-2": host(SECOND, here=[NEW])}, OLD),
    "a_rollback_to_what_is_bad": rollback({"prod-1": host(SECOND, bad=[OLD])}, OLD),
    "a_host_that_does_not_answer": lambda: require_reachable(
        ["prod-3", "prod-2 (environment_mismatch)"], next_command="Mend it, or leave it out on purpose."
    ),
    "waves_that_are_none": lambda: require_waves(["1", "half"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_said_like_this(golden, name):
    with pytest.raises(Refusal) as refused:
        REFUSALS[name]()
    golden(f"refusal_{name}", str(refused.value))


def test_every_golden_file_is_somebody_s():
    known = {f"report_{name}" for name in RUNS} | {f"plan_{name}" for name in PLANS} | {"status"}
    known |= {f"refusal_{name}" for name in REFUSALS}
    assert {path.stem for path in Path(__file__).parent.glob("*.txt")} == known
