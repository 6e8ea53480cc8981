# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions: groups of the inventory that a rollout takes one after the other, and that requests can be moved away from.

``release_region_order`` names them. Pure functions of what the inventory says and hosts answered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import Refusal, quoted

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
RESERVED: Final = ("all", "ungrouped", "canary")  # groups of every inventory, and the word of release_pause_after


@dataclass(frozen=True)
class Region:
    """A region and its hosts of a run, by name; one that is failed over gets no requests, so that it is no capacity."""

    name: str
    hosts: tuple[str, ...]
    is_failed_over: bool = False


def read_regions(
    order: object, groups: Mapping[str, Sequence[str]], hosts: Iterable[str], failed_over: Iterable[str] = ()
) -> tuple[Region, ...]:
    """The regions of a run in their order, without those that have none of its hosts; nothing where no order is given.

    ``order`` is ``release_region_order``, ``groups`` {group: its hosts} those of the inventory, ``hosts`` those of the run, and
    ``failed_over`` those that their balancers keep out: a region is failed over with all of its hosts.
    Refusal ``regions_invalid`` names every mistake: each host of the run is in exactly one region.
    """
    if not order:
        return ()
    if isinstance(order, str) or not isinstance(order, Sequence) or not all(isinstance(each, str) for each in order):
        raise _invalid([f"a list of names of groups is expected, found {quoted(order)}"])
    names, run, out = list(dict.fromkeys(str(each) for each in order)), sorted(hosts), set(failed_over)
    mistakes = [f"{name} is named {count} times" for name, count in Counter(map(str, order)).items() if count > 1]
    for name in names:
        if name in RESERVED or not NAME.fullmatch(name):
            mistakes.append(f"{quoted(name)} cannot be the name of a region")
        elif name not in groups:
            mistakes.append(f"{name} is no group of the inventory")
        elif not groups[name]:
            mistakes.append(f"{name} has no hosts")
    places = {host: [name for name in names if host in set(groups.get(name, ()))] for host in run}
    mistakes += [f"{host} is in {' and in '.join(found)}" for host, found in places.items() if len(found) > 1]
    mistakes += [f"{host} is in none of them" for host, found in places.items() if not found]
    if mistakes:
        raise _invalid(mistakes)
    members = {name: tuple(host for host in run if places[host] == [name]) for name in names}
    return tuple(Region(name, those, out >= set(those)) for name, those in members.items() if those)


def _invalid(mistakes: Sequence[str]) -> Refusal:
    return Refusal(
        "regions_invalid",
        expected="release_region_order to name groups of the inventory, each once, and every host of the run to be in exactly one of them",
        found=f"{'; '.join(mistakes)}; nothing was changed anywhere",
        remedy="Correct release_region_order in group_vars, or the groups in the inventory (docs/howto/regions.md).",
    )


def regions_of(orders: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """{host: its region} for looking at, without any refusal; ``orders`` has each host's ``release_region_order``.

    A host that is in none, or in several, is not in it.
    """
    found = {}
    for host, order in orders.items():
        names = [name for name in order or () if isinstance(name, str) and host in groups.get(name, ())]
        if len(set(names)) == 1:
            found[host] = names[0]
    return found


def with_regions(
    answers: Mapping[str, Mapping[str, Any]],
    regions: Mapping[str, str],
    kept_out: Mapping[str, Mapping[str, Sequence[str]]],
) -> dict[str, dict[str, Any]]:
    """The answers of hosts, each with its ``region`` where it is in one, and there with ``kept_out_by``, the balancers that give it no requests."""
    found = {host: dict(answer) for host, answer in answers.items()}
    for host, region in regions.items():
        if host in found:
            found[host] |= {
                "region": region,
                "kept_out_by": [balancer for balancer, each in kept_out.items() if host in each.get("held", ())],
            }
    return found


def region_lines(
    regions: Mapping[str, Sequence[str]], serves: Mapping[str, str], out: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[str]:
    """A line for each region: how many of its hosts serve what, and where requests are kept away from them.

    ``regions`` {region: hosts}; ``serves`` {host: what it serves, in words}; ``out`` {balancer: {"hosts": hosts
    behind it, "held": those that it keeps out, not there where it did not answer}}. A region that only some balancers keep out is named with both.
    """
    lines = []
    for name, hosts in regions.items():
        counted = Counter(serves.get(host, "unknown") for host in hosts)
        served = ", ".join(
            f"{what} on {count} {'host' if count == 1 else 'hosts'}" for what, count in sorted(counted.items())
        )
        lines.append(f"region {name}: {served}{_traffic(set(hosts), out)}")
    return lines


def _traffic(hosts: set[str], out: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    asked = {balancer: found for balancer, found in sorted(out.items()) if hosts.intersection(found["hosts"])}
    silent = [balancer for balancer, found in asked.items() if "held" not in found]
    held = {balancer: hosts.intersection(found["held"]) for balancer, found in asked.items() if balancer not in silent}
    away = [balancer for balancer, some in held.items() if some >= hosts.intersection(asked[balancer]["hosts"])]
    partly = {balancer: sorted(some) for balancer, some in held.items() if some and balancer not in away}
    others = [balancer for balancer, some in held.items() if not some]
    said = []
    if away:
        said.append(f"failed over at {', '.join(away)}{f', but not at {chr(44).join(others)}' if others else ''}")
    said += [f"{balancer} keeps {', '.join(some)} out" for balancer, some in partly.items()]
    if silent:
        said.append(f"no answer from {', '.join(silent)}")
    return f"; {'; '.join(said)}" if said else ""
