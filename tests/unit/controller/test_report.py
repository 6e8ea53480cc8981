# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators read: one line a host, then what to do next."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base.clock import seconds_of
from ansible.module_utils.slipway.controller.report import (
    Ending,
    agent_lines,
    ending,
    endings_of,
    is_served,
    lock_report,
    newest_answers,
    not_rotated,
    not_settled,
    open_lines,
    recovery_report,
    run_report,
    status_table,
    window_lines,
    with_agents,
    without_answer,
)

INSPECTED = {"active": "v1", "changed": False}
SWITCHED = {"outcome": "switched", "active_release_id": "v2"}
CONFIRMED = {"outcome": "confirmed", "active_release_id": "v2"}
REVERTED = {"outcome": "reverted", "active_release_id": "v1", "msg": "went back"}
REFUSED = {"failed": True, "reason": "locked", "msg": "locked: held by bob"}
UNCHANGED = {"outcome": "unchanged", "active_release_id": "v1"}
LOST = {"unreachable": True, "msg": "no route to host"}
SKIPPED = {"skipped": True, "outcome": "nothing of the sort", "active_release_id": "v9"}


DEPLOYED = {
    "operation": "deploy", "status": "success", "rollback": False, "release_id": "v2",
    "window": {"start": "2026-11-21T04:00:00Z", "end": "2026-11-23T04:00:00Z"},
}  # fmt: skip
BACK = {**DEPLOYED, "operation": "rollback", "rollback": True, "release_id": "v1", "window": None}


@pytest.mark.parametrize(
    ("runs", "now", "lines"),
    [
        ([DEPLOYED], "2026-11-21T05:00:00Z", ["watched more sharply until 2026-11-23T04:00:00Z: v2 on prod-1, prod-2"]),
        ([DEPLOYED], "2026-11-23T04:00:00Z", []),
        ([BACK, DEPLOYED], "2026-11-21T05:00:00Z", []),
        ([], "2026-11-21T05:00:00Z", []),
    ],
)
def test_a_window_is_shown_while_it_is_open(runs, now, lines):
    assert window_lines({"prod-2": {"runs": runs}, "prod-1": {"runs": runs}, "prod-3": {}}, seconds_of(now)) == lines


def test_an_agent_is_shown_by_what_is_not_well_and_its_absence_too():
    well = {"checks": [{"status": "HEALTHY"}], "channels": [{"state": "closed"}], "queued": 0}
    said = {"prod-1": {"stdout": json.dumps(well)}, "prod-2": {"stdout": "", "rc": 1}, "prod-3": {"unreachable": True}}
    answers = {host: {"active": "v1"} for host in ("prod-1", "prod-2", "prod-3")} | {"prod-4": {}}
    found = with_agents(answers, said)
    assert [each.get("agent", "none") for each in found.values()] == [well, None, None, "none"]
    assert agent_lines(found) == ["no agent watches prod-2, prod-3 (playbooks/observe.yml)"]
    assert agent_lines(answers) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            {"checks": [{"status": "DEGRADED", "check": "site", "application": "shop", "message": "no answer"}]},
            "prod-1: site of shop is DEGRADED: no answer",
        ),
        (
            {"channels": [{"state": "degraded", "channel": "slack", "detail": "refused"}]},
            "prod-1: alerts by slack: degraded: refused",
        ),
        ({"queued": 2}, "prod-1: 2 alerts wait for a channel that takes them"),
    ],
)
def test_what_an_agent_did_not_find_well_is_a_line(found, line):
    assert agent_lines({"prod-1": {"agent": {"checks": [], "channels": [], "queued": 0, **found}}}) == [line]


