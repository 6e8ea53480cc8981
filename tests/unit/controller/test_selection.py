# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release goes where, as the sentences of an operator: the answers of hosts are made from histories."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.selection import (
    Candidate,
    RunGroup,
    choose_release,
    choose_rollback,
    require_reachable,
    require_settled,
)
from ansible.module_utils.slipway.host.history import View

CATALOGUE = [Candidate("v1", 1), Candidate("v3", 3), Candidate("v2", 2)]


def deployed(run, release, *, before=None, status="success", active=None):
    """A record of a deployment; `active` is what the link said afterwards."""
    active = active or (release if status == "success" else before)
    return record(run, "deploy", release, before, status, active, rollback=status not in ("success", "failed"))


def rolled_back(run, release, *, leaving, status="success"):
    active = release if status == "success" else leaving
    return record(run, "rollback", release, leaving, status, active, rollback=True)


def record(run, operation, release, before, status, active, *, rollback):
    return {
        "run_id": run, "operation": operation, "release_id": release, "previous_release_id": before, "status": status,
        "active_release_id": active, "rollback": rollback, "manifest_digest": f"digest of {release}", "reason": "health_failed", "timestamp": f"2026-11-21T00:00:{run[-2:]}Z",
    }  # fmt: skip


def interrupted(run, release, *, before, operation="deploy", step="switched"):
    """An open transaction."""
    return {
        "run_id": run, "operation": operation, "release_id": release, "previous_release_id": before, "step": step,
        "started": f"2026-11-21T00:00:{run[-2:]}Z",
    }  # fmt: skip


def host(*records, transaction=None, here=("v1", "v2", "v3")):
    """The answer of a host with this history, oldest record first."""
    view = View.of(records)
    active = records[-1]["active_release_id"] if records else None
    settled = active
    if transaction is not None:
        active = transaction["release_id"]
        settled = active if transaction["step"] == "confirmed" else transaction["previous_release_id"]
    return {
        "active": active, "settled": settled, "bad": dict(view.bad), "previous": view.previous(settled, here), "runs": records[::-1],
        "transaction": transaction, "releases": [{"release_id": release, "was_active": release in view.activations} for release in here],
    }  # fmt: skip


V1 = deployed("run-01", "v1")
V2 = deployed("run-02", "v2", before="v1")
V3 = deployed("run-03", "v3", before="v2")
V2_ILL = deployed("run-02", "v2", before="v1", status="rolled_back")
V3_ILL = deployed("run-03", "v3", before="v2", status="rolled_back")


def refusal(call, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **options)
    return caught.value


# which release to deploy


@pytest.mark.parametrize(
    ("answers", "requested", "retry", "expected", "sentence"),
    [
        pytest.param({}, "", False, "v3", "deploying v3", id="the newest by its sequence, not by its name or place"),
        pytest.param({"a": host()}, "", False, "v3", "deploying v3", id="the newest on an empty host"),
        pytest.param({"a": host(V1)}, "v2", False, "v2", "deploying v2", id="the requested one"),
        pytest.param({"a": host(V1, V2, V3)}, "v1", False, "v1", "deploying v1", id="an older one when it is requested"),
        pytest.param(
            {"a": host(V1, V2), "b": host(V1, V2, V3_ILL), "c": host(V1, V2, V3_ILL)}, "", False, "v2",
            "deploying v2; v3 is skipped: bad on b, c", id="not the one that is bad on any host",
        ),
        pytest.param({"a": host(V1, V2, V3_ILL)}, "", True, "v3", "deploying v3", id="the bad one when it is to be tried again"),
        pytest.param({"a": host(V1, V2, V3_ILL)}, "v3", True, "v3", "deploying v3", id="the requested bad one with retry"),
        pytest.param({"a": host(deployed("run-01", "v9"))}, "", False, "v3", "deploying v3", id="also over one that nobody knows"),
    ],
)  # fmt: skip
def test_deploy_chooses(answers, requested, retry, expected, sentence):
    choice = choose_release(CATALOGUE, answers, requested=requested, retry=retry)
    assert (choice.release_id, choice.described()) == (expected, sentence)


