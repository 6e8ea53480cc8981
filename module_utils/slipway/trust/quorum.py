# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting: whether those who agreed are enough of those who must."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Given = Mapping[str, Collection[str]]


def missing(needed: Mapping[str, int], given: Given, *, distinct: bool) -> dict[str, int]:
    """Return how many holders of which role are still missing; roles that are complete are left out.

    `needed` is how many holders of each role must agree, `given` which holders of each role did. With `distinct` nobody
    counts for two roles: then the holders are spread over the roles so that as many places as possible are taken.
    """
    taken = _spread(needed, given) if distinct else {role: len(set(given.get(role, ()))) for role in needed}
    return {role: count - taken[role] for role, count in needed.items() if taken[role] < count}


def _spread(needed: Mapping[str, int], given: Given) -> dict[str, int]:
    """How many places of each role are taken when the most are: augmenting paths in a bipartite graph (Kuhn)."""
    places = [(role, number) for role, count in needed.items() for number in range(count)]
    holder_of: dict[tuple[str, int], str] = {}
    roles: dict[str, list[str]] = {}
    for role, holders in given.items():
        for holder in holders:
            roles.setdefault(holder, []).append(role)

    def seat(holder: str, seen: set[tuple[str, int]]) -> bool:
        for place in places:
            if place[0] in roles[holder] and place not in seen:
                seen.add(place)
                if place not in holder_of or seat(holder_of[place], seen):
                    holder_of[place] = holder
                    return True
        return False

    for holder in sorted(roles):
        seat(holder, set())
    return {role: sum(place[0] == role for place in holder_of) for role in needed}
