# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts in which wave, never too many at once, and how long each waits for the end."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.rollout import Pace, Rollout, Settings, plan, require_waves

PACE = Pace(switch_seconds=100, health_seconds=10, smoke_seconds=20, forks=4)


def fleet(count, *, ill=(), empty=()):
    """The answers of host-01, host-02 and so on."""
    answers = {}
    for number in range(1, count + 1):
        outcome = "failure" if number in ill else "success"
        active = None if number in empty else "v1"
        answers[f"host-{number:02}"] = {"active": active, "settled": active, "health": {"outcome": outcome}}
    return answers


def rolled_out(answers, **settings):
    return plan(Settings.parse({"waves": ["1", "100%"], **settings}), PACE, answers)


def sizes(rollout):
    return [len(wave.hosts) for wave in rollout.waves]


def refusal(call, *arguments, **options):
    with pytest.raises(Refusal) as caught:
        call(*arguments, **options)
    return caught.value


@pytest.mark.parametrize("waves", [["1"], ["1", "25%", "100%"]])
def test_waves_are_counts_and_percentages(waves):
    require_waves(waves)


@pytest.mark.parametrize("waves", [[], ["0"], ["all"], ["1", ""], ["-1"], ["101%"], ["10 %"]])
def test_impossible_waves_are_refused(waves):
    assert refusal(require_waves, waves).reason == "waves_invalid"
    assert refusal(Settings.parse, {"waves": waves}).reason == "waves_invalid"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"failures_max": -1}, "release_wave_failures_max"),
        ({"healthy_min": "half"}, "release_healthy_min"),
        ({"healthy_min": "101%"}, "release_healthy_min"),
        ({"healthy_min": "-1"}, "release_healthy_min"),
        ({"soak_seconds": 604801}, "release_soak_seconds"),
        ({"canary_share": "0"}, "release_canary_share"),
        ({"canary_share": "110%"}, "release_canary_share"),
        ({"pause_after": ["canary", "last"]}, "release_pause_after: expected canary or the number of a wave, found 'last'"),
        ({"pause_after": ["0"]}, "release_pause_after"),
        ({"pause_seconds": 0}, "release_pause_seconds"),
        ({"confirm_within_seconds": 4}, "release_confirm_within_seconds"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_with_its_name(values, named):
    refused = refusal(Settings.parse, {"waves": ["1"], **values})
    assert refused.reason == "rollout_invalid"
    assert refused.found.startswith(named)


def test_every_mistake_is_named_at_once():
    refused = refusal(Settings.parse, {"waves": ["1"], "soak_seconds": -1, "canary_share": "x", "healthy_min": "y"})
    assert refused.found.count("; ") == 2


@pytest.mark.parametrize(("share", "parsed"), [("", None), (None, None), ("10%", 10), ("10", 10), (10, 10), ("100%", None)])  # fmt: skip
def test_a_share_is_a_percentage_or_all(share, parsed):
    assert Settings.parse({"waves": ["1"], "canary_share": share}).canary_share == parsed


def test_pauses_are_named_by_number_or_canary():
    assert Settings.parse({"waves": ["1"], "pause_after": ["canary", 3]}).pause_after == {1, 3}


@pytest.mark.parametrize(
    ("count", "waves", "expected"),
    [
        (3, ["1", "100%"], [1, 2]),
        (1, ["1", "100%"], [1]),
        (8, ["1", "25%", "100%"], [1, 2, 5]),
        (8, ["1", "2"], [1, 2, 2, 2, 1]),
        (3, ["10%"], [1, 1, 1]),
        (10, ["35%", "50%"], [3, 5, 2]),
        (2, ["5"], [2]),
    ],
)
def test_waves_are_what_ansible_would_make_of_them(count, waves, expected):
    """A percentage is of all hosts and rounded down, but never nothing; the last entry goes for all that remain."""
    rollout = rolled_out(fleet(count), waves=waves)
    assert sizes(rollout) == expected
    assert [host for wave in rollout.waves for host in wave.hosts] == sorted(fleet(count))
    assert [wave.number for wave in rollout.waves] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize(
    ("count", "ill", "minimum", "expected"),
    [
        (4, (), "0", [1, 3]),
        (4, (), "2", [1, 2, 1]),
        (4, (), "75%", [1, 1, 1, 1]),
        (4, (), "70%", [1, 1, 1, 1]),  # rounded up: 3 of 4
        (4, (4,), "2", [1, 1, 2]),  # who is ill leaves nothing that was served
        (4, (3, 4), "1", [1, 3]),
        (4, (1,), "3", [1, 1, 1, 1]),  # once 1 is mended by the deployment
        (4, (1,), "2", [1, 2, 1]),
    ],
)
def test_waves_are_made_smaller_so_that_enough_hosts_stay_in_service(count, ill, minimum, expected):
    rollout = rolled_out(fleet(count, ill=ill), healthy_min=minimum)
    assert sizes(rollout) == expected
    serving = {host for host, answer in fleet(count, ill=ill).items() if answer["health"]["outcome"] == "success"}
    for wave in rollout.waves:
        assert len(serving - set(wave.hosts)) >= rollout.floor
        serving |= set(wave.hosts)
    assert ("so that" in rollout.note) is (expected != [1, 3])


@pytest.mark.parametrize(("count", "ill", "minimum"), [(3, (), "3"), (3, (), "100%"), (3, (2,), "2"), (3, (1, 2, 3), "1")])  # fmt: skip
def test_a_floor_that_not_even_one_host_could_leave_is_refused(count, ill, minimum):
    refused = refusal(rolled_out, fleet(count, ill=ill), healthy_min=minimum)
    assert refused.reason == "capacity_too_low"
    assert all(f"host-0{number}" in refused.found for number in ill)


def test_where_nothing_is_served_yet_there_is_nothing_to_keep():
    rollout = rolled_out(fleet(3, empty=(1, 2, 3)), healthy_min="100%")
    assert (sizes(rollout), rollout.floor) == ([1, 2], 0)
    assert "Nothing is served yet" in rollout.note
    assert refusal(rolled_out, fleet(3, empty=(1,)), healthy_min="100%").reason == "capacity_too_low"


def test_a_host_that_was_not_asked_for_its_health_is_in_service():
    answers = {"a": {"active": "v1", "settled": "v1", "health": None}, "b": {"active": "v1", "settled": "v1"}}
    assert rolled_out(answers, healthy_min="1").healthy == ("a", "b")


def test_a_host_waits_for_its_own_wave_those_that_follow_and_the_end():
    rollout = rolled_out(fleet(9), waves=["1", "3", "100%"], soak_seconds=600)
    first, second, third = (wave.budget_seconds for wave in rollout.waves)
    assert first == second == 100 + 20 + 10 + 20 + 600 + 60
    assert third == 2 * (100 + 20) + 60, "five hosts need two rounds of four forks; the last wave does not soak"
    assert [wave.soak_seconds for wave in rollout.waves] == [600, 600, 0]
    migrating = plan(Settings.parse({"waves": ["1", "100%"]}), Pace(100, 10, 20, 4, migrations_seconds=900), fleet(3))
    assert [wave.budget_seconds for wave in migrating.waves] == [100 + 20 + 900 + 60, 100 + 20 + 60]
    assert rollout.confirm_within(3) == third + rollout.settle_seconds
    assert rollout.confirm_within(2) == second + rollout.confirm_within(3)
    assert rollout.confirm_within(1) == first + rollout.confirm_within(2)
    assert rollout.after_gate(1) == rollout.confirm_within(2)
    assert rollout.after_gate(3) == rollout.settle_seconds


def test_a_pause_ends_on_the_controller_before_it_ends_on_the_host():
    rollout = rolled_out(fleet(3), pause_after=["canary"], pause_seconds=1800)
    assert [wave.pauses for wave in rollout.waves] == [True, False]
    assert rollout.in_pause(1) == 1800 + rollout.remaining(1)
    assert rollout.confirm_within(1) < 1800, "pauses are in no budget"


def test_the_operator_may_say_how_long_hosts_wait():
    rollout = rolled_out(fleet(3), confirm_within_seconds=7)
    assert [rollout.confirm_within(1), rollout.confirm_within(2), rollout.after_gate(1)] == [7, 7, 7]


def test_a_rollout_that_outlasts_the_patience_of_hosts_is_refused():
    assert refusal(rolled_out, fleet(9), waves=["1"], soak_seconds=86400).reason == "rollout_too_long"


def test_a_rollout_stays_what_it_is_as_plain_data():
    rollout = rolled_out(fleet(3), healthy_min="1", canary_share="10%", pause_after=["canary"], soak_seconds=5)
    plain = rollout.as_dict()
    assert Rollout.parse(plain) == rollout
    assert plain["sizes"] == [1, 2]
    assert plain["soaks"] is True
    assert plain["by_host"]["host-01"]["share"] == 10
    assert plain["by_host"]["host-02"]["share"] is None
    assert plain["by_host"]["host-03"]["wave"] == 2
    assert plain["by_host"]["host-01"]["message"].startswith("wave 1 of 2 (canary): host-01, with 10 % of its work.")
    assert plain["message"].startswith("waves 1: host-01 (10 % of its work, watched for 5 s, then held for a yes); 2: ")


def test_the_pace_follows_from_what_the_application_declares():
    probe = {"type": "http", "url": "http://x", "timeout_seconds": 3}
    described = {
        "unit": "shop.service", "health": [probe, probe], "health_patience": {"deadline_seconds": 15},
        "smoke": [probe], "smoke_patience": {"deadline_seconds": 10},
    }  # fmt: skip
    exchange, restart = 30, 90 + 90
    assert Pace.of(Application.parse("shop", described)) == Pace(exchange + restart + 15 + 6, 30 + 6, 10 + 3)
    stopping = {**described, "service": {"command": "bin/shop", "stop_timeout_seconds": 5}}
    assert Pace.of(Application.parse("shop", stopping)).switch_seconds == exchange + 90 + 5 + 15 + 6
    reloaded = {**described, "strategy": "reload"}
    assert Pace.of(Application.parse("shop", reloaded)).switch_seconds == exchange + 90 + 15 + 6
    files = Pace.of(
        Application.parse("model", {}), size=100 << 20, files=2000, hooks_seconds=40, migrations_seconds=10**9, forks=0
    )
    assert files == Pace(30 + 7 + 40, 30, 0, forks=1, migrations_seconds=86400)


PAIR = {
    "unit": "shop@.service", "strategy": "blue_green",
    "blue_green": {"port": 8080, "instance_ports": {"blue": 18080, "green": 18081}, "drain_seconds": 40},
}  # fmt: skip
SHARED = {**PAIR, "blue_green": {**PAIR["blue_green"], "share": 25, "share_seconds": 600}}


def test_the_pace_of_two_instances_has_the_time_in_which_they_share_and_the_drain():
    pair, shared = (Pace.of(Application.parse("shop", described)) for described in (PAIR, SHARED))
    assert (pair.sharing_seconds, pair.drain_seconds) == (0, 40 + 90)
    assert (shared.sharing_seconds, shared.switch_seconds) == (600, pair.switch_seconds + 600)


def test_the_balancers_of_a_host_are_in_the_time_of_each_wave():
    settings = Settings.parse({"waves": ["1", "100%"]})
    quick, balanced = (plan(settings, Pace(100, 10, 20, 4, balancers_seconds=each), fleet(6)) for each in (0, 600))
    assert [wave.budget_seconds for wave in balanced.waves] == [
        quick.waves[0].budget_seconds + 600,
        quick.waves[1].budget_seconds + 2 * 600,  # two rounds of four hosts at once
    ]
    assert balanced.confirm_within(1) == quick.confirm_within(1) + 3 * 600


def test_a_drain_is_in_the_time_for_the_end():
    settings = Settings.parse({"waves": ["100%"]})
    quick, draining = (plan(settings, Pace(100, 10, 20, 4, drain_seconds=each), fleet(5)) for each in (0, 130))
    assert draining.settle_seconds == quick.settle_seconds + 2 * 130  # two rounds of four hosts at once
    assert draining.confirm_within(1) == quick.confirm_within(1) + 2 * 130


def test_a_host_does_not_go_back_while_two_instances_still_share_the_traffic():
    pace, settings = Pace(700, 10, 20, 4, sharing_seconds=600), {"waves": ["1"], "confirm_within_seconds": 600}
    with pytest.raises(Refusal, match="more than the 600 s that") as raised:
        plan(Settings.parse(settings), pace, fleet(1))
    assert raised.value.reason == "rollout_invalid"
    assert plan(Settings.parse({**settings, "confirm_within_seconds": 601}), pace, fleet(1)).confirm_within(1) == 601


@pytest.mark.parametrize(
    ("settings", "least"),
    [({}, 121), ({"pause_after": ["canary"]}, 61), ({"canary_share": "10%"}, 61), ({"pause_after": [2]}, 121)],
)
def test_a_host_does_not_go_back_while_it_is_only_watched(settings, least):
    def of(seconds):
        asked = {"waves": ["1"], "soak_seconds": 60, **settings, "confirm_within_seconds": seconds}
        return plan(Settings.parse(asked), PACE, fleet(3))

    with pytest.raises(Refusal, match=f"more than the {least - 1} s"):
        of(least - 1)
    assert of(least).confirm_within(1) == least


def test_the_plan_says_which_waves_are_watched_shared_and_held():
    rollout = rolled_out(fleet(3), canary_share="10%", pause_after=["canary", 7], soak_seconds=5)
    assert rollout.described() == (
        "waves 1: host-01 (10 % of its work, watched for 5 s, then held for a yes); 2: host-02, host-03. "
        "release_pause_after names wave 7, and there are 2."
    )
