# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators read, word for word: reports, tables, plans and refusals, each in its file beside this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.slipway.application.preflight import Needs, Result, judge
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import delivery_report, failover
from ansible.module_utils.slipway.controller.delivery_measures import WEEK, measured
from ansible.module_utils.slipway.controller.memory import HostOfRun, RunRecord
from ansible.module_utils.slipway.controller.regions import Region, read_regions, with_regions
from ansible.module_utils.slipway.controller.report import Watch, endings_of, lock_report, rotation_report, run_report
from ansible.module_utils.slipway.controller.rollout import Pace, Settings, plan, require_waves
from ansible.module_utils.slipway.controller.runs import newest_runs, runs_table
from ansible.module_utils.slipway.controller.selection import (
    Candidate,
    choose_release,
    choose_rollback,
    require_reachable,
    require_trusted_histories,
    require_unlocked,
)
from ansible.module_utils.slipway.controller.story import story, what_is_served
from ansible.module_utils.slipway.controller.verification import Verification
from ansible.module_utils.slipway.controller.witness import Verdict
from ansible.module_utils.slipway.trust.promotion import SchemaRevisions
from test_alerts import ENDED

OLD, NEW = "release_20261120_090000", "release_20261121_040641"
UNHEALTHY = f"health_failed: {NEW} on prod-1: http://127.0.0.1:8080/health answered 503, expected 200 (after 15 attempts). Went back: "


