# SPDX-License-Identifier: GPL-3.0-or-later
"""What each host served, by the runs that a controller remembers: which deployments rollbacks were for, and which brought nothing new.

A host's deployments are kept as a pile, the one that it serves on top. A rollback is for what each of its hosts served, however it ended
there. Which run that was its own record says (`takes_back`, which hosts' histories have named); without that it is the top of the pile, so
that a deployment to other hosts is never meant. Where a name is that of a rollback, it is what that one went back to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from .memory import HostOfRun, RunRecord

AS_ASKED: Final = "as asked"
UNTOUCHED: Final = "untouched"
UNCHANGED: Final = "unchanged"
# Outcomes of hosts on which nothing was switched. Of a lost one nobody knows, so that it may have been.
NOT_SWITCHED: Final = (UNTOUCHED, UNCHANGED)
WENT_BACK: Final = "reverted"
CONFIRMED: Final = "confirmed"
# Outcomes after which a host serves what the run brought, well or not.
KEPT: Final = (CONFIRMED, "unwell", "unfinished")
# A deployment that is unverified has gone back, a rollback has gone where it was to go: both serve the older release.
UNVERIFIED: Final = "unverified"


@dataclass(frozen=True)
class Fates:
    """What became of deployments, by the ids of their runs.

    ``taken_back``: the hosts on which a rollback was for it. ``unseen``: when (Unix seconds) a rollback of it began that was cut off, so that
    nobody noted its hosts. ``spoiled``: runs and hosts where what the run had confirmed was taken back. ``redeployments``: those that found
    the same release on every host that they switched, as where secrets are rotated.
    """

    taken_back: dict[str, set[str]] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    spoiled: set[tuple[str, str]] = field(default_factory=set)
    redeployments: set[str] = field(default_factory=set)

    def is_taken_back(self, run_id: str) -> bool:
        return run_id in self.taken_back or run_id in self.unseen


@dataclass
class _Layer:
    """A release on a host: the deployment that brought it, "" where nobody noted it, and all runs that said that the host serves it."""

    release_id: str
    brought_by: str = ""
    run_ids: list[str] = field(default_factory=list)


@dataclass
class _Host:
    """``is_known`` is whether it surely serves the top of its pile, and well; ``is_open`` whether a deployment that was cut off may have
    switched it, and no later run has said what it serves."""

    pile: list[_Layer] = field(default_factory=list)
    is_known: bool = False
    is_open: bool = False

    def has(self, release_id: str) -> bool:
        """Whether it serves that release, as far as is known."""
        return bool(self.is_known and self.pile and release_id and self.pile[-1].release_id == release_id)

    def put(self, release_id: str, by: str = "") -> None:
        self.pile.append(_Layer(release_id, by))

    def says(self, run_id: str, *, is_known: bool) -> None:
        """Note that by this run it serves the top of its pile."""
        self.pile[-1].run_ids.append(run_id)
        self.is_known, self.is_open = is_known, False


def followed(runs: Iterable[RunRecord]) -> Fates:
    """Follow the runs of one application in one environment, those that are over, in the order of their ends (of one without: its beginning)."""
    follower = _Follower()
    for run in runs:
        follower.follow(run)
    return follower.fates


class _Follower:
    def __init__(self) -> None:
        self.fates = Fates()
        self.hosts: dict[str, _Host] = {}
        self.deployments: set[str] = set()

    def follow(self, run: RunRecord) -> None:
        if run.operation == "deploy":
            self.deployments.add(run.run_id)
            if run.ended is None:
                self._cut_off_deployment(run)
            else:
                self._deployment(run)
        elif run.operation == "rollback" and run.ended is None:
            self._cut_off_rollback(run)
        elif run.operation == "rollback":
            self._rollback(run)

    def _host(self, name: str) -> _Host:
        return self.hosts.setdefault(name, _Host())

    def _deployment(self, run: RunRecord) -> None:
        switched = [host for host in run.hosts if host.outcome not in NOT_SWITCHED]
        if switched and all(self._host(host.name).has(run.release_id) for host in switched):
            self.fates.redeployments.add(run.run_id)
        for host in run.hosts:
            self._deployed(run, host)

    def _deployed(self, run: RunRecord, host: HostOfRun) -> None:
        state = self._host(host.name)
        if host.outcome in (UNTOUCHED, WENT_BACK) or (host.outcome == UNCHANGED and not run.release_id):
            return  # what it served before
        if state.has(run.release_id):
            state.says(run.run_id, is_known=True)  # however it ended there, it is the same release
            return
        if host.outcome == UNVERIFIED:
            state.is_known = False
            return
        if host.outcome == UNCHANGED and not (state.pile and state.pile[-1].release_id == run.release_id):
            state.put(run.release_id)
        elif host.outcome != UNCHANGED:
            state.put(run.release_id, run.run_id)
        state.says(run.run_id, is_known=host.outcome in (CONFIRMED, UNCHANGED))

    def _cut_off_deployment(self, run: RunRecord) -> None:
        """Nobody noted its hosts: it may have been any of them."""
        if self.hosts and all(state.has(run.release_id) for state in self.hosts.values()):
            self.fates.redeployments.add(run.run_id)
            return
        for state in self.hosts.values():
            state.is_known, state.is_open = False, True

    def _cut_off_rollback(self, run: RunRecord) -> None:
        for run_id in self.deployments.intersection(run.takes_back):
            self.fates.unseen[run_id] = run.began
        for state in self.hosts.values():
            state.is_known = False

    def _rollback(self, run: RunRecord) -> None:
        hosts = [host for host in run.hosts if host.outcome != UNCHANGED]
        found: set[str] = set()
        for host in hosts:
            state = self._host(host.name)
            layers = self._meant(state, run)
            found |= self._condemn(host.name, [state.pile[place] for place in layers])
            self._went(state, run, host.outcome, layers)
        # Deployments whose hosts nobody noted, or that had another name then.
        for run_id in self.deployments.intersection(run.takes_back) - found:
            self.fates.taken_back.setdefault(run_id, set()).update(host.name for host in hosts)

    def _meant(self, state: _Host, run: RunRecord) -> range:
        """The places in a host's pile of what a rollback is for: neighbours with the same release."""
        top = len(state.pile) - 1
        if run.takes_back:
            while top >= 0 and not set(state.pile[top].run_ids) & set(run.takes_back):
                top -= 1
        elif top >= 0:
            is_there = bool(run.release_id) and state.pile[top].release_id == run.release_id
            if is_there or (state.is_open and not run.release_id):
                top = -1
        if top < 0:
            return range(0)
        first, last = top, top
        while first > 0 and _are_same(state.pile[first - 1], state.pile[top]):
            first -= 1
        while last + 1 < len(state.pile) and _are_same(state.pile[last + 1], state.pile[top]):
            last += 1
        return range(first, last + 1)

    def _condemn(self, name: str, layers: Iterable[_Layer]) -> set[str]:
        """Note that what these deployments brought to a host was to be taken back; all their runs."""
        runs: set[str] = set()
        for layer in layers:
            runs.update(layer.run_ids)
            if layer.brought_by:
                self.fates.taken_back.setdefault(layer.brought_by, set()).add(name)
        self.fates.spoiled.update((run_id, name) for run_id in runs)
        return runs

    def _went(self, state: _Host, run: RunRecord, outcome: str, meant: range) -> None:
        """What a host serves after a rollback."""
        if outcome in (UNTOUCHED, WENT_BACK):
            return
        if outcome not in (*KEPT, UNVERIFIED):
            state.is_known = False
            return
        end = meant.start if meant else len(state.pile)
        if run.release_id:
            while end > 0 and state.pile[end - 1].release_id != run.release_id:
                end -= 1
        del state.pile[end:]
        if not state.pile:
            state.put(run.release_id)
        state.says(run.run_id, is_known=bool(run.release_id) and outcome == CONFIRMED)


def _are_same(one: _Layer, other: _Layer) -> bool:
    return bool(one.release_id) and one.release_id == other.release_id