def test_a_status_table_has_a_line_for_every_host_also_for_those_without_an_answer():
    answer = {
        "active": "v2", "since": "2026-11-21T03:12:56Z", "deployed_by": "anna", "health": {"outcome": "success"},
        "previous": "v1", "bad": {"v3": "health_failed", "v4": "x"}, "witness": {"outcome": "intact", "detail": ""},
        "trust": {"outcome": "file_changed", "detail": "x"}, "bytes_checked": "2026-11-21T04:00:00Z",
        "policy": {"version": 2, "expires": "2028-11-20T04:06:55Z", "problem": None},
    }  # fmt: skip
    new = {"active": None, "since": None, "deployed_by": None, "health": None, "previous": None, "bad": {}}
    shown = status_table({"prod-2": new, "prod-1": answer, "prod-3": {}, "prod-4": {"reason": "format_unknown"}})
    assert [line.split() for line in shown.splitlines()] == [
        ["host", "release", "since", "by", "health", "trust", "history", "previous", "bad", "policy", "checked"],
        [
            "prod-1",
            "v2",
            "2026-11-21T03:12:56Z",
            "anna",
            "success",
            "file_changed",
            "intact",
            "v1",
            "v3,",
            "v4",
            "2",
            "until",
            "2028-11-20",
            "2026-11-21T04:00:00Z",
        ],
        ["prod-2", *["-"] * 10],
        ["prod-3", "?", "?", "?", "unreachable", *["?"] * 6],
        ["prod-4", "?", "?", "?", "format_unknown", *["?"] * 6],
    ]


def test_a_lost_host_is_told_with_the_time_at_which_it_goes_back_by_itself():
    results = {"activation": {"prod-2": LOST}, "verdict": {"prod-2": {"until": {"prod-2": "2026-11-21T04:16:55Z"}}}}
    (lost,) = endings_of(results)
    assert lost.detail.startswith("no answer; goes back by itself at 2026-11-21T04:16:55Z at the latest; the next run")
    assert "by itself" not in ending("prod-2", {"activation": LOST}).detail


def test_a_host_that_fell_ill_while_it_soaked_says_why():
    ill = {"outcome": "failure", "detail": "coughing"}
    soak = {**INSPECTED, "failed": True, "msg": "Task failed: Action failed: Unknown error.", "health": ill}
    told = ending("prod-1", {"activation": SWITCHED, "soak": soak, "reversion": {**REVERTED, "msg": "went back"}})
    assert (told.outcome, told.detail) == ("reverted", "health_failed: coughing")
    lost = ending("prod-1", {"activation": SWITCHED, "soak": LOST})
    assert lost.outcome == "unreachable"
    outside = ending("prod-1", {"activation": SWITCHED, "soak_smoke": {"failed": True, "msg": "smoke_test_failed: x"}})
    assert (outside.outcome, outside.detail) == ("unconfirmed", "smoke_test_failed: x")


def test_hosts_that_did_not_take_the_newest_policy_are_named():
    answers = {"prod-3": {}, "prod-2": {"reason": "policy_version_older"}, "prod-1": {"after": {"version": 2}}}
    assert not_rotated(answers) == ["prod-2", "prod-3"]


def test_of_several_answers_the_newest_that_speaks_of_the_history_counts():
    first, second = {"witness": {"outcome": "intact"}}, {"witness": {"outcome": "restored"}}
    results = {
        "inspection": {"prod-1": first, "prod-2": first, "prod-3": {}},
        "activation": {"prod-1": second, "prod-2": {"witness": None}},
        "confirmation": {"prod-1": LOST},
    }
    assert newest_answers(results) == {"prod-1": second, "prod-2": first}


