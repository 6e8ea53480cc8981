# SPDX-License-Identifier: GPL-3.0-or-later
"""A host behind a balancer, told over a real HAProxy's socket."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.balancer import balance


@pytest.fixture
def told(played_pair):
    """Say something of a server, as the module does; there are no health checks, so that a server is up unless it is told otherwise."""

    def tell(state, check=False, **changes):
        request = {
            "socket": str(played_pair.site.host.balancer_socket),
            "backend": "shop",
            "server": "blue",
            "weight": None,
        }
        return balance({**request, "state": state, "drain_seconds": 0, **changes}, played_pair.site.host, check=check)

    return tell


def test_a_server_is_drained_and_made_ready_again(told):
    assert told("ready")["changed"] is False
    assert told("drained", check=True)["changed"] is True
    drained = told("drained")
    assert (drained["changed"], drained["status"], drained["sessions"]) == (True, "DRAIN", 0)
    assert told("drained")["changed"] is False
    assert told("ready", check=True)["status"] == "DRAIN"
    ready = told("ready", weight=10)
    assert (ready["changed"], ready["weight"], ready.get("failed")) == (True, 10, None)
    assert ready["message"] == "shop/blue: no, weight 10, 0 open requests"
    assert told("ready", weight=10)["changed"] is False
    assert told("ready", weight=100)["weight"] == 100


@pytest.mark.parametrize(
    ("changes", "reason"), [({"server": "red"}, "balancer_server_missing"), ({"weight": 257}, "weight_invalid")]
)
def test_what_cannot_be_told_is_refused(told, changes, reason):
    with pytest.raises(Refusal) as refused:
        told("ready", **changes)
    assert refused.value.reason == reason


def test_a_server_that_its_balancer_finds_down_is_not_admitted(pair):
    pair.haproxy.api.awaited("shop", "blue", 10, lambda server: not server.is_up)
    request = {"socket": str(pair.site.host.balancer_socket), "backend": "shop", "server": "blue", "weight": None}
    answer = balance({**request, "state": "ready", "drain_seconds": 0}, _Hurried(pair.site.host), check=False)
    assert (answer["failed"], answer["reason"], answer["status"]) == (True, "server_not_up", "DOWN")


class _Hurried:
    """A host on which ten seconds pass at once."""

    def __init__(self, host):
        self.clock = self
        self._times = iter([0.0, 100.0, 200.0])

    def elapsed(self):
        return next(self._times)
