# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets an alert, and what happens while nobody takes it.

1. Every alert is in the queue, and the queue on disk, before anything is sent: what is sent may be sent twice, and is never lost.
2. Alertmanager, where there is one, gets all that is new and all that is firing, each time, as it gets it from Prometheus: so it knows what
   fires also after it was away. It deduplicates, groups and routes; what it took is done.
3. When it does not take them, they go out directly by Slack, webhook and mail, each to the channels that want its severity, at the
   same time and in their order. What a channel does not take waits for that channel, or for Alertmanager; of a mail, for those recipients
   that may take it later.
4. What nobody took within ``keep_hours``, or will ever take, is given up, and that is an event.

Each channel has a circuit (`circuit`), so that one that is away costs little. What became of it is said by ``slipway watch status``, and
by a message when it works again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..base.errors import Refusal
from ..base.together import Done, Job, together
from .agent_memory import Memory, Queued
from .alert import FIRING, NOTICE, RESOLVED, Alert
from .alert_history import AlertHistory
from .channels import NotDelivered, Sender
from .check import DIRECT, Channel, Settings
from .circuit import Circuit
from .escalation import INFO, SEVERITIES
from .events import ERROR_EVENT, SYSTEM_EVENT, Events

ALERTMANAGER: Final = "alertmanager"
PROGRAMS: Final = ("webhook",)
MOST_QUEUED: Final = 1000
# How long Alertmanager takes an alert for firing that it hears no more of; at least four of the agent's runs.
LEAST_FIRING_SECONDS: Final = 300
# Of all time-outs of a channel (look-up, connection, each part of a conversation) so much together.
PATIENCE: Final = 2.0


@dataclass(frozen=True)
class Outcome:
    """Of one alert on one channel: ``error`` is why it was not taken, or not by all; None where it was.

    ``is_of_recipients``: the channel works, and some recipients of a mail did not take it.
    """

    number: str
    error: NotDelivered | None = None
    is_of_recipients: bool = False


