# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts in which wave, never too many at once, and how long each waits for the end."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.regions import Region
from ansible.module_utils.slipway.controller.rollout import Pace, Rollout, Settings, count_of, plan, require_waves
from hypothesis import given, reject
from hypothesis import strategies as st

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


def regions(**hosts):
    return tuple(Region(name, tuple(f"host-{number:02}" for number in numbers)) for name, numbers in hosts.items())


def in_regions(answers, parts, **settings):
    order = [each.name for each in parts]
    return plan(Settings.parse({"waves": ["1", "100%"], "region_order": order, **settings}), PACE, answers, parts)


def test_a_rollout_goes_region_by_region_and_begins_each_with_the_first_of_its_waves():
    rollout = in_regions(fleet(6), regions(us=(4, 5, 6), eu=(1, 2, 3)))
    assert [(wave.region, wave.hosts) for wave in rollout.waves] == [
        ("us", ("host-04",)),
        ("us", ("host-05", "host-06")),
        ("eu", ("host-01",)),
        ("eu", ("host-02", "host-03")),
    ]
    assert rollout.as_dict()["order"] == ["host-04", "host-05", "host-06", "host-01", "host-02", "host-03"]
    assert rollout.described().startswith(
        "waves 1 in us: host-04; 2 in us: host-05, host-06; 3 in eu: host-01; 4 in eu"
    )
    assert rollout.progress(rollout.waves[0]).startswith("wave 1 of 4 (canary) in region us: host-04.")
    assert rollout.progress(rollout.waves[2]).startswith("wave 3 of 4 in region eu: host-01.")


def test_parts_of_hosts_are_counted_in_their_region():
    rollout = in_regions(fleet(8), regions(eu=(1, 2, 3, 4, 5, 6), us=(7, 8)), waves=["50%", "100%"])
    assert sizes(rollout) == [3, 3, 1, 1]


def test_the_floor_holds_in_each_region():
    parts = regions(eu=(1, 2, 3, 4), us=(5, 6))
    rollout = in_regions(fleet(6), parts, waves=["100%"], healthy_min="50%")
    assert sizes(rollout) == [2, 2, 1, 1]
    assert {each.region: each.floor for each in rollout.regions} == {"eu": 2, "us": 1}
    assert rollout.note == "Smaller than release_waves says, so that 2 in eu and 1 in us stay in service."
    refused = refusal(in_regions, fleet(6, ill=(5,)), parts, waves=["1"], healthy_min="100%")
    assert (refused.reason, refused.expected[:16]) == ("capacity_too_low", "4 of 4 hosts in ")
    refused = refusal(in_regions, fleet(6, ill=(5,)), parts, waves=["1"], healthy_min="2")
    assert (refused.reason, refused.found) == ("capacity_too_low", "1 in service; not host-05")


def test_the_floor_of_the_whole_holds_beside_that_of_each_region():
    parts = regions(eu=(1, 2, 3, 4), us=(5, 6, 7, 8))
    refused = refusal(in_regions, fleet(8, ill=(6, 7)), parts, waves=["1"], healthy_min="75%")
    assert "6 of 8 hosts to stay in service" in refused.expected


def test_a_region_that_serves_nothing_yet_has_nothing_to_keep():
    rollout = in_regions(fleet(4, empty=(3, 4)), regions(eu=(1, 2), us=(3, 4)), waves=["100%"], healthy_min="50%")
    assert sizes(rollout) == [1, 1, 2]
    assert "Nothing is served yet in us" in rollout.note


def test_a_region_that_is_failed_over_is_no_capacity():
    eu, us = regions(eu=(1, 2), us=(3, 4))
    rollout = in_regions(fleet(4), (Region("eu", eu.hosts, True), us), waves=["100%"], healthy_min="50%")
    assert sizes(rollout) == [2, 1, 1]
    assert rollout.floor == 1
    assert rollout.note.startswith(
        "eu is failed over: its hosts are switched, and get no requests before or after that."
    )


def test_a_rollout_pauses_after_a_region_as_well_as_after_a_wave():
    rollout = in_regions(fleet(6), regions(eu=(1, 2, 3), us=(4, 5, 6)), pause_after=["eu", "canary"])
    assert [wave.pauses for wave in rollout.waves] == [True, True, False, False]


def test_a_pause_after_what_is_no_region_is_refused_and_after_one_without_hosts_is_told():
    refused = refusal(Settings.parse, {"waves": ["1"], "pause_after": ["ap"], "region_order": ["eu", "us"]})
    assert "expected canary, the number of a wave or a region (eu,us), found 'ap'" in refused.found
    rollout = plan(
        Settings.parse({"waves": ["1"], "pause_after": ["us"], "region_order": ["eu", "us"]}),
        PACE,
        fleet(2),
        regions(eu=(1, 2)),
    )
    assert rollout.note == "release_pause_after names us, of which no host is in this run."


def test_a_rollout_of_regions_stays_what_it_is_as_plain_data():
    rollout = in_regions(fleet(6), regions(eu=(1, 2, 3), us=(4, 5, 6)), pause_after=["eu"], healthy_min="1")
    assert Rollout.parse(rollout.as_dict()) == rollout


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    waves=st.lists(st.sampled_from(["1", "2", "3", "10%", "25%", "50%", "100%"]), min_size=1, max_size=4),
    minimum=st.sampled_from(["0", "1", "2", "10%", "50%", "75%", "100%"]),
    ill=st.sets(st.integers(1, 28), max_size=6),
    out=st.sets(st.integers(0, 3), max_size=2),
)
def test_no_wave_mixes_regions_their_order_is_kept_and_every_floor_holds(sizes, waves, minimum, ill, out):
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    parts = tuple(
        Region(f"r{number}", tuple(f"host-{start + each:02}" for each in range(1, size + 1)), number in out)
        for number, (start, size) in enumerate(zip(starts, sizes, strict=True))
    )
    answers = fleet(sum(sizes), ill=ill)
    try:
        rollout = in_regions(answers, parts, waves=waves, healthy_min=minimum)
    except Refusal:  # no host can leave: the tests above have those
        reject()
    place = {host: part.name for part in parts for host in part.hosts}
    assert [host for wave in rollout.waves for host in wave.hosts] == [host for part in parts for host in part.hosts]
    assert all({place[host] for host in wave.hosts} == {wave.region} for wave in rollout.waves)
    serving = {host for host, answer in answers.items() if answer["health"]["outcome"] == "success"}
    kept = [part for part in parts if not part.is_failed_over]
    whole = [host for part in kept for host in part.hosts]
    for wave in rollout.waves:
        left = serving - set(wave.hosts)
        if wave.region in {part.name for part in kept}:
            own = next(part for part in kept if part.name == wave.region)
            assert len(left & set(own.hosts)) >= count_of(minimum, len(own.hosts), round_up=True)
            assert len(left & set(whole)) >= count_of(minimum, len(whole), round_up=True)
        serving |= set(wave.hosts)
