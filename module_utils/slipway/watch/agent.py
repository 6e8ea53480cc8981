# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of the agent: ask what is due, decide what follows, say it, write the metrics.

systemd starts it at intervals (``slipway-heartbeat.timer``). Nothing of it waits for anything without an end, and no step that fails keeps
the next one from its work: a disk that is full, a channel that is away, a check that hangs.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.files import read_if_there, temporary_name, write_all
from ..base.together import Done, Job, together
from ..host.places import Host, Identity, Places
from . import hook
from .agent_memory import Memory, Post, Remembered
from .alert import FIRING, NOTICE, RESOLVED, Alert, Redactor
from .alert_history import AlertHistory
from .channels import Credentials, Sender
from .check import Check, Settings
from .circuit import CLOSED, HALF_OPEN, Circuit
from .delivery import Delivery
from .escalation import DEGRADED, HEALTHY, SEVERITIES, STATUSES, UNHEALTHY, WARNING, Step, announced, step
from .events import ERROR_EVENT, PERFORMANCE_EVENT, SECURITY_EVENT, SYSTEM_EVENT, USER_ACTION, Events, Trace
from .facts import Facts, facts_of
from .metrics import Sample, exposition
from .probes import REMOTE, Finding, Probes, Surroundings
from .release_metrics import release_samples

LOCK_SECONDS: Final = 10.0
# Of an interval, how much may be lacking until a check is due: timers do not keep it to the millisecond.
EARLY: Final = 0.1
# All bytes of a large release take a while.
INTEGRITY_SECONDS: Final = 40
BREAKERS: Final = {CLOSED: 0, HALF_OPEN: 1}
OF_SECURITY: Final = ("integrity", "secret_age", "audit_records")
# It answers before it has told anybody.
TAKEN: Final = {"alertmanager": "accepted, for all of its channels; what one of them does not take is in its journal"}
BEGUN_LIMIT: Final = 1 << 20


@dataclass(frozen=True)
class Result:
    """What a check said, as others read it: {application, check, status, milliseconds, message, at}."""

    check: Check
    finding: Finding
    milliseconds: int
    at: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "application": self.check.application, "check": self.check.name, "status": self.finding.status,
            "milliseconds": self.milliseconds, "message": self.finding.message, "at": timestamp(self.at),
        }  # fmt: skip