@dataclass
class Delivery:
    """Delivers the alerts of one process. ``chance`` gives numbers from 0 to 1; ``now`` Unix seconds; ``elapsed`` those of a clock that nobody sets."""

    settings: Settings
    memory: Memory
    sender: Sender
    history: AlertHistory
    events: Events
    now: Callable[[], int]
    chance: Callable[[], float]
    host: str = ""
    environment: str = ""
    elapsed: Callable[[], float] = time.monotonic

    @property
    def channels(self) -> Mapping[str, Channel]:
        return self.settings.channels

    def add(self, alert: Alert, *, is_for_people: bool = True) -> str:
        """Queue an alert, or put it in the place of the same one that still waits if nothing was said of the matter since; its number in the history.

        One that is not for people only tells programs that it is over: those that know it by its key.
        """
        if alert.state == FIRING:
            self.memory.firing[alert.key] = alert
        elif alert.state == RESOLVED:
            self.memory.firing.pop(alert.key, None)
        waiting = next((each for each in reversed(self.memory.queue) if each.alert.key == alert.key), None)
        if waiting and (waiting.alert.state, waiting.is_for_people) == (alert.state, is_for_people):
            if not waiting.was_taken:
                waiting.alert = alert
                return waiting.number
            self.memory.queue.remove(waiting)  # who did not take that one gets this one, and so does who did
        number = secrets.token_hex(8)
        if is_for_people:
            counted = f"{alert.application}|{alert.severity}"
            self.memory.alerts[counted] = self.memory.alerts.get(counted, 0) + 1
            self._noted(lambda: self.history.raised(alert, number))
        self._wait(number, alert, is_for_people)
        return number

    def again(self, number: str, alert: Alert) -> None:
        """Queue an alert that the alert history has already, under its number there."""
        self._wait(number, alert, is_for_people=True)

    def _wait(self, number: str, alert: Alert, is_for_people: bool) -> None:
        pending = [ALERTMANAGER] if ALERTMANAGER in self.channels else self._direct(alert, is_for_people)
        if pending:
            self.memory.queue.append(Queued(number, alert, pending, self.now(), is_for_people))
        self._make_room()

    def deliver(self) -> None:
        """Try what waits, by the channels that may be tried now; a channel that works again announces itself, once."""
        recovered = self._to_alertmanager()
        recovered += self._to_people()
        for channel, why in recovered:
            self.add(self._recovery(channel, why))
        if recovered:
            self._to_alertmanager()
            self._to_people()
        self._give_up()

    # Alertmanager

    def _to_alertmanager(self) -> list[tuple[str, str]]:
        channel = self.channels.get(ALERTMANAGER)
        if channel is None:
            return []
        waiting = list(self.memory.queue)
        # What it was told last is what it believes: of each matter it gets the newest.
        batch = {each.alert.key: each.alert for each in waiting} | self.memory.firing
        if not batch:
            return []
        circuit = self._circuit(ALERTMANAGER)
        if not circuit.may_try(self.now()):
            self._turn_to_people()
            return []
        ends = self.now() + self._longest_pause()
        done = together(
            {
                ALERTMANAGER: Job(
                    lambda: self.sender.send(channel, list(batch.values()), ends=ends), self._seconds(channel)
                )
            }
        )
        why = _why(done[ALERTMANAGER])
        if why:
            self._failed(ALERTMANAGER, why)
            self._turn_to_people()
            return []
        for each in waiting:
            self._took(each, ALERTMANAGER)
        self.memory.queue.clear()
        return self._worked(ALERTMANAGER)

    def _turn_to_people(self) -> None:
        """What Alertmanager does not take now goes out directly; what only it was to hear, it hears by itself when that ends."""
        kept = []
        for each in self.memory.queue:
            if ALERTMANAGER in each.pending:
                direct = self._direct(each.alert, each.is_for_people)
                if not each.is_for_people and not direct:
                    continue
                each.pending = direct or [ALERTMANAGER]
            kept.append(each)
        self.memory.queue[:] = kept

    # Slack, webhook, mail

    def _to_people(self) -> list[tuple[str, str]]:
        jobs: dict[str, Job[None]] = {}
        came_of: dict[str, list[Outcome]] = {}
        for kind in DIRECT:
            waiting = [each for each in self.memory.queue if kind in each.pending]
            if waiting and kind in self.channels and self._circuit(kind).may_try(self.now()):
                came_of[kind] = []
                jobs[kind] = self._sending(self.channels[kind], waiting, came_of[kind])
        recovered: list[tuple[str, str]] = []
        for kind, done in together(jobs).items():
            outcomes = list(came_of[kind])
            if done.error is not None:  # the one that it hangs at may have been sent: it is sent again
                outcomes.append(Outcome("", NotDelivered(_why(done))))
            for outcome in outcomes:
                recovered += self._came_of(kind, outcome)
        self.memory.queue[:] = [each for each in self.memory.queue if each.pending]
        return recovered

    def _sending(self, channel: Channel, waiting: Sequence[Queued], outcomes: list[Outcome]) -> Job[None]:
        """Send one after another and note what came of each, as long as there is time for the next one to end as well."""
        batch = [(each.number, each.alert, tuple(each.recipients)) for each in waiting]
        batch.sort(key=lambda each: bool(each[2]))  # who was refused for now waits for those whom nobody has told
        job_seconds = self._seconds(channel, len(batch))
        last = self.elapsed() + job_seconds - self._seconds(channel)

        def send() -> None:
            for number, alert, left in batch:
                if outcomes and self.elapsed() > last:
                    return
                try:
                    self.sender.send(replace(channel, recipients=left) if left else channel, [alert], ends=0)
                    outcomes.append(Outcome(number))
                except NotDelivered as error:
                    is_of_recipients = error.is_partial or (bool(left) and error.left is not None)
                    outcomes.append(Outcome(number, error, is_of_recipients))
                    if not error.refused and not is_of_recipients:
                        return

        return Job(send, job_seconds)

    def _came_of(self, kind: str, outcome: Outcome) -> list[tuple[str, str]]:
        queued = next((each for each in self.memory.queue if each.number == outcome.number), None)
        error = outcome.error
        if queued is not None and (error is None or error.is_partial):
            queued.was_taken = True
            self._took(queued, kind)
        if queued is not None and error is not None and outcome.is_of_recipients and error.left:
            queued.recipients = list(error.left)
            self._told("alert_deferred", f"{kind} asks again later: {error}", kind, queued)
        elif queued is not None and (error is None or error.refused or outcome.is_of_recipients):
            queued.pending.remove(kind)
            if error is not None:
                self._told("alert_refused", f"{kind} refuses an alert: {error}", kind, queued)
        if error is None or outcome.is_of_recipients:
            return self._worked(kind)
        self._failed(kind, str(error))
        if queued is not None and not queued.pending and not queued.was_taken:
            self._lose(queued, f"{kind} refuses it: {error}")
        return []

    def _told(self, event: str, message: str, kind: str, queued: Queued) -> None:
        self.events.write(ERROR_EVENT, event, message, channel=kind, number=queued.number)

    # what all channels have in common

    def _longest_pause(self) -> int:
        """Seconds after which an agent of which nothing is heard is taken for one that does not run."""
        return max(LEAST_FIRING_SECONDS, 4 * self.settings.interval_seconds)

    def _seconds(self, channel: Channel, count: int = 1) -> float:
        """How long so many alerts may take altogether."""
        return channel.timeout_seconds * PATIENCE * min(count, 3)

    def _direct(self, alert: Alert, is_for_people: bool) -> list[str]:
        """The channels that an alert goes out by when it goes out directly."""
        least = SEVERITIES.index(alert.severity)
        return [
            kind
            for kind in (DIRECT if is_for_people else PROGRAMS)
            if kind in self.channels and SEVERITIES.index(self.channels[kind].severity) <= least
        ]

    def _circuit(self, kind: str) -> Circuit:
        return self.memory.circuits.get(kind, Circuit())

    def _failed(self, kind: str, why: str) -> None:
        why = self.sender.redactor.text(why)
        before = self._circuit(kind)
        after = before.failure(self.now(), why, self.chance())
        self.memory.circuits[kind] = after
        self.events.write(
            ERROR_EVENT, "channel_failed", f"{kind} did not take an alert: {why}", channel=kind, failures=after.failures
        )
        if after.degraded is not None and before.degraded is None:
            self.events.write(ERROR_EVENT, "channel_degraded", f"{kind} is degraded: {why}", channel=kind)
        if after.opened is not None and before.opened is None:
            self.events.write(ERROR_EVENT, "breaker_opened", f"{kind} is left alone for a while", channel=kind)

    def _worked(self, kind: str) -> list[tuple[str, str]]:
        """Note that a channel took something; with its reason when it was degraded until now."""
        before = self._circuit(kind)
        self.memory.circuits[kind] = before.success()
        if before.degraded is None:
            return []
        lasted = max(0, self.now() - before.degraded)
        self.events.write(
            SYSTEM_EVENT, "channel_recovered", f"{kind} takes alerts again, after {lasted} s", channel=kind
        )
        return [(kind, f"{kind} takes alerts again, after {lasted} s. It did not because of: {before.why}")]

    def _recovery(self, kind: str, message: str) -> Alert:
        identity = self.events.run_id or self.events.trace.trace_id
        return Alert(
            INFO, "channel_recovered", message, self.now(), state=NOTICE, host=self.host, environment=self.environment, check=kind,
            run_id=identity,
        )  # fmt: skip

    def _took(self, queued: Queued, kind: str) -> None:
        if queued.is_for_people:
            self._noted(lambda: self.history.delivered(queued.number, kind, self.now()))

    def _noted(self, note: Callable[[], None]) -> None:
        """The alert history is for looking things up: a disk that takes no more of it holds no alert up."""
        try:
            note()
        except (OSError, Refusal) as error:
            self.events.write(ERROR_EVENT, "alert_history_failed", f"the alert history takes nothing: {error}")

    def _make_room(self) -> None:
        """Of too many, the least severe and oldest goes first."""
        while len(self.memory.queue) > MOST_QUEUED:
            least = min(
                range(len(self.memory.queue)), key=lambda i: (SEVERITIES.index(self.memory.queue[i].alert.severity), i)
            )
            self._lose(self.memory.queue.pop(least), "too many wait")

    def _give_up(self) -> None:
        """What has waited too long while the agent was there to try: neither a clock that is set forward nor a host that was off loses anything."""
        now, kept = self.now(), []
        passed = min(max(0, now - self.memory.tried), self._longest_pause())
        self.memory.tried = now
        for each in self.memory.queue:
            each.waited += min(passed, max(0, now - each.raised))
            if each.waited > self.settings.keep_hours * 3600:
                self._lose(each, f"{' and '.join(each.pending)} did not take it for {self.settings.keep_hours} h")
            else:
                kept.append(each)
        self.memory.queue[:] = kept

    def _lose(self, queued: Queued, why: str) -> None:
        self.memory.lost += 1
        if not queued.was_taken:
            self._noted(lambda: self.history.given_up(queued.number, self.now()))
        self.events.write(ERROR_EVENT, "alert_lost", f"{queued.alert.subject}: {why}", number=queued.number)


def _why(done: Done[Any]) -> str:
    """Why a job failed, "" where it did not."""
    if done.error is None:
        return ""
    return str(done.error) or type(done.error).__name__
