# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a rollout goes on: every way in which a wave can end, and what becomes of the hosts."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.controller.regions import Region
from ansible.module_utils.slipway.controller.rollout import Pace, Settings, plan
from ansible.module_utils.slipway.controller.wave_verdict import judge

NOW = 1_800_000_000
WELL = {"outcome": "success", "attempts": 1, "detail": "well"}
ILL = {"outcome": "failure", "attempts": 3, "detail": "coughing"}
UNSURE = {"outcome": "inconclusive", "attempts": 3, "detail": "too little traffic"}
NOT_ASKED = {"outcome": "inconclusive", "attempts": 0, "detail": "no probe is declared"}
SWITCHED = {"outcome": "switched", "health": WELL}
UNCHANGED = {"outcome": "unchanged", "health": WELL}
WENT_BACK = {"outcome": "reverted", "failed": True, "msg": "health_failed: coughing", "health": ILL}
REFUSED = {"failed": True, "msg": "locked: held by bob"}
LOST = {"unreachable": True, "msg": "timed out"}
BACK = {"outcome": "reverted", "msg": "went back"}
NOTHING_TO_DO = {"outcome": "unchanged", "msg": "has nothing of this run to take back"}
SKIPPED = {"skipped": True}
NAMES = ("a", "b", "c", "d", "e")


def rollout(**settings):
    answers = {name: {"active": "v1", "settled": "v1", "health": WELL} for name in NAMES}
    return plan(Settings.parse({"waves": ["1", "2", "2"], **settings}), Pace(60, 10, 10), answers)


def judged(wave, settings=None, *, check=False, **stages):
    return judge(rollout(**(settings or {})), stages, wave=wave, now=NOW, check=check)


def switched(*names):
    return dict.fromkeys(names, SWITCHED)


def outcomes(verdict):
    return {host: found.outcome for host, found in verdict.found.items()}


def test_a_wave_that_is_well_is_followed_by_the_next():
    verdict = judged(1, activation=switched("a"))
    assert (verdict.decision, verdict.message, outcomes(verdict)) == ("go_on", "", {"a": "switched"})