@pytest.mark.parametrize(
    ("candidates", "answers", "requested", "reason", "found"),
    [
        pytest.param(CATALOGUE, {}, "v9", "release_unknown", "the newest are v3, v2, v1", id="an unknown release"),
        pytest.param([], {}, "v9", "release_unknown", "no release at all", id="an unknown release in an empty catalogue"),
        pytest.param([], {}, "", "no_release", "no release at all", id="nothing to choose from"),
        pytest.param(
            CATALOGUE, {"a": host(V1, V2, V3_ILL), "b": host(V1)}, "v3", "release_bad", "v3 is bad on a", id="a requested bad release"
        ),
        pytest.param(
            CATALOGUE[1:2], {"a": host(V1, V2, V3_ILL)}, "", "no_release", "v3 is bad on a", id="nothing but bad releases"
        ),
        pytest.param(
            CATALOGUE[:1], {"b": host(V1, V2), "a": host(V1)}, "", None, None, id="what the catalogue lost is no reason"
        ),
        pytest.param(
            CATALOGUE, {"b": host(V1, V2, V3), "a": host(V1, V2, V3_ILL)}, "", "older_than_active",
            "v2 is the newest usable one, but b serves v3", id="a silent step back",
        ),
    ],
)  # fmt: skip
def test_deploy_refuses(candidates, answers, requested, reason, found):
    if reason is None:
        assert choose_release(candidates, answers, requested=requested, retry=False).release_id == "v1"
        return
    caught = refusal(choose_release, candidates, answers, requested=requested, retry=False)
    assert (caught.reason, caught.found) == (reason, found)


def test_a_host_that_does_not_answer_stops_everything():
    require_reachable([], next_command="none")
    caught = refusal(require_reachable, ["b", "a"], next_command="mend it")
    assert (caught.reason, caught.remedy) == ("host_unreachable", "mend it")
    assert caught.found == "no answer from a, b; nothing was changed anywhere"


# who goes back to what


@pytest.mark.parametrize(
    ("answers", "limited", "targets", "takes_back", "said"),
    [
        pytest.param(
            {"a": host(V1, V2), "b": host(V1, V2)}, False, {"a": "v1", "b": "v1"}, {"a": "run-02", "b": "run-02"},
            "taking back run run-02 on a, b: v2 -> v1", id="the newest run, where it ran",
        ),
        pytest.param(
            {"staging": host(V1, V2, V3), "prod": host(V1, V2)}, False, {"staging": "v2"}, {"staging": "run-03"},
            "taking back run run-03 on staging: v3 -> v2", id="not the hosts of an older run",
        ),
        pytest.param(
            {"staging": host(V1, V2, V3), "prod": host(V1, V2, V3)}, True, {"staging": "v2", "prod": "v2"},
            {"staging": "run-03", "prod": "run-03"}, "taking back run run-03 on prod, staging: v3 -> v2", id="the hosts of the limit",
        ),
        pytest.param(
            {"a": host(V1, V2), "b": host(V1, deployed("run-03", "v3", before="v1"))}, True, {"a": "v1", "b": "v1"},
            {"a": "run-02", "b": "run-03"}, "taking back run run-02, run-03 on a, b: v2, v3 -> v1",
            id="within a limit each host's own newest run",
        ),
        pytest.param(
            {"a": host(V1, V2, V3_ILL)}, True, {}, {}, None, id="nothing where the newest run went back by itself",
        ),
        pytest.param(
            {"a": host(V1, V2, V3), "b": host(V1, V2, V3_ILL)}, False, {"a": "v2"}, {"a": "run-03"},
            "taking back run run-03 on a: v3 -> v2", id="only where the run still stands",
        ),
        pytest.param(
            {"a": host(V1, V2, deployed("run-03", "v3", before="v2", status="failed"))}, False, {"a": "v1"}, {"a": "run-02"},
            "taking back run run-02 on a: v2 -> v1", id="past a run that never switched",
        ),
        pytest.param(
            {"a": host(V1, V2, deployed("run-03", "v3", before="v2", status="failed", active="v3"))}, False, {"a": "v2"},
            {"a": "run-03"}, "taking back run run-03 on a: v3 -> v2", id="a run that had no way back before",
        ),
        pytest.param(
            {"a": host(V1, V2, V3, rolled_back("run-04", "v2", leaving="v3", status="rolled_back"))}, False, {"a": "v1"},
            {"a": "run-03"}, "taking back run run-03 on a: v3 -> v1", id="past a target of a rollback that was ill",
        ),
        pytest.param(
            {"a": host(V1, V2, V3, rolled_back("run-04", "v2", leaving="v3", status="interrupted"))}, False, {"a": "v2"},
            {"a": "run-03"}, "taking back run run-03 on a: v3 -> v2", id="again after a rollback that was interrupted and recovered",
        ),
        pytest.param(
            {"a": host(V1, V2, V3, transaction=interrupted("run-04", "v2", before="v3", operation="rollback"))}, False, {"a": "v2"},
            {"a": "run-03"}, "taking back run run-03 on a: v3 -> v2", id="again after a rollback that is still open",
        ),
        pytest.param(
            {"a": host(V1, V2, transaction=interrupted("run-03", "v3", before="v2", step="confirmed"))}, False, {"a": "v2"},
            {"a": "run-03"}, None, id="a run whose confirmation only has to be written down",
        ),
    ],
)  # fmt: skip
def test_rollback_without_a_release_takes_back(answers, limited, targets, takes_back, said):
    rollback = choose_rollback(answers, requested="", limited=limited)
    assert (dict(rollback.targets), dict(rollback.takes_back)) == (targets, takes_back)
    assert said in (None, rollback.message)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param((V1, V2, rolled_back("run-03", "v1", leaving="v2")), id="by an operator"),
        pytest.param((V1, V2_ILL), id="by itself"),
        pytest.param((V1, deployed("run-02", "v2", before="v1", status="interrupted")), id="by recovery"),
    ],
)
@pytest.mark.parametrize("limited", [False, True])
def test_a_run_that_was_taken_back_is_named_and_nothing_happens(history, limited):
    rollback = choose_rollback({"a": host(*history)}, requested="", limited=limited)
    assert (dict(rollback.targets), list(rollback.recover)) == ({}, [])
    assert rollback.message == (
        "run run-02 (v2, 2026-11-21T00:00:02Z) was already taken back on a: nothing to do. To go further back, give -e release_id=…"
    )