READY = {"outcome": "ready", "active_release_id": "v2"}
HOOK = {"failed": True, "reason": "hook_failed", "msg": "hook_failed: after_confirm: Tell: no such host"}
OF_HOOK = {"moment": "after_confirm", "argv": ["bin/tell", "all"], "passed": False, "exit_code": 3}
LEFT = {"name": "m2", "direction": "back", "passed": False, "exit_code": None}
ENDINGS = {
    "had hooks before its confirmation": (
        {"activation": SWITCHED, "ready": READY, "confirmation": CONFIRMED}, ("confirmed", "v2")
    ),
    "was lost before its confirmation": ({"activation": SWITCHED, "ready": LOST}, ("unreachable", "unknown")),
    "failed before its confirmation": (
        {"activation": SWITCHED, "reversion": UNCHANGED, "ready": {**REVERTED, "failed": True}}, ("reverted", "v1")
    ),
    "failed a task before its switch": (
        {"inspection": INSPECTED, "reversion": UNCHANGED, "hook": HOOK}, ("untouched", "v1")
    ),
    "failed a task after it was kept": (
        {"activation": SWITCHED, "confirmation": CONFIRMED, "hook": HOOK}, ("unfinished", "v2")
    ),
    "failed a hook after it was kept": (
        {"activation": SWITCHED, "confirmation": {**CONFIRMED, "record": {"hooks": [OF_HOOK]}}}, ("unfinished", "v2")
    ),
    "went back without a migration": (
        {"activation": {**CONFIRMED, "record": {"migrations": [LEFT], "hooks": [OF_HOOK]}}}, ("unfinished", "v2")
    ),
    "kept": ({"inspection": INSPECTED, "activation": SWITCHED, "contact": {}, "confirmation": CONFIRMED}, ("confirmed", "v2")),
    "had it": ({"inspection": INSPECTED, "activation": UNCHANGED, "confirmation": SKIPPED}, ("unchanged", "v1")),
    "had it twice": ({"inspection": INSPECTED, "activation": UNCHANGED, "return": UNCHANGED}, ("unchanged", "v1")),
    "failed its health": ({"inspection": INSPECTED, "activation": {**REVERTED, "failed": True}}, ("reverted", "v1")),
    "failed its smoke test": (
        {"activation": SWITCHED, "smoke": {"failed": True, "msg": "no answer"}, "reversion": REVERTED}, ("reverted", "v1"),
    ),
    "went back with the others": ({"activation": SWITCHED, "contact": {"rc": 0}, "return": REVERTED}, ("reverted", "v1")),
    "went back already": ({"activation": SWITCHED, "reversion": REVERTED, "return": UNCHANGED}, ("reverted", "v1")),
    "first deploy went back": ({"activation": {**REVERTED, "active_release_id": None}}, ("reverted", "nothing")),
    "has no way back": ({"activation": {"outcome": "stuck", "active_release_id": "v2", "failed": True}}, ("stuck", "v2")),
    "kept but not answering": (
        {"activation": SWITCHED, "smoke": {"failed": True, "msg": "no answer"}, "confirmation": CONFIRMED}, ("unwell", "v2"),
    ),
    "gone back by itself before the others": ({"inspection": INSPECTED, "activation": SWITCHED, "return": UNCHANGED}, ("reverted", "v1")),
    "switched and not settled": ({"inspection": INSPECTED, "activation": SWITCHED, "confirmation": SKIPPED}, ("unconfirmed", "v2")),
    "not its wave": ({"inspection": INSPECTED, "activation": SKIPPED}, ("untouched", "v1")),
    "refused": ({"inspection": INSPECTED, "activation": {"failed": True, "msg": "locked: …"}}, ("untouched", "v1")),
    "serves nothing and was not touched": ({"inspection": {"active": None}}, ("untouched", "nothing")),
    "nothing known": ({}, ("untouched", "nothing")),
    "lost at the start": ({"inspection": LOST}, ("unreachable", "unknown")),
    "lost at its switch": ({"inspection": INSPECTED, "activation": LOST}, ("unreachable", "unknown")),
    "lost after its switch": ({"activation": SWITCHED, "contact": LOST}, ("unreachable", "unknown")),
    "lost at its confirmation": ({"activation": SWITCHED, "contact": {}, "confirmation": LOST}, ("unreachable", "unknown")),
    "lost on the way back": ({"activation": SWITCHED, "contact": LOST, "return": LOST}, ("unreachable", "unknown")),
    "lost and found": ({"activation": SWITCHED, "contact": LOST, "return": REVERTED}, ("reverted", "v1")),
    "lost at its switch and found": ({"activation": LOST, "return": UNCHANGED}, ("untouched", "v1")),
    "refused at its switch": ({"activation": REFUSED, "reversion": UNCHANGED}, ("untouched", "v1")),
}  # fmt: skip


