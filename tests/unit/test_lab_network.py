# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of a subnet and of addresses, from the words of `ip` and podman."""

import ipaddress
import itertools
import json

from lab import network

ROUTES = json.dumps(
    [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "10.200.0.7", "dev": "wg0"},
        {"type": "unreachable", "dst": "10.66.0.0/16"},
        {"dst": "0.0.0.0/0"},
    ]
)
NETWORKS = json.dumps(
    [
        {"name": "podman", "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]},
        {"name": "six", "subnets": [{"subnet": "fd00::/64"}, {"subnet": "10.201.0.0/24"}]},
        {"name": "none", "subnets": None},
    ]
)


def subnets(*texts: str) -> list[ipaddress.IPv4Network]:
    return [ipaddress.IPv4Network(text) for text in texts]


def test_routes_take_their_destinations_but_the_default_takes_nothing() -> None:
    assert network.taken_by_routes(ROUTES) == subnets("192.0.2.0/24", "10.200.0.7/32", "10.66.0.0/16")


def test_networks_take_their_ipv4_subnets() -> None:
    assert network.taken_by_networks(NETWORKS) == subnets("10.88.0.0/16", "10.201.0.0/24")


def test_nothing_said_takes_nothing() -> None:
    assert network.taken_by_routes("") == []
    assert network.taken_by_networks("") == []


def test_a_free_subnet_overlaps_nothing_that_is_taken() -> None:
    taken = subnets("10.192.0.0/12", "10.208.0.0/24", "10.208.1.128/25")
    chosen = list(itertools.islice(network.free_subnets("0", taken), 2))
    assert chosen == subnets("10.208.2.0/24", "10.208.3.0/24")


def test_clones_begin_to_look_at_different_places() -> None:
    assert next(iter(network.free_subnets("00000001", []))) != next(iter(network.free_subnets("00000002", [])))


def test_the_search_covers_the_whole_pool_and_ends() -> None:
    assert len(list(network.free_subnets("ffffffff", []))) == 2**13
    assert list(network.free_subnets("ffffffff", [network.POOL])) == []


def test_addresses_follow_from_the_subnet() -> None:
    assert network.address("10.200.3.0/24", 0) == "10.200.3.11"
    assert network.gateway_of("10.200.3.11") == "10.200.3.1"
    assert network.mac_of("10.200.3.11") == "0a:58:0a:c8:03:0b"
