# SPDX-License-Identifier: GPL-3.0-or-later
"""One message to people: what it says, and how each channel wants to have it.

A message is ``firing`` until the same one is ``resolved``; a ``notice`` says that something has happened, and is over.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..base.clock import timestamp
from .escalation import CRITICAL, INFO, SEVERITIES, WARNING

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
NOTICE: Final = "notice"
STATES: Final = (FIRING, RESOLVED, NOTICE)
# Slack's own names are green, amber and red.
COLOURS: Final = {INFO: "good", WARNING: "warning", CRITICAL: "danger"}
HIDDEN: Final = "[hidden]"
MOST_TEXT: Final = 1000
# Of a part of a secret, so that no ordinary word is taken for one; and of the beginning of one that was cut off.
LEAST_PART: Final = 12
LEAST_BEGINNING: Final = 8
CUT: Final = "…"
SECRET_NAME: Final = re.compile(
    r"pass(word|wd|phrase)?|secret|token|api_?key|private_?key|credential|authori[sz]ation|cookie", re.IGNORECASE
)
USER_INFORMATION: Final = re.compile(r"(?<=://)[^/@\s]+@")
ASSIGNED: Final = re.compile(
    r"((?:pass(?:word|wd|phrase)|secret|token|api_?key|private_?key|authorization)\w*[\"']?\s*[:=]\s*[\"']?)(?:bearer\s+|basic\s+)?[^\s,;&\"'}]+|(bearer\s+)[A-Za-z0-9._~+/=-]{8,}",
    re.IGNORECASE,
)


def encoded(text: str) -> bytes:
    """Text in UTF-8. A file's name that is none has characters that UTF-8 has not: each is escaped, so that no name silences anything."""
    return text.encode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Alert:
    """What is said. Times are Unix seconds.

    ``started`` is when what it tells of began; ``release`` is the active one, ``last_deploy`` {release_id, at, by, outcome} of the newest
    record, ``window`` {open, until} of the watch after a release. All of them are empty where nothing is known.
    """

    severity: str
    rule: str
    message: str
    at: int
    state: str = FIRING
    started: int = 0
    host: str = ""
    environment: str = ""
    application: str = ""
    check: str = ""
    release: str = ""
    last_deploy: Mapping[str, str] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    runbook: str = ""
    run_id: str = ""

    @property
    def key(self) -> str:
        """What makes two messages the same matter: host, application, check, rule and severity; of a notice also its run."""
        parts = [self.host, self.application, self.check, self.rule, self.severity]
        parts += [self.run_id] if self.state == NOTICE else []
        return hashlib.sha256(encoded("\0".join(parts))).hexdigest()[:32]

    @property
    def subject(self) -> str:
        """The subject of a mail: ``[CRITICAL] heartbeat_lapse``, and in front of it that it is over where it is."""
        subject = f"[{self.severity}] {self.rule}"
        return f"{subject} (resolved)" if self.state == RESOLVED else subject

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as the queue and the alert history keep it."""
        return {
            "severity": self.severity, "rule": self.rule, "message": self.message, "at": self.at, "state": self.state,
            "started": self.started, "host": self.host, "environment": self.environment, "application": self.application,
            "check": self.check, "release": self.release, "last_deploy": dict(self.last_deploy), "window": dict(self.window),
            "context": dict(self.context), "runbook": self.runbook, "run_id": self.run_id,
        }  # fmt: skip

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Alert:
        """The reverse of ``as_dict``; TypeError or ValueError for anything else."""
        alert = cls(**kept)
        if alert.severity not in SEVERITIES or alert.state not in STATES or not isinstance(alert.at, int):
            raise ValueError("no alert of Slipway")
        return alert

    def facts(self) -> list[tuple[str, str]]:
        """What every message has beside severity, rule and message, as people read it; what is unknown is said to be."""
        where = " ".join(
            filter(
                None,
                (
                    self.application,
                    f"on {self.host}" if self.host else "",
                    f"({self.environment})" if self.environment else "",
                ),
            )
        )
        deploy = self.last_deploy
        told = (
            f"{deploy['release_id']} {deploy['outcome']} at {deploy['at']} by {deploy['by']}" if deploy else "unknown"
        )
        window = (
            f"open until {self.window['until']}" if self.window.get("open") else "closed" if self.window else "unknown"
        )
        context = ", ".join(f"{name}={value}" for name, value in sorted(self.context.items()))
        return [
            ("Time", timestamp(self.at)), ("Where", where or "-"), ("Check", self.check or "-"), ("Release", self.release or "none"),
            ("Last deployment", told), ("Watch window", window), ("Context", context or "-"), ("Runbook", self.runbook or "-"),
        ]  # fmt: skip


@dataclass(frozen=True)
class Redactor:
    """Takes out of a message what must not be known: the secrets that the agent holds, whatever form they are in, and what looks like one."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Iterable[str]) -> Redactor:
        """For these secrets; one of fewer than four characters would be found everywhere."""
        parts = {part for value in values if len(value.strip()) >= 4 for part in _parts(value.strip())}
        forms = {form for part in parts for form in _forms(part)}
        return cls(tuple(sorted(forms, key=len, reverse=True)))

    def text(self, text: str) -> str:
        text = encoded(text).decode()
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        text = self._without_beginnings(text)
        text = USER_INFORMATION.sub(f"{HIDDEN}@", text)
        return ASSIGNED.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}", text)[:MOST_TEXT]

    def _without_beginnings(self, text: str) -> str:
        """What was cut off in the middle of a secret ends with a part of it: at the end, or at the sign of `errors.shown` for a cut."""
        for secret in self.secrets:
            head, start = secret[:LEAST_BEGINNING], 0
            while len(head) == LEAST_BEGINNING and (start := text.find(head, start)) >= 0:
                part, cut, _ = text[start : start + len(secret)].partition(CUT)
                if (cut or start + len(part) == len(text)) and secret.startswith(part):
                    text = text[:start] + HIDDEN + text[start + len(part) :]
                start += 1
        return text

    def value(self, name: str, value: Any) -> Any:
        """A member of a context: numbers as they are, everything else as a short text."""
        if SECRET_NAME.search(name):
            return HIDDEN
        if isinstance(value, (int, float)) or value is None:
            return HIDDEN if str(value) in self.secrets else value
        return self.text(value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str))

    def context(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self.text(str(name)): self.value(str(name), value) for name, value in values.items()}


