# SPDX-License-Identifier: GPL-3.0-or-later
"""One podman network for each clone and instance, in a subnet that nothing else on this machine uses."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable

from . import shell
from .errors import LabError
from .names import Clone

POOL = ipaddress.ip_network("10.192.0.0/11")
PREFIX = 24
FIRST_HOST = 11  # .1 is the bridge; a few are left free for what a person adds by hand


def taken_by_routes(routes: str) -> list[ipaddress.IPv4Network]:
    """Return the destinations in the output of `ip -j -4 route show table all`, the default route left out."""
    found = []
    for route in json.loads(routes or "[]"):
        try:
            network = ipaddress.IPv4Network(route.get("dst", ""), strict=False)
        except ValueError:
            continue  # "default", and words such as "unreachable" in front of an address
        if network.prefixlen > 0:
            found.append(network)
    return found


def taken_by_networks(networks: str) -> list[ipaddress.IPv4Network]:
    """Return the IPv4 subnets in the output of `podman network inspect`."""
    return [
        ipaddress.IPv4Network(subnet["subnet"], strict=False)
        for network in json.loads(networks or "[]")
        for subnet in network.get("subnets") or []
        if ":" not in subnet["subnet"]
    ]


def free_subnets(seed: str, taken: Iterable[ipaddress.IPv4Network]) -> Iterable[ipaddress.IPv4Network]:
    """Yield the pool's free subnets, from a place that depends on `seed` (hex), so that clones seldom try the same."""
    used = list(taken)
    count = 2 ** (PREFIX - POOL.prefixlen)
    step = 2 ** (32 - PREFIX)
    for number in range(count):
        offset = (int(seed, 16) + number) % count
        subnet = ipaddress.IPv4Network((int(POOL.network_address) + offset * step, PREFIX))
        if not any(subnet.overlaps(other) for other in used):
            yield subnet


def address(subnet: str, number: int) -> str:
    """Return the address of the instance's host number 0, 1, 2 …"""
    return str(ipaddress.ip_network(subnet)[FIRST_HOST + number])


def mac_of(host_address: str) -> str:
    """Return a hardware address that stays the same for a host, so that no neighbour's ARP entry goes stale."""
    return "0a:58:" + ":".join(f"{int(part):02x}" for part in host_address.split("."))


def gateway_of(host_address: str) -> str:
    """Return the address of the bridge that a host is attached to."""
    return str(ipaddress.ip_interface(f"{host_address}/{PREFIX}").network[1])


def ensure(clone: Clone, instance: str) -> str:
    """Make the instance's network unless it is there, and return its subnet."""
    name = clone.network(instance)
    existing = shell.podman("network", "inspect", name, check=False)
    if existing.returncode == 0:
        subnets = taken_by_networks(existing.stdout)
        if subnets:
            return str(subnets[0])
        shell.podman("network", "rm", "-f", name)
    complaint = "none"
    for attempt, subnet in enumerate(free_subnets(clone.hash, taken())):
        # No name service: it would need port 53 on the bridge, and hosts are reached by their fixed address.
        made = shell.podman(
            "network", "create", "--disable-dns", "--subnet", str(subnet), *clone.labels(instance), name, check=False
        )
        if made.returncode == 0:
            return str(subnet)
        complaint = made.stderr.strip()
        if attempt == 4:  # another clone may take a subnet between our look and our call; five times in a row it is not
            break
    raise LabError(
        expected=f"a free /{PREFIX} network in {POOL} for podman",
        found=complaint,
        remedy="Look at `ip route` and `podman network ls`; `make clean-lab` removes this clone's networks.",
    )


def remove(names: Iterable[str]) -> None:
    """Remove podman networks, and their bridges if a killed run left those behind (then podman does not)."""
    chosen = list(names)
    if not chosen:
        return
    described = json.loads(shell.podman("network", "inspect", *chosen).stdout)
    shell.podman("network", "rm", "--force", *chosen)
    bridges = {network.get("network_interface") for network in described} - {None, ""}
    links = json.loads(shell.run(["ip", "-j", "link", "show"]).stdout)
    for link in links:
        if link["ifname"] in bridges or link.get("master") in bridges:
            shell.run(["ip", "link", "delete", link["ifname"]], root=True, check=False)


def taken() -> list[ipaddress.IPv4Network]:
    """Return every IPv4 network that this machine routes to or that podman knows."""
    routes = shell.run(["ip", "-j", "-4", "route", "show", "table", "all"]).stdout
    names = shell.podman("network", "ls", "-q").stdout.split()
    networks = shell.podman("network", "inspect", *names).stdout if names else "[]"
    return taken_by_routes(routes) + taken_by_networks(networks)