FAILURES = {
    "a hook before its confirmation failed": (
        {"activation": SWITCHED, "ready": {**WENT_BACK, "msg": "hook_failed: x"}, "reversion": NOTHING_TO_DO}, "failed", "hook_failed: x"
    ),
    "it was lost before its confirmation": ({"activation": SWITCHED, "ready": LOST}, "unreachable", "no answer"),
    "it went back by itself": ({"activation": WENT_BACK, "reversion": NOTHING_TO_DO}, "failed", "health_failed: coughing"),
    "it refused": ({"activation": REFUSED, "reversion": NOTHING_TO_DO}, "failed", "locked"),
    "it was lost": ({"activation": LOST}, "unreachable", "no answer"),
    "it does not answer from outside": (
        {"activation": SWITCHED, "smoke": {"failed": True, "msg": "smoke_test_failed: x"}, "reversion": BACK}, "failed", "smoke_test_failed"
    ),
    "something before the switch failed": ({"reversion": NOTHING_TO_DO}, "failed", "nothing of this run"),
    "something after the switch failed": ({"activation": SWITCHED, "reversion": BACK}, "failed", "went back"),
    "it fell ill in the soak": (
        {"activation": SWITCHED, "soak": {"failed": True, "health": ILL}, "reversion": BACK}, "failed", "health_failed: coughing"
    ),
    "it is worse than the others": (
        {"activation": SWITCHED, "analysis": {"outcome": "failure", "detail": "errors: 2 beside 1"}}, "failed", "analysis_failed: errors: 2 beside 1"
    ),
    "it was lost in the soak": ({"activation": SWITCHED, "soak": LOST}, "unreachable", "no answer"),
    "it does not answer from outside after the soak": (
        {"activation": SWITCHED, "soak": {"health": WELL}, "soak_smoke": {"failed": True, "msg": "smoke_test_failed"}}, "failed", "smoke"
    ),
    "it is gone at the end": ({"activation": SWITCHED, "contact": LOST}, "unreachable", "no answer"),
    "it is ill at the end": ({"activation": SWITCHED, "contact": {"health": ILL}}, "failed", "health_failed"),
    "it refuses at the end": ({"activation": SWITCHED, "contact": {"reason": "x", "msg": "x: no"}}, "failed", "x: no"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_host_that_fails_ends_the_rollout(name):
    stages, outcome, detail = FAILURES[name]
    told = {stage: {"b": answer} for stage, answer in stages.items()}
    told["activation"] = {**switched("a", "c"), **told.get("activation", {})}
    verdict = judged(2, **told)
    assert verdict.decision == "stop"
    assert verdict.message == f"wave 2: b {outcome}; 0 tolerated"
    assert verdict.found["b"].outcome == outcome
    assert detail in verdict.found["b"].detail


@pytest.mark.parametrize(("failed", "decision"), [(["b"], "go_on"), (["b", "c"], "stop")])
def test_as_many_failures_as_are_tolerated_do_not_end_it(failed, decision):
    activation = {**switched("a", "b", "c"), **dict.fromkeys(failed, WENT_BACK)}
    verdict = judged(2, {"failures_max": 1}, activation=activation)
    assert verdict.decision == decision
    assert "b failed" in verdict.message


def test_failures_are_counted_for_each_wave():
    activation = {**switched("a", "b", "c", "d", "e"), "c": WENT_BACK, "e": LOST}
    assert judged(3, {"failures_max": 1}, activation=activation).decision == "go_on"
    assert judged(3, {"failures_max": 1}, activation={**activation, "d": REFUSED}).decision == "stop"


V2 = {**SWITCHED, "release_id": "v2"}
BACK_BY_ITSELF = {
    "restarted in the soak": ({"soak": {"active": "v1", "health": WELL}}, 1, "went back by itself: v1 is active"),
    "restarted before the end of a rollout that soaks": ({"contact": {"active": None, "health": NOT_ASKED}}, 0, "nothing is active"),
    "restarted before the end": ({"contact": {"rc": 0, "stdout": "releases/v1\r\n"}}, 0, "v1 is active"),
    "nothing is left of a first deployment": ({"contact": {"rc": 0, "stdout": ""}}, 0, "nothing is active"),
}  # fmt: skip


@pytest.mark.parametrize("name", BACK_BY_ITSELF)
def test_a_host_that_went_back_by_itself_and_is_well_ends_the_rollout_all_the_same(name):
    stages, wave, detail = BACK_BY_ITSELF[name]
    told = {stage: {"a": answer} for stage, answer in stages.items()}
    activation = {"a": V2} if wave == 1 else dict.fromkeys(NAMES, V2)
    verdict = judged(wave, {"soak_seconds": 60}, activation=activation, **told)
    assert (verdict.decision, verdict.message) == ("stop", "wave 1: a failed; 0 tolerated")
    assert detail in verdict.found["a"].detail


@pytest.mark.parametrize("contact", [{"active": "v2", "health": WELL}, {"rc": 0, "stdout": "releases/v2\r\n"}])
def test_a_host_that_still_serves_the_release_is_kept(contact):
    assert judged(0, activation=dict.fromkeys(NAMES, V2), contact=dict.fromkeys(NAMES, contact)).keep == NAMES


def test_in_check_mode_hosts_may_serve_what_they_did():
    contact = {"active": "v1", "health": WELL}
    assert judged(0, check=True, activation=dict.fromkeys(NAMES, V2), contact={"a": contact}).decision == "go_on"


def test_a_canary_that_fails_as_a_whole_is_not_tolerated():
    assert judged(1, {"failures_max": 3}, activation={"a": WENT_BACK}).decision == "stop"
    assert judged(1, {"failures_max": 3, "waves": ["2"]}, activation={**switched("b"), "a": LOST}).decision == "go_on"


def test_a_failure_of_an_earlier_wave_that_shows_later_counts_too():
    stages = {"activation": switched("a", "b", "c"), "contact": {"a": LOST}}
    verdict = judged(0, **stages)
    assert (verdict.decision, verdict.message) == ("stop", "wave 1: a unreachable; 0 tolerated")


def test_too_few_hosts_left_for_the_next_wave_end_it():
    """Planned with all five well: waves of 1, 2, 2 leave three in service; the failed one does not count any more."""
    activation = {**switched("a", "b"), "c": WENT_BACK}
    settings = {"failures_max": 1, "healthy_min": "3"}
    assert judged(2, settings, activation=switched("a", "b", "c")).decision == "go_on"
    verdict = judged(2, settings, activation=activation)
    assert (verdict.decision, verdict.message) == ("stop", "wave 3 would leave 2 hosts in service, and 3 have to stay")


# the soak


def test_a_wave_soaks_before_the_next_but_the_last_does_not():
    soaking = {"soak_seconds": 60}
    verdict = judged(1, soaking, activation=switched("a"))
    assert (verdict.decision, verdict.message) == ("soak", "wave 1 soaks for 60 s")
    assert judged(1, soaking, activation=switched("a"), soak={"a": {"health": WELL}}).decision == "go_on"
    assert judged(3, soaking, activation=switched(*NAMES)).decision == "go_on"


@pytest.mark.parametrize("settings", [{"soak_seconds": 60}, {"pause_after": ["canary"]}])
def test_where_nothing_was_switched_nothing_is_waited_for(settings):
    assert judged(1, settings, activation={"a": UNCHANGED}).decision == "go_on"
    assert judged(1, settings, check=True, activation=switched("a")).decision == "go_on"


def test_who_is_compared_with_whom_follows_from_the_waves():
    settings = rollout(soak_seconds=60)
    said = judge(settings, {"activation": {**switched("a", "b"), "c": REFUSED}}, wave=2, now=NOW).as_dict(settings, 2)
    assert (said["switched"], said["waiting"]) == (["a", "b"], ["d", "e"])


def test_a_canary_that_is_worse_than_the_others_takes_everything_back():
    worse = {"outcome": "failure", "detail": "errors: 2 beside 1"}
    verdict = judged(1, activation=switched("a"), analysis={"a": worse})
    assert (verdict.decision, verdict.message) == ("stop", "wave 1: a failed; 0 tolerated")
    assert judged(0, activation=switched("a"), analysis={"a": worse}).take_back == ("a",)


# the gate


@pytest.mark.parametrize(
    "stages",
    [
        {"activation": {"a": {**SWITCHED, "health": UNSURE}}},
        {"activation": switched("a"), "smoke": {"a": {"outcome": "inconclusive", "attempts": 2, "detail": "too little traffic"}}},
        {"activation": switched("a"), "soak": {"a": {"health": UNSURE}}},
        {"activation": switched("a"), "analysis": {"a": {"outcome": "inconclusive", "detail": "too little traffic"}}},
        {"activation": switched("a"), "analysis": {"a": {"failed": False, "reason": "x", "msg": "too little traffic"}}},
        {"activation": switched("a"), "analysis": {"a": {"failed": True, "msg": "too little traffic"}}},
    ],
    ids=["health", "from outside", "soak", "beside the others", "not to be compared", "a comparison that failed"],
)  # fmt: skip
def test_who_cannot_tell_yet_holds_the_rollout(stages):
    verdict = judged(1, **stages)
    assert (verdict.decision, verdict.message) == ("pause", "wave 1: a cannot tell yet: too little traffic")


@pytest.mark.parametrize(
    "stages",
    [
        {"activation": {"a": {**SWITCHED, "health": NOT_ASKED}}},
        {"activation": switched("a"), "smoke": {"a": {"outcome": "inconclusive", "attempts": 0, "passed": None}}},
        {"activation": {"a": {**SWITCHED, "health": UNSURE}}, "soak": {"a": {"health": WELL}}},
        {"activation": {"a": {**UNCHANGED, "health": UNSURE}}},
        {"activation": switched("a"), "analysis": {"a": {"outcome": "success", "detail": "3 measurements"}}},
        {"activation": {"a": UNCHANGED}, "analysis": {"a": {"outcome": "failure", "detail": "of another host"}}},
        {"activation": switched("a"), "analysis": {"a": SKIPPED}},
    ],
    ids=[
        "no probe", "no smoke test", "well after the soak", "nothing was switched", "as good as the others", "not switched", "not compared",
    ],
)  # fmt: skip
def test_what_was_not_judged_or_is_known_meanwhile_holds_nothing(stages):
    assert judged(1, **stages).decision == "go_on"


def test_the_operator_may_look_first():
    verdict = judged(1, {"pause_after": ["canary"]}, activation=switched("a"))
    assert (verdict.decision, verdict.message) == ("pause", "wave 1: release_pause_after")
    assert judged(2, {"pause_after": ["canary"]}, activation=switched("a", "b", "c")).decision == "go_on"


@pytest.mark.parametrize(
    ("gate", "decision"),
    [
        ({"decision": "promoted", "msg": "promoted: by anna"}, "go_on"),
        ({"decision": "aborted", "msg": "aborted: by anna"}, "stop"),
        ({"decision": "expired", "msg": "expired: nobody has said how to go on"}, "stop"),
        ({"failed": True, "msg": "controller_memory_unusable"}, "stop"),
        (SKIPPED, "pause"),
    ],
)
def test_what_was_decided_at_the_gate_counts_for_its_wave_and_at_the_end(gate, decision):
    stages = {"activation": switched("a"), "gate": {"a": gate}}
    verdict = judged(1, {"pause_after": ["canary"]}, **stages)
    assert verdict.decision == decision
    end = judged(0, {"pause_after": ["canary"]}, **stages)
    assert end.decision == ("stop" if decision == "stop" else "go_on")
    assert end.take_back == (("a",) if decision == "stop" else ())
    assert gate.get("msg", "") in verdict.message or decision == "go_on"


def test_a_verdict_that_ended_the_waves_is_kept_at_the_end():
    verdict = judged(0, activation=switched("a"), verdict={"a": {"decision": "stop", "msg": "no memory"}})
    assert (verdict.decision, verdict.message, verdict.take_back) == ("stop", "no memory", ("a",))


# who is renewed


def test_the_hosts_of_a_wave_share_the_renewal_of_all_that_wait():
    verdict = judged(2, {"waves": ["2", "2", "1"]}, activation={**switched(*"abcd"), "b": UNCHANGED})
    assert verdict.renewals == {"c": ["c", "a"], "d": ["d"]}
    verdict = judged(3, {"waves": ["2", "2", "1"], "failures_max": 1}, activation={**switched(*NAMES), "e": WENT_BACK})
    assert verdict.renewals == {"e": ["a", "b", "c", "d"]}, "one that failed still does its share"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"outcome": "renewed", "seconds_left": 60}, "switched"),
        ({"reason": "nothing_to_renew", "msg": "nothing_to_renew", "failed": False}, "failed"),
        (LOST, "unreachable"),
        (SKIPPED, "switched"),
    ],
)
def test_a_host_that_cannot_be_renewed_is_one_that_failed(answer, outcome):
    renewal = {
        "b": {
            "results": [
                {"__release_host": "b", "outcome": "renewed", "seconds_left": 9},
                {"__release_host": "a", **answer},
            ]
        }
    }
    verdict = judged(2, activation=switched("a", "b", "c"), renewal=renewal)
    assert verdict.found["a"].outcome == outcome
    assert verdict.decision == ("go_on" if outcome == "switched" else "stop")


