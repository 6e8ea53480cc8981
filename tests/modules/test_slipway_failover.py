# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_failover: the options reach HAProxy, and check mode only looks."""

from __future__ import annotations

import doors

NAME = "slipway_failover"


def test_a_server_is_out_and_back_again(played_pair):
    about = {"backend": "shop", "socket": played_pair.site.host.balancer_socket, "drain_seconds": 0}
    would = doors.run(NAME, out=["green"], check=True, **about)
    assert (would["changed"], played_pair.haproxy.servers()["green"].status) == (True, "no")
    out = doors.run(NAME, out=["green"], admitted=["blue"], **about)
    assert (out["changed"], out["held"], out["serving"]) == (True, ["green"], ["blue"])
    assert doors.undocumented(NAME, out) == set()
    back = doors.run(NAME, admitted=["green"], **about)
    assert (back["changed"], back["held"], back["not_up"]) == (True, [], [])


def test_too_few_others_are_a_refusal(played_pair):
    about = {"backend": "shop", "socket": played_pair.site.host.balancer_socket}
    answer = doors.run(NAME, out=["green"], healthy_min=2, **about)
    assert (answer["failed"], answer["reason"]) == (True, "capacity_too_low")
    assert doors.undocumented(NAME, answer) == set()


def test_a_balancer_that_is_not_there_is_a_refusal(tmp_path):
    answer = doors.run(NAME, backend="shop", socket=tmp_path / "none")
    assert (answer["failed"], answer["reason"]) == (True, "balancer_silent")