@pytest.mark.parametrize(("results", "expected"), ENDINGS.values(), ids=ENDINGS.keys())
def test_how_a_host_ended_follows_from_its_last_exchange(results, expected):
    judged = ending("prod-1", results)
    assert (judged.outcome, judged.serves) == expected
    assert judged.is_as_asked == (expected[0] in ("confirmed", "unchanged"))


def test_the_first_thing_that_failed_says_why():
    results = {
        "activation": SWITCHED,
        "smoke": {"failed": True, "msg": "smoke_test_failed: no answer"},
        "return": {**REVERTED, "failed": True, "msg": "later"},
    }
    assert ending("prod-1", results).detail == "smoke_test_failed: no answer"


def test_what_went_well_has_no_why():
    assert ending("prod-1", {"activation": SWITCHED, "confirmation": CONFIRMED}).detail == ""


def test_all_hosts_of_a_run_are_judged_and_those_that_never_answered_are_added():
    results = {
        "inspection": {"b": INSPECTED, "a": INSPECTED},
        "activation": {"b": SWITCHED},
        "confirmation": {"b": CONFIRMED},
    }
    endings = endings_of(results, ["d", "c"])
    assert [(each.host, each.outcome, each.serves) for each in endings] == [
        ("a", "untouched", "v1"), ("b", "confirmed", "v2"), ("c", "unreachable", "as before"), ("d", "unreachable", "as before"),
    ]  # fmt: skip


WELL = Ending("prod-1", "confirmed", "v2")
BACK = Ending("prod-2", "reverted", "v1", "health_failed: no answer")
NOT_SWITCHED = Ending("prod-2", "untouched", "v1", "hook_failed: x. Nothing was switched.")
STUCK = Ending("prod-3", "stuck", "v2")
GONE = Ending("prod-4", "unreachable", "unknown")


def test_a_report_names_every_host_and_why():
    assert run_report("deploy of shop v2", [WELL, BACK], rollback=False).splitlines() == [
        "deploy of shop v2: not done (1 confirmed, 1 reverted)",
        "host    outcome    serves  why",
        "prod-1  confirmed  v2      -",
        "prod-2  reverted   v1      health_failed: no answer",
        "next: mend the release, build it again (playbooks/release.yml) and deploy that; the one that failed is marked bad",
    ]


@pytest.mark.parametrize(
    ("endings", "options", "verdict", "following"),
    [
        ([WELL], {}, "done", "ansible-playbook rollback.yml"),
        ([WELL], {"rollback": True}, "done", "ansible-playbook playbooks/status.yml"),
        ([WELL], {"check": True}, "check mode: nothing was changed", "the same command without --check"),
        ([WELL, STUCK], {}, "not done (1 confirmed, 1 stuck)", "ansible-playbook playbooks/status.yml -l prod-3"),
        ([NOT_SWITCHED], {}, "not done (1 untouched)", "mend the release, build it again (playbooks/release.yml) and deploy that"),
        ([BACK, WELL], {"rollback": True}, "not done (1 confirmed, 1 reverted)", "ansible-playbook playbooks/status.yml -l prod-2"),
        (
            [BACK, GONE, STUCK], {}, "not done (1 reverted, 1 stuck, 1 unreachable)",
            "when prod-4 answers again, the same command: it settles what is open there first",
        ),
    ],
)  # fmt: skip
def test_a_report_says_what_to_do_next(endings, options, verdict, following):
    lines = run_report("run", endings, **{"rollback": False, **options}).splitlines()
    assert lines[0].startswith(f"run: {verdict}")
    assert lines[-1] == f"next: {following}"


