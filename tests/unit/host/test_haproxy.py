# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's runtime API, spoken with a real HAProxy."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.host.haproxy import Haproxy, Server


@pytest.fixture
def api(pair):
    """The API of a HAProxy with the servers blue and green of the backend shop, of which neither listens."""
    return pair.haproxy.api


def reason(call):
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


def test_a_server_that_leaves_maintenance_is_taken_for_well_but_not_for_sure_until_it_was_asked(api):
    api.set_state("shop", "blue", "maint")
    assert api.server("shop", "blue").status == "MAINT"
    api.set_state("shop", "blue", "ready")
    server = api.awaited("shop", "blue", 10, lambda server: server.status != "MAINT")
    assert (server.status, server.is_certain, server.is_up) in (("UP", False, False), ("DOWN", True, False))
    assert api.awaited("shop", "blue", 10, lambda server: server.status == "DOWN").status == "DOWN"


def test_a_server_that_listens_is_up_and_drains(pair, api):
    pair.instances.site.places.instances.mkdir()
    assert not api.server("shop", "green").is_up or api.awaited("shop", "green", 10, lambda server: not server.is_up)
    (pair.site.places.base / "releases/v1").mkdir(parents=True)
    (pair.site.places.instances / "green").symlink_to("../releases/v1")
    pair.instances.set("green", runs=True)
    assert api.awaited("shop", "green", 10, lambda server: server.is_up).is_up
    assert pair.ask() == (200, "v1")
    assert api.drained("shop", "green", 1) == Server("DRAIN", 100, 0)
    assert pair.ask()[0] == 503


def test_an_open_request_is_waited_for_as_long_as_is_said(pair, api):
    (pair.site.places.base / "releases/v1").mkdir(parents=True)
    pair.site.places.instances.mkdir()
    (pair.site.places.instances / "blue").symlink_to("../releases/v1")
    pair.instances.set("blue", runs=True)
    api.awaited("shop", "blue", 10, lambda server: server.is_up)
    answers = []
    client = threading.Thread(target=lambda: answers.append(pair.ask("/slow")))
    client.start()
    assert api.awaited("shop", "blue", 10, lambda server: server.sessions == 1).sessions == 1
    assert api.drained("shop", "blue", 0).sessions == 1
    pair.instances.held.set()
    assert api.drained("shop", "blue", 10).sessions == 0
    client.join()
    assert answers == [(200, "v1")]


def test_a_weight_is_taken(api):
    api.set_weight("shop", "green", 10)
    assert api.server("shop", "green").weight == 10
    assert api.server("shop", "green").described().endswith("weight 10, 0 open requests")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda api: api.servers("none"), "balancer_backend_missing"),
        (lambda api: api.server("shop", "red"), "balancer_server_missing"),
        (lambda api: api.set_state("shop", "red", "ready"), "balancer_refused"),
        (lambda api: api.set_state("none", "blue", "ready"), "balancer_refused"),
        (lambda api: api.set_state("shop", "blue; set server shop/green", "maint"), "balancer_name_invalid"),
        (lambda api: api.set_weight("shop\n", "blue", 1), "balancer_name_invalid"),
    ],
)
def test_what_haproxy_does_not_know_is_refused(api, call, expected):
    assert reason(lambda: call(api)) == expected


@pytest.mark.parametrize(
    "call", [lambda api: api.set_state("shop", "blue", "gone"), lambda api: api.set_weight("shop", "blue", 257)]
)
def test_what_no_caller_may_say_is_an_error_of_ours(api, call):
    with pytest.raises(ValueError, match=r"no (state|weight) of a server"):
        call(api)


def test_a_haproxy_that_does_not_run_is_told_from_one_that_refuses(api, pair, clock):
    nowhere = replace(api, socket=api.socket.with_name("none.sock"))
    assert reason(lambda: nowhere.servers("shop")) == "balancer_silent"
    pair.haproxy.stop()
    assert reason(lambda: api.servers("shop")) == "balancer_silent"


def test_a_haproxy_without_servers_is_said_to_have_none(in_memory, clock):
    path = in_memory / "empty.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer():
            connection, _ = listening.accept()
            connection.recv(100)
            connection.sendall(b"# pxname,svname,status,weight,scur,qcur,\n\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Refusal) as refused:
            Haproxy(path, clock).servers("shop")
        thread.join()
    assert refused.value.found == "no servers at all"