INTACT = {"outcome": "intact", "detail": "5 records"}
RESTORED = Verdict("restored", "as it was at 2026-11-20T09:00:02Z: 3 records; 5 were kept at 2026-11-21T04:06:55Z")


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
WINDOW = {"start": "2026-11-21T04:06:55Z", "end": "2026-11-23T04:06:55Z"}
STEP = {"argv": ["bin/hello", "--check"], "exit_code": 0, "passed": True}

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
    "deploy_that_is_watched": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "confirmation": {name: answered("confirmed", NEW, record={"window": WINDOW}) for name in ALL},
        },
        [],
        {
            "watch": Watch.of(
                [{"window": WINDOW}, {"window": None}],
                {
                    "alert_frequency_hours": 2,
                    "alert_thresholds": {"hit_ratio_drop": "0.05"},
                    "review": ["http://grafana.example/hello"],
                },
            )
        },
    ),
    "deploy_while_a_history_is_cut": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "confirmation": {name: answered("confirmed", NEW) for name in ALL},
        },
        [],
        {"untrusted": {"prod-2": RESTORED}},
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
    "deploy_of_a_candidate_in_check_mode": (
        DEPLOY,
        {"inspection": ALL, "activation": SWITCHED, "confirmation": {name: answered("confirmed", NEW) for name in ALL}},
        [],
        {"check": True, "candidate": True},
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
            "verdict": {name: {"until": {"prod-2": "2026-11-21T04:16:55Z"}} for name in ALL},
        },
        [],
        {"rollout": "wave 2: prod-2 unreachable; 0 tolerated"},
    ),
    "deploy_that_tolerates_a_failure": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": {**SWITCHED, "prod-2": failed(f"{UNHEALTHY}{OLD} is active.", **answered("reverted", OLD))},
            "confirmation": {name: answered("confirmed", NEW) for name in ("prod-1", "prod-3")},
        },
        [],
        {"rollout": "tolerated: prod-2 failed"},
    ),
    "deploy_that_falls_ill_while_it_soaks": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": {"prod-1": SWITCHED["prod-1"]},
            "soak": {
                "prod-1": failed(
                    "Task failed",
                    active=NEW,
                    health={"outcome": "failure", "detail": "http://127.0.0.1:8080/health answered 503"},
                )
            },
            "reversion": {"prod-1": answered("reverted", OLD)},
        },
        [],
        {"rollout": "wave 1: prod-1 failed; 0 tolerated"},
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
    "deploy_of_regions_that_fails_in_the_first": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": {
                "prod-2": answered("switched", NEW),
                "prod-3": failed(f"{UNHEALTHY}{OLD} is active.", **answered("reverted", OLD)),
            },
            "return": {"prod-2": answered("reverted", OLD)},
        },
        [],
        {
            "rollout": "wave 2 (us): prod-3 failed; 0 tolerated",
            "regions": {"us": ["prod-2", "prod-3"], "eu": ["prod-1"]},
        },
    ),
    "deploy_while_a_region_is_failed_over": (
        DEPLOY,
        {
            "inspection": ALL,
            "activation": SWITCHED,
            "confirmation": {name: answered("confirmed", NEW) for name in ALL},
            "traffic": {"prod-1": {"state": "failed_over"}},
        },
        [],
        {"regions": {"eu": ["prod-1"], "us": ["prod-2", "prod-3"]}},
    ),
    "rollback": (
        ROLLBACK,
        {"activation": {name: answered("confirmed", OLD) for name in ALL}},
        [],
        {"rollback": True},
    ),
    "rollback_whose_plan_is_not_met": (
        ROLLBACK,
        {
            "activation": {
                "prod-1": answered(
                    "confirmed", OLD, record={"verification": [STEP, {**STEP, "exit_code": 3, "passed": False}]}
                ),
                "prod-2": answered("confirmed", OLD, record={"verification": [STEP]}),
            }
        },
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
        "bad": {}, "witness": INTACT,
        "policy": {"version": 2, "digest": "d" * 64, "expires": "2028-11-20T04:06:55Z", "problem": None},
        "trust": {"outcome": "intact", "detail": "12 files"}, "bytes_checked": "2026-11-21T04:06:55Z",
    }  # fmt: skip
    nothing = {
        "active": None, "since": None, "deployed_by": None, "health": None, "previous": None, "bad": {},
        "witness": {"outcome": "first_seen", "detail": ""},
    }  # fmt: skip
    opened = {
        "operation": "deploy", "status": "success", "rollback": False, "release_id": NEW,
        "window": {"start": "2026-11-21T04:06:55Z", "end": "2026-11-23T04:06:55Z"},
    }  # fmt: skip
    well = {"check": "unit", "application": "hello", "status": "HEALTHY", "message": "hello.service is active"}
    told = {"channel": "alertmanager", "state": "closed", "detail": ""}
    agent = {"checks": [well], "channels": [told], "queued": 0, "lost": 0}
    troubled = {
        "checks": [{**well, "status": "UNHEALTHY", "message": "hello.service is failed"}],
        "channels": [{**told, "state": "degraded", "detail": "Connection refused since 2026-11-21T05:00:00Z"}],
        "queued": 3,
        "lost": 0,
    }
    answers = {
        "prod-1": {**served, "runs": [opened], "agent": agent},
        "prod-2": {
            **served,
            "agent": troubled,
            "active": OLD,
            "previous": None,
            "trust": {
                "outcome": "release_mismatch",
                "detail": "release_mismatch: expected the manifest of v1; found that of v2. …",
            },
            "bad": {NEW: "health_failed", "v1.1.0": "taken_back"},
        },
        "prod-3": {
            **served,
            "runs": [opened],
            "agent": None,
            "health": {"outcome": "failure"},
            "witness": RESTORED.as_dict(),
            "policy": {**served["policy"], "version": 1},
        },
        "prod-4": {**nothing, "policy": {"version": None, "problem": "trust_policy_missing"}},
        "prod-5": {"failed": True, "reason": "environment_mismatch"},
        "prod-6": {},
        "prod-7": {
            "failed": True,
            "reason": "history_altered",
            "witness": {"outcome": "rewritten", "detail": "line 2"},
        },
    }
    golden("status", what_is_served(answers, seconds_of("2026-11-21T06:00:00Z")))


REGIONS = (Region("eu", ("prod-1",)), Region("us", ("prod-2", "prod-3")))
SWITCHING = {
    "run_id": "run_20261121T040641Z_3f09ab",
    "deployed_by": "anna",
    "release_id": NEW,
    "seconds_left": 540,
    "step": "switched",
}


def asked(balancer, held=(), serving=(), **more):
    """What a balancer answered of its servers."""
    about = {"host": balancer, "backend": "hello", "socket": "/s", "drain_seconds": 30, "hosts": sorted(ALL)}
    return {"__release_balancer": about, "held": list(held), "serving": list(serving), "not_up": [], **more}