@dataclass
class Agent:
    """The agent of a host, for one run."""

    host: Host
    settings: Settings
    credentials: Credentials = field(default_factory=Credentials.of_process)
    trace: Trace = field(default_factory=Trace.begin)
    chance: Callable[[], float] = field(default=lambda: int.from_bytes(os.urandom(2), "big") / 65535)

    def __post_init__(self) -> None:
        self.post = Post(self.host)
        redactor = Redactor.of(self.credentials.values())
        self.events = Events(self.host.root, self.host.clock, self.trace, redactor)
        self.redactor = redactor
        self.memory = Memory.load(self.post)
        self._facts: dict[str, Facts] = {}

    @cached_property
    def identity(self) -> Identity:
        """Who the host is. One that cannot say it is watched all the same."""
        try:
            return self.host.identity()
        except (Refusal, OSError):
            return Identity("", os.uname().nodename, "")

    @cached_property
    def delivery(self) -> Delivery:
        sender = Sender(self.credentials, self.redactor, self.trace.traceparent)
        return Delivery(
            self.settings, self.memory, sender, AlertHistory(self.post.alerts), self.events, self.host.clock.now, self.chance,
            self.identity.name, self.identity.environment,
        )  # fmt: skip

    def run(self, *, everything: bool = False) -> list[Result]:
        """Ask what is due, or everything; the results."""
        started = time.monotonic()
        now = self.host.clock.now()
        if self.memory.unreadable:
            self._begin_anew(now)
        self._forget_checks_that_are_gone()
        results = self._cut_off(now)
        checks = [check for check in self.settings.checks if everything or self._is_due(check, now)]
        asked = self._ask(checks)
        results += asked
        for result in results:
            self._follow(result)
        self._keep()  # before anything is sent, so that what is sent is never lost
        self.delivery.deliver()
        if self.memory.hooks:
            # People are told before it is tried: it may take its time.
            self._run_hooks()
            self.delivery.deliver()
        milliseconds = round((time.monotonic() - started) * 1000)
        self.events.write(
            PERFORMANCE_EVENT, "agent_run", f"{len(asked)} checks in {milliseconds} ms", checks=len(asked), milliseconds=milliseconds,
            not_healthy=sum(result.finding.status != HEALTHY for result in asked), queued=len(self.memory.queue),
        )  # fmt: skip
        for event, count in self.events.security.items():
            self.memory.security[event] = self.memory.security.get(event, 0) + count
        self._keep()
        self._write_metrics(milliseconds)
        return results

    def test(self) -> list[dict[str, Any]]:
        """Send one message through each enabled channel, whatever its circuit says: [{channel, accepted, detail, milliseconds}]."""
        self.events.write(USER_ACTION, "alert_test", "a message to each channel, to see which take it")
        text = "This is a test. Nothing is wrong; nobody has to do anything."
        alert = self._alert("INFO", "alert_test", text, state=NOTICE, run_id=self.trace.trace_id)
        sender, ends = self.delivery.sender, alert.at + 60
        jobs = {
            kind: Job(lambda channel=channel: sender.send(channel, [alert], ends=ends), 2.0 * channel.timeout_seconds)  # type: ignore[misc]
            for kind, channel in self.settings.channels.items()
        }
        done: dict[str, Done[Any]] = together(jobs)
        return [
            {
                "channel": kind, "accepted": each.error is None, "milliseconds": each.milliseconds,
                "detail": self.redactor.text(str(each.error or TAKEN.get(kind, "accepted"))),
            }
            for kind, each in done.items()
        ]  # fmt: skip

    def _begin_anew(self, now: int) -> None:
        """What the agent remembered cannot be read: set it aside, say so, and take from the alert history what waits and what fires."""
        for path, why in self.memory.unreadable.items():
            self.events.write(ERROR_EVENT, "state_unreadable", f"{path} cannot be read and is set aside: {why}")
            with suppress(OSError):
                path.rename(path.with_name(f"{path.name}.unreadable"))
        if not self.memory.is_new:
            return
        try:
            waiting, firing = self.delivery.history.unfinished(now - self.settings.keep_hours * 3600)
        except (OSError, Refusal):
            waiting, firing = [], []
        for number, alert in waiting:
            self.delivery.again(number, alert)
        for alert in firing:
            self.memory.firing[alert.key] = alert
            remembered = self.memory.checks.setdefault(f"{alert.application}/{alert.check}", Remembered())
            remembered.state = announced(remembered.state, alert.severity, alert.at, alert.started)
        message = f"what this agent remembered was lost: {len(waiting)} alerts wait again, {len(firing)} still fire"
        context = {"waiting": len(waiting), "firing": len(firing)}
        self.delivery.add(
            self._alert(
                WARNING, "agent_memory_lost", message, state=NOTICE, context=context, run_id=self.trace.trace_id
            )
        )

    # asking

    def _is_due(self, check: Check, now: int) -> bool:
        asked = self._remembered(check).asked
        if asked is None or asked > now:
            return True
        return now - asked >= check.interval_seconds * (1 - EARLY)

    def _ask(self, checks: Sequence[Check]) -> list[Result]:
        """Those that talk to others at the same time, then the others one by one: what computes must not make an answer look slow."""
        probes = Probes(self.host, Surroundings(len(self.memory.queue), self.memory.verified))
        results = []
        remote = [check for check in checks if check.kind in REMOTE]
        for batch in (remote, *([check] for check in checks if check.kind not in REMOTE)):
            self._begin(batch)
            jobs = {check.key: Job(_asking(probes, check), _seconds(check)) for check in batch}
            for check, done in zip(batch, together(jobs).values(), strict=True):
                finding = done.value or Finding(DEGRADED, f"the probe does not work: {done.error}", is_error=True)
                finding = replace(
                    finding, message=self.redactor.text(finding.message), context=self.redactor.context(finding.context)
                )
                result = Result(check, finding, done.milliseconds, self.host.clock.now())
                remembered = self._remembered(check)
                remembered.asked, remembered.result = result.at, result.as_dict()
                results.append(result)
        self._end()
        self.memory.verified |= probes.verified
        return results

    def _cut_off(self, now: int) -> list[Result]:
        """Checks of a run that began and did not end, such as one that hung so that systemd ended it: each is a failure."""
        try:
            data = read_if_there(self.post.begun, limit=BEGUN_LIMIT, what="run that began")
            keys = json.loads(data) if data is not None else []
        except (OSError, Refusal, ValueError):
            keys = []
        finding = Finding(DEGRADED, "the run before did not end", is_error=True)
        cut = [check for check in self.settings.checks if check.key in keys] if isinstance(keys, list) else []
        for check in cut:
            self._remembered(check).result = Result(check, finding, 0, now).as_dict()
        return [Result(check, finding, 0, now) for check in cut]

    def _begin(self, checks: Sequence[Check]) -> None:
        with suppress(OSError):
            self.post.runtime.mkdir(mode=0o755, parents=True, exist_ok=True)
            self.post.begun.write_text(json.dumps([check.key for check in checks]), encoding="utf-8")

    def _end(self) -> None:
        with suppress(OSError):
            self.post.begun.unlink(missing_ok=True)

    def _remembered(self, check: Check) -> Remembered:
        return self.memory.checks.setdefault(check.key, Remembered())

    def _forget_checks_that_are_gone(self) -> None:
        """What is not asked any more can neither recover nor fire."""
        here = {check.key for check in self.settings.checks}
        for key in [key for key in self.memory.checks if key not in here]:
            del self.memory.checks[key]
        for key, alert in list(self.memory.firing.items()):
            if alert.check and f"{alert.application}/{alert.check}" not in here:
                ended = replace(
                    alert, state=RESOLVED, at=self.host.clock.now(), message=f"{alert.check} is not checked any more"
                )
                self.delivery.add(ended)
                self.memory.firing.pop(key, None)

    # what follows

    def _follow(self, result: Result) -> None:
        """Escalate by one result."""
        check, finding, remembered = result.check, result.finding, self._remembered(result.check)
        was = remembered.state
        remembered.state, next_ = step(was, finding.status, check.escalates, result.at)
        if finding.is_error:
            remembered.errors += 1
        self._log(result, next_)
        for severity in next_.announce:
            self._announce(self._of_check(result, severity, next_), check)
        if next_.resolve:
            *lower, highest = sorted(next_.resolve, key=SEVERITIES.index)
            for severity in lower:
                for ended in self._resolved(result, severity):
                    self.delivery.add(ended, is_for_people=False)
            for ended in self._resolved(result, highest):
                self.delivery.add(ended)
        if next_.hook:
            self.memory.hooks[check.key] = False

    def _announce(self, alert: Alert, check: Check) -> None:
        """Raise an alert. What fires under a name of before would be taken for a matter of its own: it ends with this one."""
        for before in self._firing(check, alert.severity):
            if before.key != alert.key:
                message = f"{check.name} goes on as {alert.rule} on {alert.host}"
                self.delivery.add(replace(before, state=RESOLVED, at=alert.at, message=message))
        self.delivery.add(alert)

    def _log(self, result: Result, next_: Step) -> None:
        if not next_.log:
            return
        check, finding = result.check, result.finding
        kind = ERROR_EVENT if finding.is_error else SYSTEM_EVENT
        if finding.status != HEALTHY and check.kind in OF_SECURITY and not finding.is_error:
            kind = SECURITY_EVENT
        event = check.rule if finding.status != HEALTHY else "check_recovered"
        self.events.write(
            kind, event, f"{check.name}: {finding.message} ({next_.log})", application=check.application, release=self._facts_of(check.application).release, check=check.name,
            status=finding.status, milliseconds=result.milliseconds,
        )  # fmt: skip

    def _of_check(self, result: Result, severity: str, next_: Step) -> Alert:
        check, state = result.check, self._remembered(result.check).state
        if next_.flapping:
            message = f"{check.name} fails again and again: {result.finding.message}"
        else:
            times = "" if state.failures == 1 else f" ({state.failures} failures in a row)"
            message = f"{result.finding.message}{times}"
        context = {
            **result.finding.context, "status": result.finding.status, "consecutive_failures": state.failures,
            "flapping": "yes" if state.flapping else "no",
        }  # fmt: skip
        return self._alert(
            severity,
            check.rule,
            message,
            state=FIRING,
            check=check,
            started=state.since or result.at,
            context=context,
            at=result.at,
        )

    def _firing(self, check: Check, severity: str) -> list[Alert]:
        """What was raised for a check and not resolved; more than one where its rule or the host was renamed meanwhile."""
        asked = (check.application, check.name, severity)
        return [
            alert for alert in self.memory.firing.values() if (alert.application, alert.check, alert.severity) == asked
        ]

    def _resolved(self, result: Result, severity: str) -> list[Alert]:
        """The end of all that fires: under the rule, host and window that it was raised with, which may have been changed since."""
        check = result.check
        ended = self._alert(
            severity, check.rule, f"{check.name} is well again: {result.finding.message}", state=RESOLVED, check=check,
            started=result.at, context=result.finding.context, at=result.at,
        )  # fmt: skip
        return [
            replace(
                ended, rule=before.rule, host=before.host, environment=before.environment, window=before.window,
                started=before.started,
            )
            for before in self._firing(check, severity)
        ] or [ended]  # fmt: skip

    def _alert(
        self, severity: str, rule: str, message: str, *, state: str, check: Check | None = None, started: int = 0,
        context: Mapping[str, Any] | None = None, at: int | None = None, run_id: str = "",
    ) -> Alert:  # fmt: skip
        application = check.application if check else ""
        facts = self._facts_of(application) if check else Facts()
        runbook = (check.runbook if check else "") or (
            f"{self.settings.runbooks}{rule.replace('_', '-')}" if self.settings.runbooks else ""
        )
        moment = self.host.clock.now() if at is None else at
        return Alert(
            severity=severity, rule=rule, message=self.redactor.text(message), at=moment, state=state, started=started or moment,
            host=self.identity.name, environment=self.identity.environment, application=application, check=check.name if check else "",
            release=facts.release, last_deploy=facts.last_deploy, window=facts.window, context=self.redactor.context(context or {}),
            runbook=runbook, run_id=run_id,
        )  # fmt: skip

    def _facts_of(self, application: str) -> Facts:
        if application not in self._facts:
            self._facts[application] = facts_of(self.host, application)
        return self._facts[application]

    def _run_hooks(self) -> None:
        """Run the hooks that are due, also those that the run before did not come to, several at a time: one that hangs keeps few waiting.

        That one was asked for is kept before. If that is all that is known of it, it may have run, and it is not run again. What there is
        no time for is left to the next run.
        """
        started, due = time.monotonic(), []
        checks = {check.key: check for check in self.settings.checks}
        for key, was_asked in list(self.memory.hooks.items()):
            if key in checks and was_asked:
                self._tell_of_hook(
                    checks[key], hook.Ran(hook.CUT_OFF, "its end was not waited for, so how it ended is not known")
                )
            elif key in checks and self._remembered(checks[key]).state.hooked:
                due.append(checks[key])
        self.memory.hooks = {check.key: False for check in due}
        while due and time.monotonic() - started < hook.PATIENCE_SECONDS:
            batch, due = due[: hook.AT_A_TIME], due[hook.AT_A_TIME :]
            self.memory.hooks |= {check.key: True for check in batch}
            self._keep()
            jobs = {check.key: Job(self._asking_hook(check), hook.PATIENCE_SECONDS + 1) for check in batch}
            for check, done in zip(batch, together(jobs).values(), strict=True):
                self._tell_of_hook(check, done.value or hook.Ran(hook.NOT_RUN, str(done.error)))
                del self.memory.hooks[check.key]

    def _asking_hook(self, check: Check) -> Callable[[], hook.Ran]:
        return lambda: hook.ask(self.post.hook_socket, check.key, self.trace.traceparent)

    def _tell_of_hook(self, check: Check, ran: hook.Ran) -> None:
        told = f"the hook of {check.name}: {ran.detail}"
        if ran.outcome == hook.SUCCESS:
            self.events.write(
                SYSTEM_EVENT, "escalation_hook_ran", told, application=check.application, check=check.name
            )
            return
        self.events.write(
            ERROR_EVENT,
            "escalation_hook_failed",
            told,
            application=check.application,
            check=check.name,
            outcome=ran.outcome,
        )
        context = {"outcome": ran.outcome}
        alert = self._alert(
            WARNING,
            "escalation_hook_failed",
            told,
            state=NOTICE,
            check=check,
            context=context,
            run_id=self.trace.trace_id,
        )
        self.delivery.add(alert)

    # keeping and telling

    def _keep(self) -> None:
        with suppress(OSError):
            self.post.directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        why = self.memory.save(self.post)
        if why:
            self.events.write(ERROR_EVENT, "state_not_kept", f"what the agent remembers is {why}")

    def samples(self, milliseconds: int) -> list[Sample]:
        """What the agent's metrics are now."""
        now, memory = self.host.clock.now(), self.memory
        samples = [
            Sample("slipway_agent_last_run_timestamp_seconds", now),
            Sample("slipway_agent_run_duration_seconds", milliseconds / 1000),
            Sample("slipway_agent_queued_alerts", len(memory.queue)),
        ]
        for check in self.settings.checks:
            labels, remembered = {"application": check.application, "check": check.name}, self._remembered(check)
            samples.append(Sample("slipway_check_escalation_level", remembered.state.level, labels))
            samples.append(Sample("slipway_check_errors_total", remembered.errors, labels))
            if remembered.result is None or remembered.asked is None:
                continue  # one that never ran has no last run: the rule for silence sees that
            samples += [
                Sample("slipway_check_status", STATUSES.index(remembered.result["status"]), labels),
                Sample("slipway_check_duration_seconds", remembered.result["milliseconds"] / 1000, labels),
                Sample("slipway_check_last_run_timestamp_seconds", remembered.asked, labels),
            ]
        for kind in self.settings.channels:
            circuit = memory.circuits.get(kind, Circuit())
            samples.append(
                Sample("slipway_channel_breaker_state", BREAKERS.get(circuit.state(now), 2), {"channel": kind})
            )
            samples.append(Sample("slipway_channel_errors_total", circuit.errors, {"channel": kind}))
        for counted, count in memory.alerts.items():
            application, _, severity = counted.partition("|")
            samples.append(
                Sample("slipway_alerts_total", count, {"application": application or "-", "severity": severity.lower()})
            )
        # Each that may come is there from the start: what begins with its first event has no increase for Prometheus.
        security = {check.rule: 0 for check in self.settings.checks if check.kind in OF_SECURITY} | memory.security
        samples += [
            Sample("slipway_security_events_total", count, {"event": event}) for event, count in security.items()
        ]
        for application in sorted({check.application for check in self.settings.checks}):
            with suppress(Refusal, OSError):
                samples += release_samples(Places(self.host, application), now)
        return samples

    def _write_metrics(self, milliseconds: int) -> None:
        """Replace the file that Prometheus' exporter reads. It is made anew each minute, so it need not survive a crash."""
        if not self.settings.metrics_path:
            return
        path = self.host.root / self.settings.metrics_path.lstrip("/")
        temporary = temporary_name(path)
        try:
            text = exposition(self.samples(milliseconds))
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
            try:
                write_all(descriptor, text.encode())
                os.fchmod(descriptor, 0o644)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)
        except (OSError, Refusal) as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            self.events.write(ERROR_EVENT, "metrics_not_written", f"{path}: {error}")


def _asking(probes: Probes, check: Check) -> Callable[[], Finding]:
    return lambda: probes.ask(check)


def _seconds(check: Check) -> float:
    if check.kind == "integrity":
        return max(check.timeout_seconds, INTEGRITY_SECONDS)
    # Its own time-out ends it with a better message than this does.
    return check.timeout_seconds + 1


@contextmanager
def alone(path: Path, clock_sleep: Callable[[float], None], seconds: float = LOCK_SECONDS) -> Iterator[bool]:
    """Whether this process is the only one that works with the agent's state; it waits a while for another one to end."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                clock_sleep(0.1)
            else:
                yield True
                return
    finally:
        os.close(descriptor)


__all__ = ["DEGRADED", "UNHEALTHY", "Agent", "Result", "alone"]
