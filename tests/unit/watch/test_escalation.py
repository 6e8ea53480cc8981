# SPDX-License-Identifier: GPL-3.0-or-later
"""How results escalate: tables of what a beat leads to, and what holds of every sequence of beats."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.watch.escalation import (
    CRITICAL,
    DEGRADED,
    HEALTHY,
    INFO,
    MOST_FALLS,
    SEVERITIES,
    STATUSES,
    UNHEALTHY,
    WARNING,
    Rule,
    State,
    step,
)
from hypothesis import given
from hypothesis import strategies as st

MINUTE = 60
HOOK = Rule(has_hook=True)
STEADY = Rule(has_hook=True, flap_falls=60)
LETTERS = {".": HEALTHY, "d": DEGRADED, "x": UNHEALTHY}


def told(next_):
    """A step in a few letters: what is announced (W, C, I; w, c, i when it is a repetition), f flapping, H hook, R resolved; - nothing, l a log line alone."""
    letters = "".join(each[0].lower() if each in next_.repeated else each[0] for each in next_.announce)
    letters += "f" * next_.flapping + "H" * next_.hook + "R" * bool(next_.resolve)
    return letters or ("l" if next_.log else "-")


def play(beats, rule=HOOK, seconds=MINUTE, state=None, start=1_000_000):
    """What each beat leads to, and the state after all of them."""
    state, answers = state or State(), []
    for number, beat in enumerate(beats):
        state, next_ = step(state, LETTERS[beat], rule, start + number * seconds)
        answers.append(told(next_))
    return " ".join(answers), state


@pytest.mark.parametrize(
    ("beats", "expected", "level"),
    [
        (".", "-", 0),
        ("x", "l", 1),
        ("x.", "l l", 0),
        ("xx", "l W", 2),
        ("xx.", "l W R", 0),
        ("xxx", "l W CH", 3),
        ("xxxxx", "l W CH l l", 3),
        ("xxxx.", "l W CH l R", 0),
        ("xxx..", "l W CH R -", 0),
        # Degraded is no health: it counts, as does a mixture.
        ("ddd", "l W CH", 3),
        ("dxd", "l W CH", 3),
        # One that is well in between begins anew.
        ("x.x.x", "l l l l l", 1),
        ("xx.xx", "l W R l W", 2),
        ("xxx.xxx.", "l W CH R l W CH R", 0),
    ],
)
def test_the_first_failure_is_logged_the_second_warns_the_third_is_critical(beats, expected, level):
    answers, state = play(beats)
    assert answers == expected
    assert state.level == level


@pytest.mark.parametrize(
    ("severity", "expected"),
    [(CRITICAL, "l W CH l"), (WARNING, "l W H l"), (INFO, "l I H l")],
)
def test_a_check_goes_no_further_than_its_severity_and_its_hook_is_run_all_the_same(severity, expected):
    assert play("xxxx", Rule(severity=severity, has_hook=True))[0] == expected


def test_without_a_hook_none_is_run():
    assert play("xxxx", Rule())[0] == "l W C l"


def test_an_announcement_is_repeated_when_its_cooldown_is_over_and_not_before():
    answers, state = play("x" * 64, Rule(cooldown_seconds=3600))
    assert answers.split() == ["l", "W", "C", *["l"] * 59, "c", "l"]
    assert state.announced == {WARNING: 1_000_000 + MINUTE, CRITICAL: 1_000_000 + 62 * MINUTE}


def test_the_cooldown_of_one_severity_does_not_hold_the_next_one_back():
    assert play("xxx", Rule(cooldown_seconds=86400))[0] == "l W C"


def test_who_was_told_that_all_is_well_hears_at_once_that_it_is_not():
    assert play("xxx.xxx", Rule(cooldown_seconds=86400))[0] == "l W C R l W C"


def test_one_that_falls_again_and_again_is_said_to_flap_once_and_then_held_back():
    rule = Rule(has_hook=True, flap_falls=3, calm_seconds=600)
    assert play("xx.xx.xx.xx.xxxx.xxx", rule)[0] == "l W R l W R Wf l l l l l l l CH l l l l l"
    # Half of all failing would never be two in a row, and yet it is half.
    assert play("x.x.x.x.x.", rule)[0] == "l l l l Wf l l l l l"


def test_a_flapping_one_is_resolved_when_it_was_well_for_a_while():
    rule = Rule(flap_falls=3, calm_seconds=5 * MINUTE)
    answers, state = play("x.x.x......", rule)
    assert answers == "l l l l Wf l - - - - R"
    assert state == State()
    # A fall in between begins the while anew.
    assert play("x.x.x...x.....", rule)[0] == "l l l l Wf l - - l l - - - -"


def test_falls_that_are_long_ago_make_nothing_flap():
    rule = Rule(flap_falls=3, flap_seconds=3600)
    assert "f" not in play("x.x.x.x.x.x.", rule, seconds=1300)[0]
    assert "f" in play("x.x.x.x.x.x.", rule, seconds=800)[0]


def test_a_clock_that_was_set_back_makes_a_message_too_many_and_none_too_few():
    state = play("xxx")[1]
    later, next_ = step(state, UNHEALTHY, HOOK, 500_000)
    assert told(next_) == "c"
    assert later.announced[CRITICAL] == 500_000
    assert later.since == 500_000
    assert told(step(later, UNHEALTHY, HOOK, 500_060)[1]) == "l"
    assert told(step(state, HEALTHY, HOOK, 500_000)[1]) == "R"


def test_a_clock_that_jumps_ahead_repeats_early_and_loses_nothing():
    state = play("xxx")[1]
    assert told(step(state, UNHEALTHY, HOOK, 9_000_000)[1]) == "c"


def test_a_state_outlives_a_reboot_during_a_cooldown():
    state = play("xxx")[1]
    kept = State.of(json.loads(json.dumps(state.as_dict())))
    assert kept == state
    assert told(step(kept, UNHEALTHY, HOOK, 1_000_000 + 10 * MINUTE)[1]) == "l"


@pytest.mark.parametrize("damage", [{}, {"failures": "many"}, {"since": []}, {"announced": None}, {"falls": 3}])
def test_what_is_no_state_is_none(damage):
    kept = {**State().as_dict(), **damage} if damage else {}
    with pytest.raises((KeyError, TypeError, ValueError)):
        State.of(kept)


BEATS = st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(1, 5000)), max_size=80)
RULES = st.builds(
    Rule,
    severity=st.sampled_from(SEVERITIES),
    has_hook=st.booleans(),
    cooldown_seconds=st.integers(1, 5000),
    flap_falls=st.integers(2, 8),
    flap_seconds=st.integers(1, 5000),
    calm_seconds=st.integers(1, 3000),
)


@given(BEATS, RULES)
def test_what_holds_of_every_sequence_of_beats(beats, rule):
    state, now, in_a_row = State(), 1_000_000, 0
    announced: dict[str, int] = {}
    hooks = 0
    for status, seconds in beats:
        now += seconds
        before = state
        state, next_ = step(before, status, rule, now)
        in_a_row = 0 if status == HEALTHY else in_a_row + 1
        assert state.failures == in_a_row
        # Nothing above the rule's severity; critical never before the third in a row.
        assert all(SEVERITIES.index(each) <= SEVERITIES.index(rule.severity) for each in next_.announce)
        assert CRITICAL not in next_.announce or in_a_row >= 3
        # A cooldown separates two announcements of the same severity with no resolution between them, unless it begins to flap.
        for severity in next_.announce:
            if severity in announced and not next_.flapping:
                assert now - announced[severity] >= rule.cooldown_seconds
            announced[severity] = now
        # What is resolved was announced, and nothing fires afterwards.
        if next_.resolve:
            assert status == HEALTHY
            assert set(next_.resolve) == set(before.firing) <= set(announced)
            assert state.firing == ()
            announced, hooks = {}, 0
        # The hook is run once until all is resolved, and never before the third.
        hooks += next_.hook
        assert hooks <= 1
        assert not next_.hook or (rule.has_hook and in_a_row >= 3)
        if rule.has_hook and in_a_row >= 3:
            assert hooks == 1
        # Three in a row never pass in silence.
        if in_a_row >= 3:
            assert rule.severity in state.firing
        assert set(state.firing) <= set(state.announced)
        assert len(state.falls) <= MOST_FALLS
        assert State.of(json.loads(json.dumps(state.as_dict()))) == state
        assert step(before, status, rule, now) == (state, next_)


@given(BEATS, RULES, st.integers(0, 2_000_000))
def test_at_no_time_does_a_clock_that_moves_keep_a_failure_from_being_said(beats, rule, then):
    state, now = State(), 1_000_000
    for status, seconds in beats:
        now += seconds
        state, _ = step(state, status, rule, now)
    for _ in range(3):
        state, _ = step(state, UNHEALTHY, rule, then)
    assert rule.severity in state.firing
    assert step(state, HEALTHY, rule, then)[0].failures == 0
