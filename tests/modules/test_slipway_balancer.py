# SPDX-License-Identifier: GPL-3.0-or-later
"""The module slipway_balancer: the options reach HAProxy, and check mode only looks."""

from __future__ import annotations

import doors

NAME = "slipway_balancer"


def test_a_server_is_taken_out_and_in_again(played_pair):
    about = {"backend": "shop", "server": "green", "socket": played_pair.site.host.balancer_socket}
    drained = doors.run(NAME, state="drained", drain_seconds=0, check=True, **about)
    assert (drained["changed"], played_pair.haproxy.servers()["green"].status) == (True, "no")
    drained = doors.run(NAME, state="drained", drain_seconds=0, **about)
    assert (drained["changed"], drained["status"]) == (True, "DRAIN")
    assert doors.undocumented(NAME, drained) == set()
    ready = doors.run(NAME, state="ready", weight=10, **about)
    assert (ready["changed"], ready["weight"]) == (True, 10)


def test_a_balancer_that_is_not_there_is_a_refusal(tmp_path):
    answer = doors.run(NAME, state="ready", backend="shop", server="green", socket=tmp_path / "none")
    assert (answer["failed"], answer["reason"]) == (True, "balancer_silent")
    assert doors.undocumented(NAME, answer) == set()


def test_a_state_that_is_none_is_refused(tmp_path):
    assert "value of state must be one of" in doors.run(NAME, state="maint", backend="shop", server="green")["msg"]