def undo(answers, requested="v2", *, limited=False, group=None):
    rollback = choose_rollback(answers, requested=requested, limited=limited, undone=True, group=group)
    return dict(rollback.targets), rollback.message


def test_a_release_is_taken_back_by_its_name_where_its_run_is_the_newest():
    answers = {"a": host(V1, V2), "b": host(V1)}
    assert undo(answers) == ({"a": "v1"}, "taking back run run-02 on a: v2 -> v1")
    assert undo({"a": host(V1, V2)}, limited=True)[0] == {"a": "v1"}


def test_what_came_by_another_run_is_not_taken_back():
    said = "the newest run is run-02 (v2, 2026-11-21T00:00:02Z), which did not bring v3: nothing to do"
    assert undo({"a": host(V1, V2)}, "v3") == ({}, said)
    assert undo({"a": host(V1, V2), "b": host(V1)}, "v1", limited=True) == ({}, said.replace("v3", "v1"))
    assert undo({"a": host()}) == ({}, "nothing was deployed yet, so v2 was not: nothing to do")
    assert "was already taken back on a: nothing to do" in undo({"a": host(V1, V2_ILL)})[1]


def test_only_a_run_of_the_group_is_taken_back():
    """A workflow that is launched again with a release that is there for weeks has not brought it."""
    answers = {"a": host(V1, V2), "b": host(V1)}
    assert undo(answers, group=RunGroup("77", frozenset({"run-02", "run-09"})))[0] == {"a": "v1"}
    said = "the newest run is run-02 (v2, 2026-11-21T00:00:02Z), which is no run of group 77: nothing to do"
    assert undo(answers, group=RunGroup("77", frozenset({"run-09"}))) == ({}, said)
    assert undo({"a": host(V1, V2)}, group=RunGroup("77", frozenset()), limited=True) == ({}, said)


def test_what_is_taken_back_by_its_name_has_one():
    with pytest.raises(Refusal) as caught:
        undo({"a": host(V1, V2)}, "")
    assert caught.value.reason == "release_id_missing"


def test_a_run_that_did_not_end_is_settled():
    answers = {"a": host(V1, transaction=interrupted("run-02", "v2", before="v1")), "b": host(V1)}
    rollback = choose_rollback(answers, requested="", limited=False)
    assert (dict(rollback.targets), rollback.recover) == ({}, ["a"])
    assert rollback.message == "run run-02 (v2) did not end on a: going back there"


def test_a_run_that_ended_on_some_hosts_only_is_taken_back_on_all_of_them():
    answers = {"a": host(V1, transaction=interrupted("run-02", "v2", before="v1")), "b": host(V1, V2)}
    rollback = choose_rollback(answers, requested="", limited=False)
    assert (dict(rollback.targets), rollback.recover) == ({"b": "v1"}, ["a"])


@pytest.mark.parametrize(
    ("answers", "reason", "found"),
    [
        pytest.param({"b": host(), "a": host()}, "nothing_deployed", "none on a, b", id="nothing was ever deployed"),
        pytest.param({}, "nothing_deployed", "none on any host", id="no host"),
        pytest.param({"a": host(V1)}, "no_previous", "\nhost  active  previous\na     v1      -", id="nothing before"),
        pytest.param(
            {"a": host(V1, V2, here=("v2",))}, "no_previous", "\nhost  active  previous\na     v2      -", id="pruned"
        ),
        pytest.param(
            {"a": host(V1, deployed("run-03", "v3", before="v1")), "b": host(V2, V3)}, "previous_differs",
            "\nhost  active  previous\na     v3      v1\nb     v3      v2", id="hosts that differ",
        ),
    ],
)  # fmt: skip
def test_rollback_refuses_with_what_is_there(answers, reason, found):
    caught = refusal(choose_rollback, answers, requested="", limited=False)
    assert (caught.reason, caught.found) == (reason, found)