def test_a_host_that_refused_its_switch_is_not_as_asked_and_says_why():
    judged = ending("prod-1", {"activation": REFUSED, "reversion": UNCHANGED})
    assert (judged.is_as_asked, judged.detail) == (False, "locked: held by bob")
    assert run_report("run", [judged], rollback=False).splitlines()[-1] == (
        "next: mend what the table says, then the same command: it settles first what is open"
    )


def test_a_host_that_its_balancers_give_no_requests_is_named_so():
    activation = {"outcome": "reverted", "active_release_id": "v1", "failed": True, "msg": "health_failed: ill"}
    results = {
        "activation": {"prod-1": activation, "prod-2": {"outcome": "confirmed", "active_release_id": "v2"}},
        "traffic": {"prod-1": {"state": "drained"}, "prod-2": {"state": "admitted"}, "prod-3": {}},
    }
    details = {each.host: each.detail for each in endings_of(results)}
    assert details["prod-1"] == "drained: its balancers give it no requests; health_failed: ill"
    assert "drained" not in details["prod-2"] + details["prod-3"]


def test_what_a_recovery_found_is_a_line_for_every_host():
    record = {"status": "interrupted", "release_id": "v2", "message": "run r did not end; recovery went back"}
    answers = {
        "prod-1": {"changed": True, "outcome": "recovered", "active_release_id": "v1", "record": record},
        "prod-2": {"changed": False, "outcome": "unchanged", "active_release_id": None, "record": None},
        "prod-3": REFUSED,
        "prod-4": {},
    }
    lines = recovery_report(answers).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "host serves outcome found",
        "prod-1 v1 recovered interrupted: v2, run r did not end; recovery went back",
        "prod-2 nothing unchanged nothing was open",
        "prod-3 unknown locked locked: held by bob",
        "prod-4 unknown unreachable -",
    ]
    assert not_settled(answers) == ["prod-3", "prod-4"]
    stuck = {"changed": True, "outcome": "stuck", "active_release_id": "v2", "record": {**record, "status": "failed"}}
    assert not_settled({**answers, "prod-1": stuck}) == ["prod-1", "prod-3", "prod-4"]
    predicted = {"prod-1": {"changed": True, "outcome": "recovered", "active_release_id": "v1", "record": None}}
    assert recovery_report(predicted, is_check=True).splitlines()[1].endswith("something is open and would be settled")


def test_who_has_locked_what_is_a_line_for_every_host():
    held = {"holder": "anna", "since": "2026-11-21T03:12:56Z", "until": None, "message": "frozen"}
    answers = {
        "prod-1": {"outcome": "locked", "lock": held},
        "prod-2": {"outcome": "free", "lock": None},
        "prod-3": REFUSED,
        "prod-4": {},
    }
    assert [" ".join(line.split()) for line in lock_report(answers).splitlines()] == [
        "host lock by since until message",
        "prod-1 locked anna 2026-11-21T03:12:56Z it is released frozen",
        "prod-2 free - - - -",
        "prod-3 locked - - - locked: held by bob",
        "prod-4 unreachable - - - -",
    ]
    assert without_answer(answers) == ["prod-3", "prod-4"]


def test_what_is_not_confirmed_yet_is_said_below_the_table():
    transaction = {
        "release_id": "v2", "run_id": "r", "deployed_by": "anna", "operation": "deploy", "previous_release_id": None, "seconds_left": 9,
    }  # fmt: skip
    assert open_lines({"prod-2": {}, "prod-1": {"active": "v2", "transaction": transaction, "lock": None}}) == [
        "prod-1: v2 is unconfirmed, deploy r by anna: goes back to nothing by itself in 9 s"
    ]


