# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent of a host is told: its checks, how they escalate, and by which channels people get to know.

``/etc/slipway/heartbeat.json`` is written by the role heartbeat from group_vars, where a check is a line. Secrets are not in it: a channel
names the credential of the agent's unit that has its secret.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ..base import canonical
from ..base.errors import Refusal
from ..base.fields import NAME, ONE_LINE, Fields
from ..base.files import read_regular
from ..host.places import Host
from .escalation import CRITICAL, INFO, SEVERITIES, Rule

FORMAT: Final = 1
LIMIT: Final = 1 << 20
MOST_CHECKS: Final = 500
PATH: Final = re.compile(r"/[^\x00-\x1f\x7f]{0,1023}\Z")
RELATIVE: Final = re.compile(r"(?!.*(?:^|/)\.\.?(?:/|$))[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,1023}\Z")
URL: Final = re.compile(r"https?://[^\x00-\x20\x7f]{1,1023}\Z")
HOST: Final = re.compile(r"[A-Za-z0-9_.:-]{1,253}\Z")
UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,250}\Z")
MEMBER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
CREDENTIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
ADDRESS: Final = re.compile(r"[^\x00-\x20\x7f<>,;]{1,64}@[^\x00-\x20\x7f<>,;]{1,190}\Z")
RULE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
ANY: Final = re.compile(r"[^\x00]{0,1023}\Z")
DAY: Final = 86400
# What the rules of Prometheus and the exporter wait for before they take an agent (300 s), a check or the bytes (7,200 s) for silent or
# unverified: what is asked less often would look like that.
MOST_INTERVAL: Final = 120
MOST_JITTER: Final = 60
MOST_OF_CHECK: Final = 3600
REASON: Final = "heartbeat_invalid"
REMEDY: Final = "Correct heartbeat_checks or heartbeat_channels in group_vars (docs/howto/watch.md), then run playbooks/heartbeat.yml."
REQUIRED: Final = object()


@dataclass(frozen=True)
class Option:
    """What may be said under ``options`` of a check: texts match ``like``, numbers lie between ``least`` and ``most``."""

    default: Any = REQUIRED
    like: re.Pattern[str] = ANY
    least: int = 1
    most: int = 10 * 365 * DAY


@dataclass(frozen=True)
class Kind:
    """A kind of check: the rule that its alerts name, its options, and those of which it needs exactly one."""

    rule: str
    options: Mapping[str, Option]
    one_of: tuple[str, ...] = ()


PORT: Final = Option(like=ANY, least=1, most=65535)
KINDS: Final[Mapping[str, Kind]] = {
    # The application says that it lives: a file that it touches, an answer with the time of its last work, systemd's watchdog.
    "heartbeat": Kind(
        "heartbeat_lapse",
        {
            "path": Option("", PATH), "url": Option("", URL), "unit": Option("", UNIT), "member": Option("heartbeat", MEMBER),
            "lapse_seconds": Option(300),
        },
        one_of=("path", "url", "unit"),
    ),
    # `path` is one in the release, or begins with shared/.
    "artifact_staleness": Kind("artifact_staleness", {"path": Option(like=RELATIVE), "limit_seconds": Option(DAY)}),
    "http": Kind(
        "service_unavailable",
        {"url": Option(like=URL), "status": Option(200, most=599), "contains": Option(""), "slow_milliseconds": Option(0, least=0)},
    ),
    "tcp": Kind("service_unavailable", {"host": Option("127.0.0.1", HOST), "port": PORT, "slow_milliseconds": Option(0, least=0)}),
    "unit": Kind("service_unavailable", {"unit": Option(like=UNIT)}),
    "database": Kind(
        "database_response",
        {
            "engine": Option(like=re.compile(r"(postgresql|mysql|redis|sqlite)\Z")), "host": Option("127.0.0.1", HOST),
            "port": Option(0, least=0, most=65535), "path": Option("", PATH), "slow_milliseconds": Option(100),
        },
    ),
    "alert_queue": Kind("alert_queue_depth", {"degraded": Option(10), "unhealthy": Option(100)}),
    # Lines of JSON, each with its time in `member`.
    "audit_records": Kind(
        "audit_records_missing",
        {"path": Option(like=PATH), "member": Option("timestamp", MEMBER), "window_seconds": Option(3600), "least": Option(1)},
    ),
    # A file that is there, or a member of an answer that is true, while a fallback is in use.
    "fallback": Kind(
        "fallback_in_use",
        {"path": Option("", PATH), "url": Option("", URL), "member": Option("fallback", MEMBER)},
        one_of=("path", "url"),
    ),
    "integrity": Kind("integrity_violation", {"bytes_interval_seconds": Option(3600, most=MOST_OF_CHECK)}),
    "secret_age": Kind("secret_age", {"path": Option(like=PATH), "limit_seconds": Option(90 * DAY)}),
    # Room for one more release like the active one, and `spare_bytes`.
    "disk": Kind("disk_space", {"path": Option("", PATH), "spare_bytes": Option(100 << 20, least=0, most=1 << 60)}),
    "command": Kind("check_failed", {"argv": Option(())}),
}  # fmt: skip
DEFAULT_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "sqlite": 0}