def _parts(secret: str) -> Iterable[str]:
    """A secret, and what of it may be said alone: a header's token without its scheme, an address' path, a line of a key."""
    yield secret
    parts = secret.split()
    address = secret.partition("://")[2].partition("/")[2] if len(parts) == 1 else ""
    parts += [address, *re.split(r"[/?&=#]", address)]
    yield from (part for part in parts if len(part) >= LEAST_PART)


def _forms(secret: str) -> Iterable[str]:
    """A secret as it may stand in a text: as it is, as Python, JSON or HTML write it, in an address, in base64."""
    import base64
    from urllib.parse import quote, quote_plus

    data = encoded(secret)
    yield secret
    as_bytes = data.decode("latin-1").encode("unicode_escape").decode()
    for escaped in (secret.encode("unicode_escape").decode(), as_bytes, secret.replace("\\", "\\\\")):
        yield from (escaped, escaped.replace("'", "\\'"))
    for in_json in (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield from (in_json, in_json.replace("/", "\\/"))
    in_html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield in_html
    yield in_html.replace('"', "&quot;").replace("'", "&#x27;")
    yield in_html.replace('"', "&#34;").replace("'", "&#39;")
    yield quote(secret, safe="")
    yield quote_plus(secret)
    for offset in range(3):  # of what stands before it in what was encoded, such as a user's name
        in_base64 = base64.b64encode(bytes(offset) + data).decode().rstrip("=")
        # Characters that bits of a neighbour have a part in are another value's, too.
        whole = in_base64[(0, 2, 3)[offset] : (offset + len(data)) * 8 // 6]
        yield from (whole, whole.replace("+", "-").replace("/", "_"))
    yield data.hex()
    yield data.hex().upper()


def slack(alert: Alert) -> dict[str, Any]:
    """The body for an incoming webhook of Slack: one attachment in the severity's colour, green when it is over."""
    colour = COLOURS[INFO] if alert.state == RESOLVED else COLOURS[alert.severity]
    fields = [{"title": "Message", "value": _escaped(alert.message), "short": False}]
    fields += [{"title": name, "value": _escaped(value), "short": name != "Context"} for name, value in alert.facts()]
    text = f"*{alert.severity}* - {alert.rule}" + (" (resolved)" if alert.state == RESOLVED else "")
    return {
        "text": text,
        "attachments": [{"color": colour, "fallback": f"{alert.subject}: {_escaped(alert.message)}", "fields": fields}],
    }


def _escaped(text: str) -> str:
    """Slack reads <…> as links and mentions: a message must not be able to call everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def webhook(alert: Alert) -> dict[str, Any]:
    """The body for a generic webhook: everything, as data, with the key by which the receiver knows a repetition."""
    return {
        "version": 1,
        "key": alert.key,
        **alert.as_dict(),
        "at": timestamp(alert.at),
        "started": timestamp(alert.started or alert.at),
    }


def mail(alert: Alert) -> str:
    """The text of a mail."""
    width = max(len(name) for name, _value in alert.facts())
    lines = [alert.message, "", f"{'Severity':<{width}}  {alert.severity}", f"{'Rule':<{width}}  {alert.rule}"]
    lines += [f"{'State':<{width}}  {alert.state}", *(f"{name:<{width}}  {value}" for name, value in alert.facts())]
    return encoded("\n".join(lines) + "\n").decode()


def alertmanager(alert: Alert, *, ends: int) -> dict[str, Any]:
    """An entry for POST /api/v2/alerts. Its labels make it the same alert; what changes from time to time is an annotation.

    Without another word it is over at ``ends``; one that is resolved is over at its own time.
    """
    labels = {
        "alertname": alert.rule, "severity": alert.severity.lower(), "application": alert.application, "check": alert.check,
        "instance": alert.host, "environment": alert.environment, "source": "slipway-agent",
        # Nothing resolves a notice: the next one must not be taken for the same.
        "run_id": alert.run_id if alert.state == NOTICE else "",
        "watch_window": "open" if alert.window.get("open") else "closed",
    }  # fmt: skip
    annotations = {"summary": alert.message, "kind": alert.state, "runbook_url": alert.runbook}
    annotations |= {
        name.lower().replace(" ", "_"): value for name, value in alert.facts() if name not in ("Runbook", "Check")
    }
    started = alert.started or alert.at
    over = max(alert.at, started + 1) if alert.state == RESOLVED else ends
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {name: value for name, value in annotations.items() if value and value != "-"},
        "startsAt": timestamp(started),
        "endsAt": timestamp(over),
    }
