# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances of an application on one host: the new one starts beside the old one, is judged, and only then gets traffic.

At rest one colour runs: the one whose link ``instances/<colour>`` says the same release as ``current``; the other has no link. Each colour
has a link to its credentials too; at rest both say what ``current`` of the credentials says. An
instance starts only while both links name one directory (ExecCondition= of the unit), so that after a reboot the links alone say
what runs. HAProxy keeps nothing: both colours are its servers, and it sees itself which of them listens.

In a transaction the colour that runs is ``before`` and the other is ``after``. From the switch to the outcome both run, so that a way
back is only a matter of traffic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..application import blue_green as pairs
from ..application.blue_green import COLOURS, WHOLE_WEIGHT, BlueGreen, Instances, other
from ..application.description import Application, Patience, Probe
from ..application.health import Prober, Verdict, judge
from ..application.service import Service
from ..base.command import Finished
from ..base.errors import Refusal
from ..base.files import fsync_directory, point_link, read_link, remove_durable
from .credentials import Credentials
from .haproxy import Haproxy, Server
from .places import Places

ADMITTED_SECONDS: Final = 10.0
SHARING: Final = Patience(
    interval_seconds=1, retries=2, deadline_seconds=10
)  # one probe that is not answered is no verdict


@dataclass(frozen=True)
class TwoInstances:
    """``blue_green``. ``intent`` is the open transaction's; of it `instances` and `share` count."""

    application: Application
    pair: BlueGreen
    places: Places
    intent: Mapping[str, Any]

    @property
    def balancer(self) -> Haproxy:
        return Haproxy(self.places.host.balancer_socket, self.places.host.clock)

    def units(self) -> Sequence[str]:
        return [self.service(colour).unit for colour in (self.active, other(self.active))]

    def require_loaded(self) -> None:
        for colour in COLOURS:
            self.service(colour).require_loaded()
        for colour in COLOURS:
            self.balancer.server(self.application.name, colour)

    def plan(self) -> Mapping[str, Any]:
        for colour in COLOURS:
            self.balancer.server(self.application.name, colour)
        before = self._linked()
        if not self.places.instances.is_dir():
            self.places.instances.mkdir(mode=0o755)
            fsync_directory(self.places.base)
        return {"instances": {"before": before, "after": other(before or COLOURS[1])}}

    # what runs

    def service(self, colour: str) -> Service:
        return Service(pairs.instance_unit(self.application.unit or "", colour), self.places.host.run)

    def link(self, colour: str) -> Path:
        return self.places.instances / colour

    @property
    def active(self) -> str:
        """The colour of what is active now, or of what would be first."""
        return self._linked() or COLOURS[0]

    def _linked(self) -> str | None:
        """The colour whose links say what ``current`` says, of the release and of the credentials."""
        current = read_link(self.places.current)
        generation = self.credentials.current()
        return next(
            (
                colour for colour in COLOURS
                if current and read_link(self.link(colour)) == f"../{current}" and self.credentials.current(colour) in (generation, None)
            ),
            None,
        )  # fmt: skip

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.places, self.application)

    @property
    def _planned(self) -> Instances:
        return self.intent.get("instances") or {}

    @property
    def after(self) -> str:
        return self._planned.get("after") or other(self.active)

    @property
    def before(self) -> str:
        return other(self.after)

    # the way forward

    def run(self) -> Verdict:
        """Start the other colour without traffic, judge it on its own port, then let traffic move."""
        self._weigh(self.after, 0, "maint")
        if failure := self._started(self.after, afresh=True):
            return failure
        verdict = self.judge_instance(self.after)
        if verdict.is_failure:
            return verdict
        if self._planned.get("before") is None or self.intent.get("rollback"):  # nobody to share with, or in haste
            return self._moved(verdict)
        percent: int | None = self.intent.get("share")
        if self.pair.sharing is not None:
            shared = self._shared(self.pair.sharing, percent or self.pair.sharing.percent)
            if shared.is_failure:
                return shared
        return self.share(percent) if percent else self._moved(verdict)

    def _started(self, colour: str, *, afresh: bool) -> Verdict | None:
        """Let the colour run what ``current`` says; None when systemd did so."""
        self._point(colour)
        service = self.service(colour)
        finished = service.restart() if afresh else service.start()
        if finished.succeeded:
            return None
        return Verdict("failure", 1, f"systemctl could not start {service.unit}: {finished.described()}")

    def _point(self, colour: str) -> None:
        """Let the colour run what ``current`` says, with the credentials of that."""
        self._align(colour)
        target = f"../{read_link(self.places.current)}"
        if read_link(self.link(colour)) != target:
            point_link(self.link(colour), target)

    def _align(self, colour: str) -> None:
        """Let the colour have the credentials that go for what is active."""
        if generation := self.credentials.current():
            self.credentials.point(generation, colour)

    def _moved(self, verdict: Verdict) -> Verdict:
        """All traffic to the colour ``after``, once HAProxy's own check reaches it too.

        The one before answers what it has begun, and runs on for a way back.
        """
        admitted = self._admitted(self.after)
        if not admitted.is_up:
            found = f"HAProxy gives {self.service(self.after).unit} no traffic: {admitted.described()}"
            return Verdict("failure", verdict.attempts, found)
        self._weigh(self.before, 0, "drain")
        return verdict

    def _admitted(self, colour: str) -> Server:
        """Give the colour all that it can get, and wait until HAProxy's own check has reached it."""
        self._weigh(colour, WHOLE_WEIGHT, "ready")
        return self.balancer.awaited(self.application.name, colour, ADMITTED_SECONDS, lambda server: server.is_up)

    def share(self, percent: int | None) -> Verdict:
        shared = Verdict("success", 1, f"{percent or WHOLE_WEIGHT}% of the traffic")
        if percent is None or percent >= WHOLE_WEIGHT:
            return self._moved(shared)
        for colour, weight in ((self.before, WHOLE_WEIGHT - percent), (self.after, percent)):
            self._weigh(colour, weight, "ready")
        return shared

    def _shared(self, sharing: pairs.Sharing, percent: int) -> Verdict:
        """Both live for a while: does the new one keep well, and what does the declared command say?"""
        self.share(percent)
        clock = self.places.host.clock
        deadline = clock.elapsed() + sharing.seconds
        while True:
            verdict = self.judge_instance(self.after, SHARING)
            if verdict.is_failure:
                return Verdict("failure", verdict.attempts, f"with {percent}% of the traffic: {verdict.detail}")
            if (left := deadline - clock.elapsed()) <= 0:
                break
            clock.sleep(min(SHARING.interval_seconds, left))
        finished = self._asked(sharing)
        if finished is None or finished.succeeded:
            return verdict
        found = (
            f"after {sharing.seconds} s with {percent}% of the traffic {' '.join(sharing.argv)}: {finished.described()}"
        )
        return Verdict("failure", verdict.attempts, found)

    def _asked(self, sharing: pairs.Sharing) -> Finished | None:
        if not sharing.argv:
            return None
        port = self.pair.instance_ports[self.after]
        argv = [word.replace(pairs.PORT, str(port)) for word in sharing.argv]
        directory = self.link(self.after).resolve()
        return self.places.host.run(
            argv, timeout_seconds=sharing.timeout_seconds, user=self.application.user, directory=directory
        )

    # the way back, and the end

    def run_again(self) -> Verdict:
        """Traffic back to the colour before, which mostly runs still; whatever HAProxy says to that, the unit is to run."""
        if failure := self._started(self.before, afresh=False):
            return failure
        verdict = self.judge_instance(self.before)
        try:
            self._weigh(self.before, WHOLE_WEIGHT, "ready")
            self._weigh(self.after, 0, "drain")
        except Refusal as refusal:
            return Verdict("failure", verdict.attempts, f"{verdict.detail}; {refusal}")
        return verdict

    def stay(self) -> Verdict:
        """Traffic comes when this is settled, well or not: the release before must have none."""
        return self._started(self.after, afresh=True) or self.judge_instance(self.after)

    def stop(self) -> Verdict:
        verdicts = [self._ended(colour, drain_seconds=0) for colour in COLOURS]
        failed = [verdict for verdict in verdicts if verdict.is_failure]
        return failed[0] if failed else verdicts[0]

    def settle(self, *, kept: bool, boot: bool = False) -> None:
        """One colour stays, with all of the traffic; the other answers what it has begun, then ends."""
        stays = self._planned.get("after" if kept else "before")
        if stays is None:
            return
        leaves = other(stays)
        self._point(stays)
        if boot:
            remove_durable(self.link(leaves))
            self._align(leaves)
            return
        with suppress(Refusal):  # a HAProxy that starts later finds one instance
            self._admitted(stays)
        self._ended(leaves, drain_seconds=self.pair.drain_seconds)

    def _ended(self, colour: str, *, drain_seconds: float) -> Verdict:
        """No new requests, then none at all, then no process, then no link."""
        service = self.service(colour)
        with suppress(Refusal):  # nobody who could send requests
            self.balancer.drained(self.application.name, colour, drain_seconds)
            self.balancer.set_state(self.application.name, colour, "maint")
        finished = service.stop()
        remove_durable(self.link(colour))
        self._align(colour)
        outcome = "success" if finished.succeeded else "failure"
        return Verdict(outcome, 1, f"stop of {service.unit}: {finished.described()}")

    def _weigh(self, colour: str, weight: int, state: str) -> None:
        self.balancer.set_weight(self.application.name, colour, weight)
        self.balancer.set_state(self.application.name, colour, state)

    # health

    def probes(self) -> Sequence[Probe]:
        return self._probes(self.active)

    def _probes(self, colour: str) -> tuple[Probe, ...]:
        return tuple(probe.at(self.pair.instance_ports[colour]) for probe in self.application.health)

    def prober(self) -> Prober:
        return self._prober(self.active)

    def _prober(self, colour: str) -> Prober:
        return Prober(self.places.host.run, self.application.user, self.service(colour))

    def judge(self, patience: Patience | None = None) -> Verdict:
        return self.judge_instance(self.active, patience)

    def judge_instance(self, colour: str, patience: Patience | None = None) -> Verdict:
        """The health of one colour, on its own port."""
        patience = patience or self.application.health_patience
        return judge(self._probes(colour), patience, self._prober(colour), self.places.host.clock)

    def startup_milliseconds(self) -> int | None:
        return self.service(self.after if self._planned else self.active).startup_milliseconds()