@dataclass(frozen=True)
class Check:
    """One question that the agent asks at intervals; ``escalation`` is the hook of its third failure, as a list of words."""

    name: str
    application: str
    kind: str
    rule: str
    interval_seconds: int
    timeout_seconds: int
    options: Mapping[str, Any]
    escalates: Rule = field(default_factory=Rule)
    escalation: tuple[str, ...] = ()
    runbook: str = ""

    @property
    def key(self) -> str:
        """Its name among all checks of a host."""
        return f"{self.application}/{self.name}"


@dataclass(frozen=True)
class Channel:
    """One way to people. Which of the other members it has depends on ``kind``; secrets are names of credentials.

    ``severity`` is the least that goes this way when the agent delivers directly. ``headers`` are {name: credential}.
    """

    kind: str
    url: str = ""
    url_credential: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    port: int = 0
    security: str = "starttls"
    user: str = ""
    password_credential: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    severity: str = INFO
    timeout_seconds: int = 5
    cleartext_accepted: bool = False

    @property
    def credentials(self) -> set[str]:
        """The names of the secrets that it needs."""
        return {name for name in (self.url_credential, self.password_credential, *self.headers.values()) if name}


@dataclass(frozen=True)
class Settings:
    """All of ``heartbeat.json``. ``channels`` has the enabled ones; ``runbooks`` is the address to which a rule's name is added."""

    interval_seconds: int
    checks: tuple[Check, ...]
    channels: Mapping[str, Channel]
    runbooks: str = ""
    metrics_path: str = ""
    keep_hours: int = 24

    @classmethod
    def load(cls, host: Host, path: Path | None = None) -> Settings:
        """Those of a host. Refusals ``heartbeat_settings_missing``, ``heartbeat_invalid``."""
        data = read_regular(path or host.configuration / "heartbeat.json", limit=LIMIT, what="heartbeat settings")
        return cls.parse(canonical.parse(data, what="heartbeat settings", limit=LIMIT))

    @classmethod
    def parse(cls, value: object) -> Settings:
        """Read plain data strictly; Refusal ``heartbeat_invalid`` names the first mistake."""
        fields = Fields(value, "heartbeat", REASON, REMEDY)
        fields.integer("format", minimum=FORMAT, maximum=FORMAT)
        interval = fields.integer("interval_seconds", minimum=1, maximum=MOST_INTERVAL)
        _number(fields, "jitter_seconds", 0, least=0, most=MOST_JITTER)  # of the timer; it is judged here with the rest
        application = _optional(fields, "application", NAME)
        usual = _usual(fields.object("escalation"))
        checks = tuple(
            _check(each, application, interval, usual) for each in fields.objects("checks", maximum=MOST_CHECKS)
        )
        keys = [check.key for check in checks]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise fields.refusal("checks", "each name once for an application", twice)
        channels = read_channels(fields.object("channels"))
        if "credentials" in fields:
            require_given(channels, fields.array("credentials", maximum=100), "heartbeat_secrets", REASON, REMEDY)
        settings = cls(
            interval, checks, channels, _optional(fields, "runbooks", URL), _optional(fields, "metrics_path", PATH),
            fields.integer("keep_hours", minimum=1, maximum=24 * 30) if "keep_hours" in fields else 24,
        )  # fmt: skip
        fields.end()
        return settings


def _text(fields: Fields, name: str, like: re.Pattern[str]) -> str:
    return _whole(fields, name, like, fields.text(name, like))