def test_hosts_that_differ_are_asked_for_a_release():
    answers = {"a": host(V1, deployed("run-03", "v3", before="v1")), "b": host(V2, V3)}
    assert "-e release_id=" in refusal(choose_rollback, answers, requested="", limited=True).remedy


# with a release


def test_every_host_goes_to_the_release_that_is_asked_for():
    answers = {"a": host(V1, V2, V3), "b": host(V1, V2), "c": host(V1)}
    rollback = choose_rollback(answers, requested="v1", limited=False)
    assert (dict(rollback.targets), dict(rollback.takes_back)) == (
        {"a": "v1", "b": "v1"}, {"a": "run-03", "b": "run-02"},
    )  # fmt: skip
    assert rollback.message == "going back to v1 on a, b"


def test_a_release_that_is_active_everywhere_is_said_so():
    rollback = choose_rollback({"b": host(V1), "a": host(V1)}, requested="v1", limited=True)
    assert (rollback.message, rollback.targets, rollback.recover) == (
        "v1 is already active on a, b: nothing to do.",
        {},
        [],
    )


def test_a_release_that_will_be_active_once_recovered_only_needs_that():
    answers = {"a": host(V1, transaction=interrupted("run-02", "v2", before="v1"))}
    rollback = choose_rollback(answers, requested="v1", limited=True)
    assert (rollback.targets, rollback.recover) == ({}, ["a"])


def test_a_release_that_was_only_staged_is_no_way_back():
    caught = refusal(choose_rollback, {"a": host(V1)}, requested="v2", limited=True)
    assert (caught.reason, caught.found) == ("release_not_here", "a has v1")


@pytest.mark.parametrize(
    ("answers", "reason", "found"),
    [
        ({"a": host(V1, V2), "b": host(V1, here=("v1", "v3"))}, "release_not_here", "b has v1"),
        ({"a": host(here=())}, "release_not_here", "a has none"),
        (
            {"a": host(V1, V2, rolled_back("run-03", "v1", leaving="v2")), "b": host(V1, V2)},
            "release_bad",
            "v2 is bad on a",
        ),
    ],
)
def test_a_release_that_is_gone_or_bad_is_refused(answers, reason, found):
    caught = refusal(choose_rollback, answers, requested="v2", limited=False)
    assert (caught.reason, caught.found) == (reason, found)


def waiting(run, *, step="healthy", seconds_left=300):
    return {**interrupted(run, "v2", before="v1", step=step), "deployed_by": "anna", "seconds_left": seconds_left}


def test_a_run_that_waits_for_its_confirmation_stops_another_before_it_stages():
    caught = refusal(
        require_settled, {"a": {"transaction": None}, "b": {"transaction": waiting("run-07")}}, set().__contains__
    )
    assert caught.reason == "locked"
    assert caught.found.startswith("b: run run-07 by anna with v2, which goes back by itself in 300 s")
    assert "playbooks/promote.yml" in caught.remedy


@pytest.mark.parametrize(
    "transaction",
    [
        waiting("run-07"),
        waiting("run-08", seconds_left=0),
        waiting("run-08", seconds_left=None),
        waiting("run-08", step="confirmed"),
        waiting("run-08", step="reverted"),
    ],
    ids=["its controller is dead", "overdue", "of before the dead-man", "confirmed", "gone back"],
)
def test_what_the_next_exchange_settles_stops_nobody(transaction):
    require_settled({"a": {"transaction": transaction}}, {"run-07"}.__contains__)
    require_settled({"a": {}}, {"run-07"}.__contains__)


@pytest.mark.parametrize("status", ["success", "failed"])
def test_what_brought_other_credentials_alone_is_not_what_is_taken_back(status):
    turned = deployed("run-03", "v2", before="v2", status=status)
    rollback = choose_rollback(
        {"a": host(V1, deployed("run-02", "v2", before="v1"), turned)}, requested="", limited=False
    )
    assert (rollback.targets, rollback.takes_back) == ({"a": "v1"}, {"a": "run-02"})


def test_one_that_is_still_open_is_settled_all_the_same():
    opened = interrupted("run-03", "v2", before="v2")
    answers = {"a": host(V1, deployed("run-02", "v2", before="v1"), transaction=opened)}
    assert choose_rollback(answers, requested="", limited=False).recover == ["a"]