def test_hosts_are_told_to_take_on_all_of_their_work_after_the_canary():
    with_share = {"canary_share": "10%"}
    for wave, settings, renews in [(1, with_share, True), (2, with_share, False), (1, {}, False)]:
        planned = rollout(**settings)
        activation = switched(*NAMES[: 1 if wave == 1 else 3])
        assert judge(planned, {"activation": activation}, wave=wave, now=NOW).as_dict(planned, wave)["renews"] is renews
    planned = rollout(pause_after=["canary"])
    stages = {"activation": switched("a"), "gate": {"a": {"decision": "promoted"}}}
    promoted = judge(planned, stages, wave=1, now=NOW).as_dict(planned, 1)
    assert (promoted["renews"], promoted["confirm_within_seconds"]) == (True, planned.after_gate(1))
    held = judge(planned, {"activation": switched("a")}, wave=1, now=NOW).as_dict(planned, 1)
    assert (held["renews"], held["confirm_within_seconds"]) == (False, planned.in_pause(1))


# the end


def test_at_the_end_all_that_is_well_is_kept_and_what_failed_goes_back_alone():
    activation = {**switched("a", "b", "c"), "d": LOST, "e": UNCHANGED}
    verdict = judged(0, {"failures_max": 1}, activation=activation)
    assert (verdict.decision, verdict.keep, verdict.take_back) == ("go_on", ("a", "b", "c"), ("d",))
    assert verdict.message == "tolerated: d unreachable"