def _whole(fields: Fields, name: str, like: re.Pattern[str], value: str) -> str:
    """The same value, once it is known that the library can take an address apart."""
    if like is URL and not is_address(value):
        raise fields.refusal(name, "an address such as https://watch.example:8443/path", value)
    return value


def is_address(url: str) -> bool:
    """Whether an address has a host, and a port that there is or none."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _optional(fields: Fields, name: str, like: re.Pattern[str]) -> str:
    """A text that may be absent, null or empty."""
    if name not in fields:
        return ""
    value = fields.take(name)
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not like.match(value):
        raise fields.refusal(name, f"a string like {like.pattern}", value)
    return _whole(fields, name, like, value)


def _number(fields: Fields, name: str, default: int, *, least: int = 1, most: int = 365 * DAY) -> int:
    return fields.integer(name, minimum=least, maximum=most) if name in fields else default


def _usual(fields: Fields) -> Rule:
    """How checks escalate that say nothing else."""
    rule = Rule(
        cooldown_seconds=_number(fields, "cooldown_seconds", 3600),
        flap_falls=_number(fields, "flap_falls", 4, least=2, most=60),
        flap_seconds=_number(fields, "flap_seconds", 3600),
        calm_seconds=_number(fields, "calm_seconds", 600),
    )
    fields.end()
    return rule


def _check(fields: Fields, application: str, interval: int, usual: Rule) -> Check:
    name = fields.text("name", NAME)
    kind = fields.choice("kind", *KINDS)
    if "application" in fields or not application:
        application = fields.text("application", NAME)
    own_interval = _number(fields, "interval_seconds", interval, most=MOST_OF_CHECK)
    argv = _argv(fields, "escalation") if "escalation" in fields else ()
    severity = fields.choice("severity", *SEVERITIES) if "severity" in fields else CRITICAL
    rule = Rule(
        severity=severity, has_hook=bool(argv), cooldown_seconds=_number(fields, "cooldown_seconds", usual.cooldown_seconds),
        flap_falls=usual.flap_falls, flap_seconds=usual.flap_seconds, calm_seconds=usual.calm_seconds,
    )  # fmt: skip
    check = Check(
        name=name,
        application=application,
        kind=kind,
        rule=_optional(fields, "rule", RULE) or KINDS[kind].rule,
        interval_seconds=own_interval,
        timeout_seconds=_number(fields, "timeout_seconds", 5, most=60),
        options=_options(
            fields.object("options") if "options" in fields else Fields({}, fields.where, REASON, REMEDY), kind
        ),
        escalates=rule,
        escalation=argv,
        runbook=_optional(fields, "runbook", URL),
    )
    fields.end()
    return check


def _options(fields: Fields, kind: str) -> dict[str, Any]:
    values = {}
    for name, option in KINDS[kind].options.items():
        if name not in fields and option.default is not REQUIRED:
            values[name] = option.default
        elif name == "argv":
            values[name] = _argv(fields, name)
        elif isinstance(option.default, int) or option is PORT:
            values[name] = fields.integer(name, minimum=option.least, maximum=option.most)
        else:
            values[name] = _text(fields, name, option.like)
    fields.end()
    if kind == "command" and not values["argv"]:
        raise fields.refusal("argv", "a command as a list of words", "none")
    chosen = [name for name in KINDS[kind].one_of if values[name]]
    if KINDS[kind].one_of and len(chosen) != 1:
        raise fields.refusal("", f"exactly one of {', '.join(KINDS[kind].one_of)}", chosen)
    if kind == "database":
        if (values["engine"] == "sqlite") != bool(values["path"]):
            raise fields.refusal("path", "the file of a database of sqlite, and of no other", values["path"])
        values["port"] = values["port"] or DEFAULT_PORTS[values["engine"]]
    return values


def _argv(fields: Fields, name: str) -> tuple[str, ...]:
    words = fields.array(name, maximum=100)
    if not all(isinstance(word, str) and word and "\0" not in word for word in words):
        raise fields.refusal(name, "a command as a list of words", words)
    if words and not words[0].startswith("/"):
        raise fields.refusal(name, "a command whose program is an absolute path", words[0])
    return tuple(words)


def read_channels(fields: Fields) -> dict[str, Channel]:
    """The enabled channels; what is said of the others is judged as well, so that enabling one is no surprise."""
    channels = {}
    for kind, read in READERS.items():
        if kind not in fields:
            continue
        of = fields.object(kind)
        enabled = of.boolean("enabled") if "enabled" in of else True
        if not enabled:
            continue
        channels[kind] = read(of, kind)
        of.end()
    fields.end()
    return channels


def require_given(
    channels: Mapping[str, Channel], given: Collection[object], variable: str, reason: str, remedy: str
) -> None:
    """Refuse channels that need secrets which ``variable`` does not name: they would tell nobody of anything."""
    if missing := sorted({name for channel in channels.values() for name in channel.credentials} - {*map(str, given)}):
        raise Refusal(
            reason,
            expected=f"in {variable} the secrets that enabled channels need",
            found=", ".join(missing),
            remedy=remedy,
        )


def _common(fields: Fields) -> dict[str, Any]:
    return {
        "ca_file": _optional(fields, "ca_file", PATH),
        "severity": fields.choice("severity", *SEVERITIES) if "severity" in fields else INFO,
        "timeout_seconds": _number(fields, "timeout_seconds", 5, most=30),
        "cleartext_accepted": fields.boolean("cleartext_accepted") if "cleartext_accepted" in fields else False,
    }


def _http(fields: Fields, kind: str) -> Channel:
    """Alertmanager, Slack and webhooks. An address that is a secret itself, as Slack's is, comes as a credential."""
    url, credential = _optional(fields, "url", URL), _optional(fields, "url_credential", CREDENTIAL)
    if bool(url) == bool(credential):
        raise fields.refusal("url", "exactly one of url and url_credential", "both" if url else "none")
    headers = fields.object("headers") if "headers" in fields else Fields({}, fields.where, REASON, REMEDY)
    named = {name: headers.text(name, CREDENTIAL) for name in headers.keys_like(HEADER, maximum=20)}
    certificate, key = _optional(fields, "certificate_file", PATH), _optional(fields, "key_file", PATH)
    if bool(certificate) != bool(key):
        raise fields.refusal("certificate_file", "certificate_file and key_file, or neither", "one of them")
    channel = Channel(
        kind,
        url=url,
        url_credential=credential,
        headers=named,
        certificate_file=certificate,
        key_file=key,
        **_common(fields),
    )
    if url:
        require_protected(url, channel)
    return channel