def no_answer(balancer):
    return {"__release_balancer": asked(balancer)["__release_balancer"], "unreachable": True}


def test_the_waves_of_regions_are_planned_in_these_words(golden):
    settings = {"waves": ["1", "100%"], "healthy_min": "50%", "soak_seconds": 60, "region_order": ["eu", "us", "ap"]}
    fleet = {f"prod-{number}": {"active": OLD, "settled": OLD} for number in range(1, 8)}
    parts = (
        Region("us", ("prod-4", "prod-5", "prod-6")),
        Region("eu", ("prod-1", "prod-2", "prod-3")),
        Region("ap", ("prod-7",), is_failed_over=True),
    )
    rollout = plan(Settings.parse({**settings, "pause_after": ["us", "canary"]}), Pace(60, 30, 20), fleet, parts)
    golden("plan_regions", "\n".join([rollout.described(), *(rollout.progress(wave) for wave in rollout.waves)]))


def test_the_regions_of_a_fleet_are_shown_below_its_table(golden):
    served = {
        "active": NEW, "since": "2026-11-21T04:06:55Z", "deployed_by": "anna", "health": {"outcome": "success"}, "previous": OLD,
        "bad": {}, "witness": INTACT,
    }  # fmt: skip
    answers = {"prod-1": {}, "prod-2": served, "prod-3": {**served, "active": OLD}, "staging-1": served}
    regions = {"prod-1": "eu", "prod-2": "us", "prod-3": "us"}
    kept_out = failover.kept_out([asked("balancer-1", held=["prod-1"]), asked("balancer-2"), no_answer("balancer-3")])
    told = with_regions(answers, regions, kept_out)
    golden("status_of_regions", what_is_served(told, seconds_of("2026-11-21T06:00:00Z"), kept_out))


