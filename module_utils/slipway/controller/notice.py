# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are told of a run, once each: that it begins, and how it ended. A channel that cannot be reached never fails a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..base.fields import Fields
from ..base.together import Job, together
from ..watch.alert import NOTICE, Alert, Redactor
from ..watch.channels import NotDelivered, Sender
from ..watch.check import DIRECT, Channel, read_channels, require_given
from ..watch.escalation import CRITICAL, INFO, SEVERITIES, WARNING
from .report import Ending

MOMENTS: Final = ("started", "staged", "ended")
# How long Alertmanager shows a notice: it is over already.
SHOWN_SECONDS: Final = 300
REASON: Final = "release_notice_invalid"
REMEDY: Final = "Correct release_notice_channels or release_notice_secrets in group_vars (docs/howto/watch.md)."


@dataclass(frozen=True)
class Run:
    """A run as its notices tell it. ``releases`` are those that it takes hosts to."""

    run_id: str
    application: str
    environment: str
    deployed_by: str
    releases: tuple[str, ...]
    is_rollback: bool = False

    @property
    def verb(self) -> str:
        return "rollback" if self.is_rollback else "deploy"


def started(run: Run, now: int, runbooks: str = "") -> Alert:
    """A run begins."""
    message = f"{run.verb} of {run.application} to {', '.join(run.releases) or 'nothing'} by {run.deployed_by} begins"
    return _notice(run, INFO, "started", message, now=now, runbooks=runbooks, context={})


def not_staged(run: Run, staged: Mapping[str, Mapping[str, Any]], now: int, runbooks: str = "") -> Alert | None:
    """A run ended before anything was switched, with why; None where every host has the release. ``staged`` is by host."""
    lacking = {
        host: answer
        for host, answer in staged.items()
        if not answer or answer.get("failed") or answer.get("unreachable")
    }
    if staged and not lacking:
        return None
    why = next(
        (str(answer["msg"]) for _host, answer in sorted(lacking.items()) if answer.get("msg")), "a step before failed"
    )
    message = f"{run.verb} of {run.application} to {', '.join(run.releases)}: nothing was switched: {why}"
    return _notice(
        run, CRITICAL, "failed", message, now=now, runbooks=runbooks, context={"hosts_lacking": len(lacking)}
    )


def ended(run: Run, hosts: Mapping[str, Mapping[str, Any]], report: str, now: int, runbooks: str = "") -> Alert:
    """How a run ended: succeeded, rolled_back (every host that was switched went back) or failed; ``hosts`` is {outcome, serves} by host."""
    outcomes = Counter(str(each["outcome"]) for each in hosts.values())
    if hosts and all(Ending(host, str(each["outcome"]), "").is_as_asked for host, each in hosts.items()):
        severity, event = INFO, "succeeded"
    elif outcomes["reverted"] and not set(outcomes) - {"reverted", "untouched", "unchanged"}:
        severity, event = WARNING, "rolled_back"
    else:
        severity, event = CRITICAL, "failed"
    message = report.partition("\n")[0] or f"{run.verb} of {run.application}: no report"
    return _notice(run, severity, event, message, now=now, runbooks=runbooks, context=dict(sorted(outcomes.items())))


def _notice(
    run: Run, severity: str, event: str, message: str, *, now: int, runbooks: str, context: Mapping[str, Any]
) -> Alert:
    rule = f"{run.verb}_{event}"
    deploy = {
        "release_id": ", ".join(run.releases),
        "at": timestamp(now),
        "by": run.deployed_by,
        "outcome": f"{run.verb} {event}",
    }
    return Alert(
        severity=severity, rule=rule, message=message, at=now, state=NOTICE, started=now, environment=run.environment,
        application=run.application, release=", ".join(run.releases), last_deploy={} if event == "started" else deploy, context={**context, "by": run.deployed_by, "run": run.run_id},
        runbook=f"{runbooks}{rule.replace('_', '-')}" if runbooks else "", run_id=run.run_id,
    )  # fmt: skip


def channels_of(value: object, secrets: Mapping[str, Any] | None = None) -> Mapping[str, Channel]:
    """The enabled channels of ``release_notice_channels``, whose secrets ``secrets`` name; Refusal ``release_notice_invalid``."""
    channels = read_channels(Fields(value, "release_notice_channels", REASON, REMEDY))
    if secrets is not None:
        require_given(channels, secrets, "release_notice_secrets", REASON, REMEDY)
    return channels


@dataclass(frozen=True)
class NamedSecrets:
    """The secrets of channels, by the credentials' names: each is ``name`` or ``name#field`` of a secret that ``ask`` gets."""

    names: Mapping[str, str]
    ask: Callable[[str, str | None], str]

    def read(self, name: str) -> str:
        """NotDelivered where the secret is not named or cannot be had."""
        if name not in self.names:
            raise NotDelivered(f"release_notice_secrets does not name {name}")
        secret, _, field = self.names[name].partition("#")
        try:
            return self.ask(secret, field or None).rstrip("\n")
        except Refusal as refusal:
            raise NotDelivered(f"the secret of {name} cannot be had: {refusal.reason}") from None

    def values(self, channels: Mapping[str, Channel]) -> list[str]:
        """Those that these channels need and that can be had, for finding them in texts."""
        found = []
        for channel in channels.values():
            for name in sorted(channel.credentials):
                try:
                    found.append(self.read(name))
                except NotDelivered:
                    continue  # the channel says it when it is asked
        return found


def send(
    alert: Alert, channels: Mapping[str, Channel], secrets: NamedSecrets, traceparent: str = ""
) -> list[dict[str, Any]]:
    """Tell it: to Alertmanager, or when that does not take it by all channels that want its severity: [{channel, accepted, detail}]."""
    redactor = Redactor.of(secrets.values(channels))
    told = Alert(
        **{**alert.as_dict(), "message": redactor.text(alert.message), "context": redactor.context(alert.context)}
    )
    sender = Sender(secrets, redactor, traceparent)
    routed = _sent(sender, told, {kind: channel for kind, channel in channels.items() if kind not in DIRECT})
    if routed and all(each["accepted"] for each in routed):
        return routed
    least = SEVERITIES.index(alert.severity)
    direct = {
        kind: channels[kind]
        for kind in DIRECT
        if kind in channels and SEVERITIES.index(channels[kind].severity) <= least
    }
    return [*routed, *_sent(sender, told, direct)]


def _sent(sender: Sender, alert: Alert, channels: Mapping[str, Channel]) -> list[dict[str, Any]]:
    def asking(channel: Channel) -> Callable[[], None]:
        return lambda: sender.send(channel, [alert], ends=alert.at + SHOWN_SECONDS)

    done = together({kind: Job(asking(channel), 2.0 * channel.timeout_seconds) for kind, channel in channels.items()})
    return [
        {"channel": kind, "accepted": each.error is None, "detail": str(each.error or "accepted")}
        for kind, each in done.items()
    ]


def summary(told: list[dict[str, Any]]) -> str:
    """For the operator: who was told, and who was not."""
    if not told:
        return "nobody is told of this (release_notice_channels)"
    parts = [
        each["channel"] if each["accepted"] else f"{each['channel']} did not take it ({each['detail']})"
        for each in told
    ]
    return f"told: {', '.join(parts)}"
