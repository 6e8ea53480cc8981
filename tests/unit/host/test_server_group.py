# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests moved away from servers and back at a real HAProxy, with nothing changed where too few others would stay."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.balancer import balance
from ansible.module_utils.slipway.host.server_group import fail_over


@pytest.fixture
def move(played_pair):
    """Fail over, as the module does. There are no health checks, so that a server is up unless it is told otherwise."""

    def told(out=(), admitted=(), check=False, **changes):
        request = {
            "socket": str(played_pair.site.host.balancer_socket),
            "backend": "shop",
            "healthy_min": 1,
            "drain_seconds": 0,
        }
        return fail_over(
            {**request, "out": list(out), "admitted": list(admitted), **changes}, played_pair.site.host, check=check
        )

    return told


def statuses(pair):
    return {name: server.status for name, server in pair.haproxy.servers().items()}


def test_requests_go_to_the_others_and_back_again(move, played_pair):
    assert move()["changed"] is False
    would = move(["blue"], ["green"], check=True)
    assert (would["changed"], would["held"], statuses(played_pair)["blue"]) == (True, [], "no")
    moved = move(["blue"], ["green"])
    assert (moved["changed"], moved["held"], moved["serving"]) == (True, ["blue"], ["green"])
    assert statuses(played_pair) == {"blue": "MAINT", "green": "no"}
    assert move(["blue"], ["green"])["changed"] is False
    assert move(admitted=["blue"], check=True)["changed"] is True
    back = move(admitted=["blue"])
    assert (back["changed"], back["held"], back["not_up"]) == (True, [], [])
    assert move(admitted=["blue"])["changed"] is False


def test_the_others_are_admitted_before_anything_is_taken_out(move, played_pair):
    move(["green"])
    moved = move(["blue"], ["green"])
    assert (moved["held"], moved["serving"]) == (["blue"], ["green"])


@pytest.mark.parametrize("check", [False, True])
def test_too_few_others_are_refused_with_nothing_changed(move, played_pair, check):
    with pytest.raises(Refusal) as refused:
        move(["blue"], ["green"], healthy_min=2, check=check)
    assert refused.value.reason == "capacity_too_low"
    assert "release_failover_healthy_min" in refused.value.expected
    assert statuses(played_pair) == {"blue": "no", "green": "no"}


def test_what_was_admitted_goes_out_again_when_it_is_not_up(pair):
    """Both instances are down: what returns is asked by HAProxy, found down, and taken out again."""
    request = {"socket": str(pair.site.host.balancer_socket), "backend": "shop", "drain_seconds": 0, "healthy_min": 1}
    for name in ("blue", "green"):
        pair.haproxy.api.awaited("shop", name, 10, lambda server: not server.is_up)
    pair.haproxy.api.set_state("shop", "green", "maint")
    with pytest.raises(Refusal) as refused:
        fail_over({**request, "out": ["blue"], "admitted": ["green"]}, _hurried(pair.site.host), check=False)
    assert refused.value.reason == "capacity_too_low"
    assert statuses(pair)["green"] == "MAINT"
    assert statuses(pair)["blue"] == "DOWN"
    back = fail_over({**request, "out": [], "admitted": ["green"]}, _hurried(pair.site.host), check=False)
    assert (back["changed"], back["not_up"], back["held"]) == (True, ["green"], [])


def test_a_server_without_weight_or_in_a_drain_is_no_capacity(move, played_pair):
    played_pair.haproxy.api.set_weight("shop", "green", 0)
    with pytest.raises(Refusal):
        move(["blue"])
    played_pair.haproxy.api.set_weight("shop", "green", 100)
    played_pair.haproxy.api.set_state("shop", "green", "drain")
    with pytest.raises(Refusal) as refused:
        move(["blue"])
    assert "not up: green (DRAIN, weight 100, 0 open requests)" in refused.value.found


def test_a_server_that_its_balancer_does_not_know_is_refused(move):
    with pytest.raises(Refusal) as refused:
        move(["red"], ["blue"])
    assert (refused.value.reason, refused.value.found) == ("balancer_server_missing", "blue, green")


def test_one_failover_at_a_time_is_at_work_at_a_balancer(move, played_pair):
    directory = os.open(played_pair.site.host.balancer_socket.parent, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with pytest.raises(Refusal) as refused:
        move(["blue"])
    assert (refused.value.reason, statuses(played_pair)["blue"]) == ("failover_running", "no")
    os.close(directory)
    assert move(["blue"])["held"] == ["blue"]


@pytest.mark.parametrize("state", ["ready", "drained"])
def test_a_rollout_leaves_out_what_is_failed_over(move, played_pair, state):
    move(["blue"])
    request = {"socket": str(played_pair.site.host.balancer_socket), "backend": "shop", "server": "blue"}
    answer = balance({**request, "state": state, "weight": 100, "drain_seconds": 0}, played_pair.site.host, check=False)
    assert (answer["changed"], answer["is_held"], answer.get("failed")) == (False, True, None)
    assert statuses(played_pair)["blue"] == "MAINT"


class _Hurry:
    """A clock on which the time for an admission passes at once."""

    def __init__(self):
        self.now = 0.0

    def elapsed(self):
        return self.now

    def sleep(self, seconds):
        self.now += 11.0


def _hurried(host):
    return replace(host, clock=_Hurry())