def require_protected(url: str, channel: Channel) -> None:
    """Refuse an address to which alerts would go in clear text over a network, unless that was accepted."""
    parts = urlsplit(url)
    if parts.scheme == "https" or is_loopback(parts.hostname or "") or channel.cleartext_accepted:
        return
    raise _in_clear(channel.kind, "an address that begins with https://")


def is_loopback(host: str) -> bool:
    """Whether what is sent there does not leave the machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_clear(kind: str, expected: str) -> Refusal:
    return Refusal(
        REASON,
        expected=f"heartbeat.channels.{kind}: {expected}, or cleartext_accepted: true",
        found="one to which alerts would go in clear text",
        remedy=REMEDY,
    )


def _email(fields: Fields, kind: str) -> Channel:
    recipients = fields.array("to", maximum=100)
    if not recipients or not all(isinstance(each, str) and ADDRESS.match(each) for each in recipients):
        raise fields.refusal("to", "a list of addresses", recipients)
    channel = Channel(
        kind,
        host=fields.text("host", HOST),
        port=_number(fields, "port", 587, most=65535),
        security=fields.choice("security", "starttls", "tls", "none") if "security" in fields else "starttls",
        user=_optional(fields, "user", ONE_LINE),
        password_credential=_optional(fields, "password_credential", CREDENTIAL),
        sender=fields.text("from", ADDRESS),
        recipients=tuple(recipients),
        **_common(fields),
    )
    if bool(channel.user) != bool(channel.password_credential):
        raise fields.refusal("user", "user and password_credential, or neither", "one of them")
    if channel.security == "none" and not is_loopback(channel.host) and not channel.cleartext_accepted:
        raise _in_clear(kind, "security starttls or tls")
    return channel


READERS: Final = {"alertmanager": _http, "slack": _http, "webhook": _http, "email": _email}
DIRECT: Final = ("slack", "webhook", "email")