def test_what_failed_after_the_release_was_kept_is_said_with_what_to_look_at():
    kept = {"activation": SWITCHED, "confirmation": {**CONFIRMED, "record": {"hooks": [OF_HOOK]}}}
    found = ending("prod-1", kept)
    assert found.detail == "hook_failed: after_confirm bin/tell all: exit code 3"
    text = run_report("deploy", [found], rollback=False)
    assert "done, but not well (1 unfinished)" in text
    assert text.endswith("next: ansible-playbook playbooks/status.yml -l prod-1 -e release_status_format=full")


def test_who_is_behind_an_irreversible_migration_is_led_to_the_runbook():
    stuck = {
        "outcome": "stuck",
        "active_release_id": "v2",
        "failed": True,
        "msg": "migration_irreversible: v2 on prod-1: ill",
    }
    text = run_report("deploy", [ending("prod-1", {"activation": stuck})], rollback=False)
    assert text.endswith("next: see docs/runbooks/irreversible-migration.md: there is no way back")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [([], False), (["unchanged", "unchanged"], True), (["unchanged", None], False), ([None, None], False)],
)
def test_nothing_is_to_be_switched_only_when_every_host_says_so(outcomes, expected):
    staged = {f"prod-{number}": {"outcome": outcome} for number, outcome in enumerate(outcomes)}
    assert is_served(staged) is expected


def test_a_host_that_serves_it_already_ends_unchanged():
    results = {"staging": {"prod-1": {"changed": False, "outcome": "unchanged", "active_release_id": "v1"}}}
    (ending,) = endings_of(results)
    assert (ending.outcome, ending.serves, ending.is_as_asked) == ("unchanged", "v1", True)


SETTLED = "database/main: every host has version 4"
LEFT = "database/main: proven, and then secret_unavailable"


def test_a_canary_that_was_worse_than_the_others_says_so_although_none_of_its_own_tasks_did():
    on, back = ({"outcome": each, "active_release_id": name} for each, name in (("switched", "v2"), ("reverted", "v1")))
    why = "analysis_failed: hit_ratio: 0.5 beside 0.65, worse by more than 5 %, 2 times in a row"
    verdict = {"outcomes": {"a": {"outcome": "failed", "detail": why}, "c": {"outcome": "switched", "detail": ""}}}
    results = {
        "inspection": {"b": {"active": "v1"}},
        "activation": dict.fromkeys("ac", on),
        "return": dict.fromkeys("ac", back),
        "verdict": dict.fromkeys("abc", verdict),
    }
    found = {each.host: (each.outcome, each.serves, each.detail) for each in endings_of(results)}
    assert found == {"a": ("reverted", "v1", why), "b": ("untouched", "v1", ""), "c": ("reverted", "v1", "")}


@pytest.mark.parametrize(("outcome", "secrets", "verdict", "following"), [
    ("confirmed", {SETTLED: True}, "done", "make secrets-age"),
    ("confirmed", {SETTLED: True, LEFT: False}, "done, but not settled", "mend what is said above, then the same command"),
    ("reverted", {SETTLED: True}, "not done (1 reverted)", "mend what is said above, then the same command; the release is not to blame, and not bad"),
    ("unreachable", {LEFT: False}, "not done (1 unreachable)", "when prod-1 answers again, the same command: it settles what is open there first"),
])  # fmt: skip
def test_a_run_that_rotated_secrets_says_what_became_of_them(outcome, secrets, verdict, following):
    text = run_report(
        "deploy of shop v1", [Ending("prod-1", outcome, "v1", "health_failed: 503")], rollback=False, secrets=secrets
    )
    lines = text.splitlines()
    assert lines[0] == f"deploy of shop v1: {verdict}"
    assert lines[-1] == f"next: {following}"
    assert lines[-1 - len(secrets) : -1] == list(secrets)