def test_at_the_end_of_a_failed_rollout_everything_that_is_open_goes_back():
    activation = {**switched("a", "b"), "c": WENT_BACK}
    verdict = judged(0, activation=activation, reversion={"c": NOTHING_TO_DO})
    assert (verdict.keep, verdict.take_back) == ((), ("a", "b"))
    verdict = judged(0, activation=switched("a", "b", "c"), reversion={"b": LOST, "c": BACK})
    assert verdict.take_back == ("a", "b"), "one that did not hear it is told again"


def test_when_a_lost_host_goes_back_by_itself_is_known_from_when_it_was_first_judged():
    planned = rollout()
    first = judge(planned, {"activation": {"a": LOST}}, wave=1, now=NOW)
    later = judge(
        planned, {"activation": {"a": LOST}, "verdict": {"a": first.as_dict(planned, 1)}}, wave=0, now=NOW + 500
    )
    assert first.until == later.until
    assert set(first.until) == {"a"}
    renewal = {"a": {"results": [{"__release_host": "a", "outcome": "renewed", "seconds_left": 9999}]}}
    renewed = judge(planned, {"activation": switched("a"), "renewal": renewal}, wave=1, now=NOW)
    assert renewed.until["a"] > first.until["a"]
    assert judged(1, activation={"a": WENT_BACK}, reversion={"a": NOTHING_TO_DO}).until == {}


