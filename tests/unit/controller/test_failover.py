# SPDX-License-Identifier: GPL-3.0-or-later
"""A failover is judged before any balancer is told, and done only when every one of them says so."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import failover
from ansible.module_utils.slipway.controller.regions import Region

EU, US = Region("eu", ("a", "b")), Region("us", ("c", "d"))
HOSTS = ["a", "b", "c", "d"]


def asked(host="lb", *, held=(), serving=HOSTS, hosts=HOSTS, **more):
    balancer = {"host": host, "backend": "shop", "socket": "/s", "drain_seconds": 5, "hosts": list(hosts)}
    answer = {"held": list(held), "serving": list(serving), "not_up": []}
    return {"__release_balancer": balancer, **answer, **more}


def silent(host="lb"):
    return {"__release_balancer": asked(host)["__release_balancer"], "unreachable": True, "msg": "timed out"}


def refused_by(host="lb"):
    answer = {
        "failed": True,
        "reason": "balancer_backend_missing",
        "msg": "balancer_backend_missing: expected a backend",
    }
    return {"__release_balancer": asked(host)["__release_balancer"], **answer}


def planned(*results, region="eu", regions=(EU, US), is_back=False, healthy_min="0", readmitted=False):
    return failover.plan(regions, region, results, is_back=is_back, healthy_min=healthy_min, readmitted=readmitted)


def refusal(*results, **options):
    with pytest.raises(Refusal) as caught:
        planned(*results, **options)
    return caught.value


def test_every_balancer_of_the_region_is_told_once():
    by_host = {
        "a": [{"host": "lb", "backend": "shop", "drain_seconds": 5}, {"host": "x", "backend": "shop"}],
        "b": [{"host": "lb", "backend": "shop", "drain_seconds": 9}, "nonsense"],
        "c": {},
    }
    assert failover.balancers_of(by_host) == [
        {"host": "lb", "backend": "shop", "socket": failover.SOCKET, "drain_seconds": 9, "hosts": ["a", "b"]},
        {"host": "x", "backend": "shop", "socket": failover.SOCKET, "drain_seconds": 30, "hosts": ["a"]},
    ]


def test_the_region_goes_out_and_the_others_are_admitted():
    orders, message = planned(asked("lb-1"), asked("lb-2"))
    assert [(order.balancer.host, order.out, order.admitted, order.healthy_min) for order in orders] == [
        ("lb-1", ("a", "b"), ("c", "d"), 1),
        ("lb-2", ("a", "b"), ("c", "d"), 1),
    ]
    assert message == "no requests go to eu any more (a, b) at lb-1 (shop), lb-2 (shop); at least 1 others stay"


def test_on_the_way_back_only_the_region_is_admitted():
    orders, message = planned(asked(held=["a", "b"], serving=["c", "d"]), is_back=True, healthy_min="100%")
    assert [(order.out, order.admitted) for order in orders] == [((), ("a", "b"))]
    assert message == "requests go to eu again (a, b) at lb (shop)"


def test_a_balancer_of_other_regions_is_left_alone():
    orders, _message = planned(asked("lb"), asked("other", hosts=["c", "d"]))
    assert [order.balancer.host for order in orders] == ["lb"]


@pytest.mark.parametrize(
    ("serving", "held", "minimum", "expected"),
    [
        (["a", "b"], [], "0", "at least 1 of 2"),
        (["a", "b", "c"], [], "100%", "at least 2 of 2"),
        (["a", "b", "c"], [], "2", "at least 2 of 2"),
        (["c", "d"], [], "3", "at least 3 of 2"),
    ],
)
def test_too_few_hosts_in_other_regions_are_refused(serving, held, minimum, expected):
    refused = refusal(asked(serving=serving, held=held), healthy_min=minimum)
    assert refused.reason == "capacity_too_low"
    assert expected in refused.expected
    assert "nothing was changed" in refused.found


def test_a_limit_without_the_other_regions_is_told_from_a_lack_of_hosts():
    assert refusal(asked(), regions=(EU,)).remedy == "Give a limit (-l) that has the other regions too."
    assert refusal(asked(serving=["a"])).remedy.startswith("Mend those")


def test_others_that_are_out_may_be_up_once_they_are_admitted():
    orders, _message = planned(asked(serving=["a", "b"], held=["c", "d"]), healthy_min="100%", readmitted=True)
    assert (orders[0].admitted, orders[0].returning) == (("c", "d"), ("c", "d"))


def test_a_region_that_was_taken_out_is_not_let_in_without_a_yes():
    refused = refusal(asked("lb-1", held=["a", "b"], serving=["c", "d"]), asked("lb-2"), region="us")
    assert (refused.reason, refused.found) == (
        "region_readmitted",
        "failed over: eu at lb-1 (shop); nothing was changed anywhere",
    )
    assert "-e failover_region=eu -e failover_back=true" in refused.remedy
    planned(asked(held=["a", "b"], serving=["c", "d"]), region="us", is_back=True)


def test_a_host_that_is_let_in_again_is_named_by_the_plan_and_by_the_report():
    looked = asked(held=["c"], serving=["a", "b", "d"])
    orders, message = planned(looked)
    assert message.endswith("; let in again: c at lb (shop)")
    given = [order.as_dict() for order in orders]
    checked = failover.report("eu", given, [looked], is_back=False, check=True)
    done = failover.report("eu", given, [asked(held=["a", "b"], serving=["c", "d"])], is_back=False, check=False)
    kept = failover.report("eu", given, [asked(held=["a", "b", "c"], serving=["d"])], is_back=False, check=False)
    assert "\nwould be let in again: c at lb (shop)\nnext: " in checked.text
    assert "\nlet in again: c at lb (shop)\nnext: " in done.text
    assert "let in" not in kept.text


def test_a_run_has_every_host_of_every_region_of_its_environment():
    groups, run = {"eu": ["a", "b"], "us": ["c"]}, {"a": "prod", "c": "prod"}
    with pytest.raises(Refusal) as refused:
        failover.require_whole(["eu", "us"], groups, run, {"a": "prod", "b": "prod", "c": "prod"})
    assert (refused.value.reason, "leaves out b of eu; nothing" in refused.value.found) == ("region_incomplete", True)
    failover.require_whole(["eu", "us"], groups, run, {"b": "staging"})


def test_the_same_again_is_no_question_of_capacity():
    orders, _message = planned(asked(serving=[], held=["a", "b"]))
    assert orders[0].out == ("a", "b")


@pytest.mark.parametrize(
    ("results", "options", "reason"),
    [
        ([asked()], {"region": "ap"}, "region_unknown"),
        ([asked()], {"region": ""}, "region_unknown"),
        ([asked()], {"regions": ()}, "region_unknown"),
        ([asked()], {"healthy_min": "half"}, "rollout_invalid"),
        ([], {}, "balancers_missing"),
        ([asked(hosts=["a", "c", "d"])], {}, "balancers_missing"),
        ([asked(), refused_by("lb-2")], {}, "balancer_backend_missing"),
        ([silent("lb-1"), silent("lb-2")], {}, "balancer_unreachable"),
        ([asked()], {"regions": (EU,)}, "capacity_too_low"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_balancer_is_told(results, options, reason):
    assert refusal(*results, **options).reason == reason


def test_a_balancer_that_does_not_answer_holds_up_none_of_the_others():
    orders, _message = planned(silent("lb-1"), asked("lb-2"))
    assert [order.balancer.host for order in orders] == ["lb-1", "lb-2"]


def test_who_is_out_everywhere_is_known_to_a_deployment():
    results = [asked("lb-1", held=["a", "b"]), asked("lb-2", held=["a"])]
    assert failover.held_everywhere(results) == {"a"}
    assert failover.held_everywhere([]) == failover.held_everywhere([{"skipped": True}]) == set()
    with pytest.raises(Refusal) as refused:
        failover.held_everywhere([asked("lb-1"), silent("lb-2")])
    assert (refused.value.reason, refused.value.found[:22]) == ("balancer_unreachable", "lb-2 (shop): no answer")


def test_a_status_knows_who_did_not_answer():
    assert failover.kept_out([asked("lb-1", held=["a", "other"]), silent("lb-2")]) == {
        "lb-1 (shop)": {"hosts": HOSTS, "held": ["a"]},
        "lb-2 (shop)": {"hosts": HOSTS},
    }


RUN = {"run_id": "run-1", "deployed_by": "bob", "release_id": "v2", "seconds_left": 60, "step": "switched"}


def require(**changes):
    given = {"answers": {}, "environments": ["prod"], "balancers": {}, "dead_runs": [], "forced": False, **changes}
    failover.require_possible(
        given["answers"], given["environments"], given["balancers"], given["dead_runs"], forced=given["forced"]
    )


def test_a_run_between_its_switch_and_its_end_is_not_disturbed():
    answers = {"a": {"transaction": RUN}, "b": {}}
    with pytest.raises(Refusal) as refused:
        require(answers=answers)
    assert refused.value.reason == "locked"
    assert "a: run run-1 by bob with v2" in refused.value.found
    assert "-e failover_forced=true" in refused.value.remedy
    require(answers=answers, forced=True)
    require(answers=answers, dead_runs=["run-1"])
    require(answers={"a": {"unreachable": True}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"environments": ["prod", "staging"]}, "environments_mixed"),
        ({"balancers": {"a": [{"host": "lb"}]}}, "balancers_invalid"),
        ({"balancers": {"a": "lb"}}, "balancers_invalid"),
    ],
)
def test_what_is_not_one_environment_with_balancers_is_refused(changes, reason):
    with pytest.raises(Refusal) as refused:
        require(**changes)
    assert refused.value.reason == reason


def ended(*told, is_back=False, check=False, looked=None):
    orders, _message = planned(*(looked or [asked("lb-1"), asked("lb-2")]), is_back=is_back)
    return failover.report("eu", [order.as_dict() for order in orders], told, is_back=is_back, check=check)


AWAY = {"held": ["a", "b"], "serving": ["c", "d"]}


def test_a_failover_is_done_when_every_balancer_says_so():
    report = ended(asked("lb-1", **AWAY), asked("lb-2", **AWAY))
    assert (report.is_as_asked, set(report.outcomes.values())) == (True, {"away"})
    assert report.text.startswith("failover of eu: done\n")


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        (asked("lb-2"), "still sent"),
        (asked("lb-2", held=["a"], serving=["b", "c", "d"]), "still sent"),
        (silent("lb-2"), "unknown"),
        (refused_by("lb-2"), "refused"),
        (None, "unknown"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_it_is_not_done_while_one_balancer_may_send_requests_there(second, outcome, check):
    report = ended(*filter(None, [asked("lb-1", **AWAY), second]), check=check)
    if check and outcome == "still sent":
        assert (report.is_as_asked, report.outcomes["lb-2 (shop)"]) == (True, "would go away")
        return
    assert (report.is_as_asked, report.outcomes) == (False, {"lb-1 (shop)": "away", "lb-2 (shop)": outcome})
    assert "mend lb-2 (shop), then the same command" in report.text
    assert ": done" not in report.text


@pytest.mark.parametrize(
    ("told", "outcome"),
    [
        (asked(), "back"),
        (asked(held=["b"]), "still away"),
        (asked(serving=["a", "c", "d"], not_up=["b"]), "not well"),
        (silent(), "unknown"),
    ],
)
def test_a_region_is_back_when_every_balancer_finds_its_hosts_up(told, outcome):
    report = ended(told, is_back=True, looked=[asked(held=["a", "b"])])
    assert (report.is_as_asked, list(report.outcomes.values())) == (outcome == "back", [outcome])


def test_check_mode_says_what_a_real_run_would_do():
    report = ended(asked(held=["a", "b"]), is_back=True, check=True, looked=[asked(held=["a", "b"])])
    assert (report.is_as_asked, report.outcomes) == (True, {"lb (shop)": "would go back"})
    assert report.text.startswith("return of eu: check mode: nothing was changed")