FAILOVERS = {
    "failover": ([asked("balancer-1", ["prod-1"], ["prod-2", "prod-3"])], {}),
    "failover_in_check_mode": ([asked("balancer-1", [], sorted(ALL))], {"check": True}),
    "failover_without_a_balancer": (
        [asked("balancer-1", ["prod-1"], ["prod-2", "prod-3"]), no_answer("balancer-2"), asked("balancer-3", [], sorted(ALL))],
        {},
    ),
    "failover_back": ([asked("balancer-1", [], sorted(ALL))], {"is_back": True}),
    "failover_back_that_is_not_well": (
        [asked("balancer-1", [], ["prod-2", "prod-3"], not_up=["prod-1"]), asked("balancer-2", ["prod-1"])],
        {"is_back": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILOVERS)
def test_a_failover_ends_with_this_report(golden, name):
    told, options = FAILOVERS[name]
    given = {"is_back": False, "check": False, **options}
    looked = [asked(each["__release_balancer"]["host"], [], sorted(ALL)) for each in told]
    orders, message = failover.plan(REGIONS, "eu", looked, is_back=given["is_back"], healthy_min="50%")
    report = failover.report("eu", [order.as_dict() for order in orders], told, **given)
    golden(name, f"{message}\n\n{report.text}")


@pytest.mark.parametrize("is_check", [False, True])
def test_a_rotation_is_told_like_this(golden, is_check):
    versions = {number: {"version": number, "expires": f"202{6 + number}-11-20T04:06:55Z"} for number in (1, 2, 3)}
    key = "key 9f2b4cbb1a1a7f2a of build-2 (builder): new, valid from 2026-11-21T04:06:55Z to 2029-11-20T04:06:55Z"
    rotated = {
        "before": versions[2], "after": versions[3], "rotated": [3], "differences": ["version: 2 -> 3", key],
    }  # fmt: skip
    answers = {
        "prod-1": rotated,
        "prod-2": {**rotated, "before": versions[1], "rotated": [2, 3], "differences": ["version: 1 -> 3", key]},
        "prod-3": rotated,
        "prod-4": {"before": versions[3], "after": versions[3], "rotated": [], "differences": []},
        "prod-5": {
            "reason": "policy_version_older",
            "msg": "policy_version_older: expected version 4 …; found version 3.",
        },
        "prod-6": {"msg": "No route to host"},
    }
    golden(f"rotation{'_in_check_mode' if is_check else ''}", rotation_report(answers, is_check=is_check))


def recorded(seq, release, **changes):
    return {
        "seq": seq, "run_id": f"run_20261121T04065{seq}Z_3f09ab", "application": "hello", "environment": "prod", "operation": "deploy",
        "release_id": release, "previous_release_id": OLD, "active_release_id": release, "rollback": False, "artifacts": [],
        "deployed_by": "anna", "timestamp": f"2026-11-21T04:06:5{seq}Z", "status": "success", "smoke_test_passed": True, "reason": None,
        "window": None, "verification": [], **changes,
    }  # fmt: skip


HISTORIES = {
    "prod-1": [
        recorded(5, NEW, window=WINDOW),
        recorded(3, "v1.1.0", status="rolled_back", rollback=True, active_release_id=OLD, smoke_test_passed=None),
        recorded(1, OLD, previous_release_id=None),
    ],
    "prod-2": [recorded(5, NEW, window=WINDOW), recorded(1, OLD, previous_release_id=None)],
    "prod-3": [
        recorded(7, OLD, operation="rollback", previous_release_id=NEW, smoke_test_passed=None, verification=[STEP]),
        recorded(5, NEW, window=WINDOW),
        recorded(1, OLD, previous_release_id=None),
    ],
}
MANIFEST = {
    "version": "1.4.0", "created": "2026-11-21T04:06:41Z", "expires": "2027-11-21T04:06:41Z", "builder": "build-server",
    "release_type": "hotfix", "source": {"kind": "directory", "name": "hello", "git_commit": "3b1c" * 10},
    "audit": {"name": "audit_20261121_040500", "sha256": "c" * 64, "validation_result": "passed", "validation_sha256": "d" * 64},
    "artifacts": [{"kind": "configs", "path": "config.json"}, {"kind": "models", "path": "policy.pt"}],
    "metadata": {"git_branch": "main", "git_tag": "v1.4.0", "build_id": "build_12345", "tickets": ["SHOP-1", "SHOP-2"]},
}  # fmt: skip


def test_the_newest_runs_are_shown_in_this_table(golden):
    golden("runs", runs_table(newest_runs(HISTORIES, 5), ["prod-4"]))


# operation, release, hours after the first, and its regions with how each ended (None: cut off), runs that a rollback named
DELIVERIES = (
    ("deploy", "v1", 0, {"eu": "confirmed", "us": "confirmed"}, ()),
    ("deploy", "v1", 24, {"eu": "confirmed", "us": "confirmed"}, ()),  # a rotation of secrets
    ("deploy", "v2", 48, {"eu": "confirmed"}, ()),
    ("deploy", "v2", 49, {"us": "confirmed"}, ()),
    ("rollback", "v1", 50, {"eu": "confirmed"}, ("run_2",)),
    ("deploy", "v3", 72, {"eu": "confirmed", "us": "confirmed"}, ()),
    ("rollback", "v1", 73, {"eu": "confirmed", "us": "stuck"}, ("run_5",)),
    ("deploy", "v4", 96, None, ()),
    ("deploy", "v5", 97, {"eu": "unchanged", "us": "confirmed"}, ()),
    ("deploy", "v6", 98, None, ()),
)


def test_deliveries_are_told_like_this(golden):
    first = seconds_of("2026-11-16T08:00:00Z")
    runs = []
    for number, (operation, release, hours, regions, named) in enumerate(DELIVERIES):
        began = first + 3600 * hours
        hosts = tuple(HostOfRun(f"{region}-1", outcome, region) for region, outcome in (regions or {}).items())
        outcome = None if regions is None else "not as asked" if "stuck" in regions.values() else "as asked"
        runs.append(
            RunRecord(
                f"run_{number}", operation, "hello", "prod", "anna", began, outcome and began + 600, outcome, release, "minor", first - 7200, named, hosts
            )
        )  # fmt: skip
    until = runs[-1].began + 60
    golden("deliveries", delivery_report.told(measured(runs, since=until - WEEK, until=until).as_dict()))


def test_the_whole_story_is_told_like_this(golden):
    health = {"outcome": "success"}
    served = {
        "active": NEW, "since": "2026-11-21T04:06:55Z", "deployed_by": "anna", "health": health, "previous": OLD, "bad": {},
        "manifest": MANIFEST, "host": {"environment": "prod"}, "witness": INTACT,
        "credentials": {"credentials": {
            "database_url": {"secret": "database/url", "field": "value", "since": "2026-11-20T11:00:00Z"},
            "secret_key": {"secret": "signing/web", "field": "key", "since": "2026-11-21T04:06:51Z"},
        }},
    }  # fmt: skip
    plain = {**MANIFEST, "release_type": "minor"}
    del plain["audit"], plain["artifacts"], plain["metadata"]
    answers = {
        "prod-1": served,
        "prod-2": served,
        "prod-3": {**served, "active": OLD, "previous": None, "manifest": plain},
        "prod-4": {},
        "prod-5": {**served, "active": "v0", "previous": None, "manifest": None},
    }
    golden("story", story(answers, HISTORIES, application="hello", now=seconds_of("2026-11-22T03:56:55Z")))


def run(number, operation, release, active=None, status="success"):
    return {
        "run_id": f"run_20261121T04000{number}Z_3f09ab", "operation": operation, "release_id": release, "status": status,
        "active_release_id": active or release, "timestamp": f"2026-11-21T04:00:0{number}Z", "reason": None,
        "previous_release_id": NEW if operation == "rollback" else None if release == OLD else OLD,
    }  # fmt: skip


def host(*runs, active=NEW, previous=OLD, bad=(), here=(OLD, NEW), transaction=None):
    """The answer of a host, its newest run first."""
    return {
        "active": active, "settled": active, "previous": previous, "bad": dict.fromkeys(bad, "health_failed"), "runs": list(runs),
        "releases": [{"release_id": release, "was_active": True} for release in here], "transaction": transaction,
        "witness": INTACT,
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


READY = Result("unit", "bot.service", "PASS", "loaded, enabled")
UNREADY = {
    "prod-1": [
        READY,
        Result("configuration", "DATABASE_URL", "FAIL", "required, not set", "Set it to a text in /etc/bot/bot.env."),
        Result(
            "configuration", "SECRET_KEY", "FAIL", "a secret of 12 characters (/etc/bot/bot.env)",
            "Set it to a text of at least 32 characters in /etc/bot/bot.env.",
        ),
        Result("port", "8000", "FAIL", "held by nginx (pid 812)", "Stop it, or give the application another port."),
    ],
    "prod-2": [READY, Result("unit", "bot.service", "WARN", "disabled, so it does not start at boot", "systemctl enable bot.service")],
}  # fmt: skip
ROOM = {
    "purpose": "releases", "path": "/srv/bot", "device": 1, "bytes_free": 700 << 20, "bytes_total": 20 << 30,
    "inodes_free": None, "inodes_total": 0,
}  # fmt: skip


def judgement():
    """Two hosts that are not ready for a release with migrations."""
    answers = {
        name: {
            "preflight": {
                "results": [result.as_dict() for result in results], "room": [ROOM], "schema_revision": ["a1" if name == "prod-2" else "c3"],
            }
        }
        for name, results in UNREADY.items()
    }  # fmt: skip
    needs = Needs(bytes=9 << 20, schema=SchemaRevisions("alembic", "b2", ("a1", "b2")))
    return judge(answers, dict.fromkeys(UNREADY, needs))


def test_the_readiness_of_a_fleet_is_shown_in_this_table(golden):
    golden("preflight", judgement().report("bot"))


def test_warnings_of_a_run_that_goes_on_are_said_like_this(golden):
    golden("preflight_warnings", "\n".join(judgement().warnings()))


LOCK = {
    "id": "41f0", "holder": "bob", "message": "audit until Friday", "since": "2026-11-21T04:06:55Z", "until": "2026-11-23T04:06:55Z",
}  # fmt: skip

REFUSALS = {
    "hosts_that_are_not_ready": lambda: judgement().require_ready(),
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
    "histories_that_are_untrusted": lambda: require_trusted_histories(
        {**FLEET, "prod-2": {**host(), "witness": RESTORED.as_dict()}}
    ),
    "histories_that_are_all_untrusted": lambda: require_trusted_histories({"prod-1": {**host(), "witness": None}}),
    "waves_that_leave_too_few_in_service": lambda: plan(
        Settings.parse({"waves": ["1", "100%"], "healthy_min": "67%"}),
        Pace(60, 30, 20),
        {**FLEET, "prod-2": {**host(), "health": {"outcome": "failure"}}},
    ),
    "a_rollout_that_is_none": lambda: Settings.parse(
        {"waves": ["1"], "healthy_min": "most", "canary_share": "0%", "pause_after": ["carny"], "soak_seconds": -1}
    ),
    "a_region_that_would_have_too_few_in_service": lambda: plan(
        Settings.parse({"waves": ["1"], "healthy_min": "50%", "region_order": ["eu", "us"]}),
        Pace(60, 30, 20),
        {**FLEET, "prod-2": {**host(), "health": {"outcome": "failure"}}},
        REGIONS,
    ),
    "regions_that_are_none": lambda: read_regions(["eu", "mars"], {"eu": ["prod-1", "prod-2"]}, FLEET),
    "a_failover_that_would_leave_too_few": lambda: failover.plan(
        REGIONS, "eu", [asked("balancer-1", serving=["prod-1"])], is_back=False, healthy_min="50%"
    ),
    "a_failover_beside_a_run": lambda: failover.require_possible(
        {"prod-1": {"transaction": SWITCHING}}, ["prod"], {}, [], forced=False
    ),
    "waves_that_are_none": lambda: require_waves(["1", "half"]),
    "a_host_that_is_locked": lambda: require_unlocked({"prod-1": host(), "prod-2": {**host(), "lock": LOCK}}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_said_like_this(golden, name):
    with pytest.raises(Refusal) as refused:
        REFUSALS[name]()
    golden(f"refusal_{name}", str(refused.value))


def verified(active=NEW, **found):
    """The answer of a host about one application; `found` are outcomes and details by part."""
    parts = {
        "release": ("intact", "12 files, 48213 bytes"), "trust": ("intact", "12 files, 48213 bytes"),
        "witness": ("intact", "5 records"), "own_runs": ("complete", ""), **found,
    }  # fmt: skip
    return {"active": active, **{part: {"outcome": each[0], "detail": each[1]} for part, each in parts.items()}}


FLEET_FOUND = {
    "prod-1": {"hello": verified(), "shop": verified("v7", witness=("torn", "set aside after a crash and recorded: history.jsonl.torn-812"))},
    "prod-2": {"hello": verified(release=("file_changed", "file_changed: expected bin/hello as it was signed; found other bytes"))},
    "prod-3": {
        "hello": verified(OLD, witness=(RESTORED.outcome, RESTORED.detail), own_runs=("missing", "no record of run_20261121T040650Z_3f09ab"))
    },
    "prod-4": {"hello": verified(witness=("rewritten", "nothing that was kept fits; 5 were kept at 2026-11-21T04:06:55Z"))},
}  # fmt: skip


def test_a_fleet_is_verified_like_this(golden):
    answers = {host: {"applications": applications} for host, applications in FLEET_FOUND.items()}
    golden("verification", Verification({**answers, "prod-5": LOST}).report())
    golden("verification_intact", Verification({"prod-1": answers["prod-1"]}).report())


def test_locks_are_shown_like_this(golden):
    locks = {
        "prod-1": {"outcome": "free", "lock": None},
        "prod-2": {"outcome": "locked", "lock": LOCK},
        "prod-3": {"outcome": "taken", "lock": {**LOCK, "until": None, "message": "the disk is being replaced"}},
        "prod-4": LOST,
    }
    golden("locks", lock_report(locks))


def test_every_golden_file_is_somebody_s():
    known = {f"report_{name}" for name in RUNS} | {f"plan_{name}" for name in PLANS}
    known |= {"preflight", "preflight_warnings", "rotation", "rotation_in_check_mode", "runs", "status", "story"}
    known |= {"plan_regions", "status_of_regions", *FAILOVERS}
    known |= {"verification", "verification_intact", "locks", "deliveries"}
    known |= {f"refusal_{name}" for name in REFUSALS}
    known |= {"alert_firing", "alert_resolved", "escalation", *(f"notice_{name}" for name in ENDED)}
    assert {path.stem for path in Path(__file__).parent.glob("*.txt")} == known