TURNED = {**V2, "generation": "89abcdef01234567"}


@pytest.mark.parametrize(
    "contact",
    [
        {"active": "v2", "health": WELL, "credentials": {"generation": "0123456789abcdef"}},
        {"active": "v2", "health": WELL, "credentials": None},
        {"rc": 0, "stdout": "releases/v2\r\n0123456789abcdef\r\n"},
        {"rc": 0, "stdout": "releases/v2\r\n"},
    ],
)
def test_a_host_that_is_back_on_other_credentials_has_failed(contact):
    verdict = judged(0, activation=dict.fromkeys(NAMES, TURNED), contact=dict.fromkeys(NAMES, contact))
    assert verdict.keep == ()
    assert verdict.found["a"].detail == "went back by itself: v2 is active with the credentials of before"


def test_a_host_that_still_has_its_credentials_is_kept():
    contact = {"rc": 0, "stdout": "releases/v2\r\n89abcdef01234567\r\n"}
    verdict = judged(0, activation=dict.fromkeys(NAMES, TURNED), contact=dict.fromkeys(NAMES, contact))
    assert verdict.keep == NAMES


def in_regions(wave, *, waves=("1",), healthy_min="0", failures_max=0, **stages):
    answers = {name: {"active": "v1", "settled": "v1", "health": WELL} for name in NAMES}
    settings = Settings.parse({"waves": list(waves), "healthy_min": healthy_min, "failures_max": failures_max})
    parts = (Region("eu", ("a", "b")), Region("us", ("c", "d", "e")))
    return judge(plan(settings, Pace(60, 10, 10), answers, parts), stages, wave=wave, now=NOW)


def test_a_region_that_fails_stops_the_next_and_takes_back_all_that_was_switched():
    ill = {"b": WENT_BACK}
    verdict = in_regions(2, activation={**switched("a"), **ill}, reversion={"b": NOTHING_TO_DO})
    assert (verdict.decision, verdict.message) == ("stop", "wave 2 (eu): b failed; 0 tolerated")
    ended = in_regions(0, activation={**switched("a"), **ill}, reversion={"b": NOTHING_TO_DO})
    assert (ended.decision, ended.keep, ended.take_back) == ("stop", (), ("a",))


def test_a_region_after_the_first_that_fails_takes_back_the_first_too():
    verdict = in_regions(0, activation={**switched("a", "b"), "c": LOST})
    assert (verdict.decision, verdict.take_back) == ("stop", ("a", "b", "c"))
    assert verdict.message == "wave 3 (us): c unreachable; 0 tolerated"


def test_a_region_of_which_nothing_is_well_stops_the_next_whatever_is_tolerated():
    ill = dict.fromkeys(("c", "d", "e"), WENT_BACK)
    back = dict.fromkeys(("c", "d", "e"), NOTHING_TO_DO)
    verdict = in_regions(0, failures_max=1, activation={**switched("a", "b"), **ill}, reversion=back)
    assert verdict.decision == "stop"
    assert verdict.message == "region us: c failed, d failed, e failed; nothing of the region is well"
    some = {**switched("a", "b", "c"), "d": WENT_BACK, "e": WENT_BACK}
    tolerated = in_regions(0, failures_max=1, activation=some, reversion=dict.fromkeys(("d", "e"), NOTHING_TO_DO))
    assert (tolerated.decision, tolerated.keep) == ("go_on", ("a", "b", "c"))


def test_a_host_that_failed_counts_against_the_floor_of_its_region():
    stages = {"activation": {**switched("a", "b"), "c": WENT_BACK}, "reversion": {"c": NOTHING_TO_DO}}
    assert in_regions(3, healthy_min="1", failures_max=1, **stages).decision == "go_on"
    verdict = in_regions(3, healthy_min="50%", failures_max=1, **stages)
    assert (verdict.decision, verdict.message) == (
        "stop", "wave 4 (us) would leave 1 hosts in service in us, and 2 have to stay",
    )  # fmt: skip
