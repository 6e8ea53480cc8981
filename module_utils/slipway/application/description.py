# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator says of an application in ``slipway_applications``, parsed once and strictly.

Everything here may differ between environments; what belongs to a release is in its signed manifest instead.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..base.errors import Refusal, quoted
from . import blue_green as pairs
from . import configuration, preflight
from . import unit as units

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
ABSOLUTE = re.compile(r"/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*")  # POSIX leaves open what two leading slashes mean
# Neither an option of systemctl nor a template: that has no processes, only its instances have.
UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]{0,239}(?<!@)\.service")
PROBE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
STRATEGIES = ("restart", "reload", "none", "blue_green")
PROBES: Mapping[str, Mapping[str, type]] = {
    "http": {"url": str, "status": int, "contains": str},
    "tcp": {"host": str, "port": int},
    "command": {"argv": list},
    "unit": {},
}
REQUIRED_OF_PROBE: Mapping[str, tuple[str, ...]] = {
    "http": ("url",),
    "tcp": ("port",),
    "command": ("argv",),
    "unit": (),
}


@dataclass(frozen=True)
class Probe:
    """One question to a running application; ``timeout_seconds`` bounds one attempt. ``name`` is what reports call it.

    Where there are two instances, ``{port}`` in ``url`` and ``argv`` is that of the one that is asked, and so is the port 0.
    """

    type: str
    timeout_seconds: int = 2
    url: str = ""
    status: int = 200
    contains: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    argv: tuple[str, ...] = ()
    name: str = ""

    def described(self) -> str:
        if self.type == "http":
            return f"http {self.url}"
        if self.type == "tcp":
            return f"tcp {self.host}:{self.port or pairs.PORT}"
        return " ".join((self.type, *self.argv))

    @property
    def asks_the_instance(self) -> bool:
        """Whether it is meant for one instance, not for whatever answers the application's port."""
        return (self.type == "tcp" and not self.port) or any(pairs.PORT in text for text in (self.url, *self.argv))

    def at(self, port: int) -> Probe:
        """The probe for the instance on ``port``."""
        argv = tuple(word.replace(pairs.PORT, str(port)) for word in self.argv)
        return replace(self, url=self.url.replace(pairs.PORT, str(port)), argv=argv, port=self.port or port)


@dataclass(frozen=True)
class Patience:
    """How long probes may fail before the verdict: every ``interval_seconds``, at most ``retries`` times more, until ``deadline_seconds``."""

    interval_seconds: int = 1
    retries: int = 60
    deadline_seconds: int = 30


ONCE = Patience(interval_seconds=0, retries=0, deadline_seconds=1)


@dataclass(frozen=True)
class Check:
    """A command that runs as the application's user against the staged tree before the switch."""

    argv: tuple[str, ...]
    timeout_seconds: int = 60


@dataclass(frozen=True)
class ReplacedFile:
    """A file outside the release tree that activation replaces by ``source`` of the release."""

    source: str
    path: str
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644


@dataclass(frozen=True)
class Application:
    """One entry of ``slipway_applications``."""

    name: str
    user: str
    group: str
    unit: str | None = None
    strategy: str = "none"
    blue_green: pairs.BlueGreen | None = None
    check: Check | None = None
    health: tuple[Probe, ...] = ()
    health_patience: Patience = field(default_factory=Patience)
    smoke: tuple[Probe, ...] = ()
    smoke_patience: Patience = field(default_factory=Patience)
    shared_paths: tuple[str, ...] = ()
    files: tuple[ReplacedFile, ...] = ()
    service: units.UnitDescription | None = None
    configuration: configuration.Configuration = field(default_factory=configuration.Configuration)
    preflight: preflight.Preflight = field(default_factory=preflight.Preflight)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(cls, name: str, description: object) -> Application:
        """Build from plain data; every mistake is named in one refusal (reason ``application_invalid``)."""
        reader = _Reader(name)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            reader.wrong("the name", "lower-case letters, digits, _ and -, starting with a letter", name)
        values = reader.mapping("", description, KEYS)
        strategy = values.get("strategy", "restart" if values.get("unit") else "none")
        if not isinstance(strategy, str) or strategy not in STRATEGIES:
            reader.wrong("strategy", f"one of {', '.join(STRATEGIES)}", strategy)
            strategy = "none"
        pair = reader.pair(strategy, values)
        pattern, expected = (pairs.TEMPLATE, TEMPLATE_EXPECTED) if pair else (UNIT, UNIT_EXPECTED)
        unit = reader.text("unit", values.get("unit"), pattern, expected)
        if unit is None and strategy != "none":
            reader.wrong("strategy", "none for an application without a unit", strategy)
        declared = configuration.read(values.get("configuration", {}), reader.wrong)
        application = cls(
            name=str(name),
            user=reader.account("user", values.get("user", name)),
            group=reader.account("group", values.get("group", values.get("user", name))),
            unit=unit,
            strategy=strategy,
            blue_green=pair,
            check=reader.check(values.get("check")),
            health=reader.probes("health", values.get("health", _usual_health(unit, pair))),
            health_patience=reader.patience("health_patience", values.get("health_patience", {})),
            smoke=reader.probes("smoke", values.get("smoke", []), allowed=("http", "tcp", "command")),
            smoke_patience=reader.patience("smoke_patience", values.get("smoke_patience", {})),
            shared_paths=reader.paths("shared_paths", values.get("shared_paths", [])),
            files=reader.files(values.get("files", [])),
            service=units.read(reader, values.get("service"), f"/srv/{name}"),
            configuration=declared,
            preflight=preflight.read(values.get("preflight", {}), declared, reader.wrong),
            raw={key: value for key, value in values.items() if key not in NOT_KEPT},
        )
        if application.service is not None:
            reader.unit_can_be_written(application)
        if unit is None and any(probe.type == "unit" for probe in application.health):
            reader.wrong("health", "no probe of type unit for an application without a unit", "one")
        reader.probes_fit(application)
        reader.finish()
        return application

    def shared_links(self) -> dict[str, str]:
        """Each declared shared path and what its link in a release says, e.g. ``var/up: ../../../shared/var/up``."""
        return {path: "../" * (path.count("/") + 2) + "shared/" + path for path in self.shared_paths}


def _usual_health(unit: str | None, pair: pairs.BlueGreen | None) -> list[Mapping[str, Any]]:
    """What is asked where nothing is declared: whether the unit runs, and whether an instance listens on its port."""
    listening = [{"type": "tcp", "port": pairs.PORT}] if pair else []
    return [{"type": "unit"}, *listening] if unit else []


UNIT_EXPECTED = "a name such as shop.service or shop@1.service"
TEMPLATE_EXPECTED = (
    "a template such as shop@.service, of which blue_green starts shop@blue.service and shop@green.service"
)
INSTANCE_VARIABLES = ("PORT", "SLIPWAY_INSTANCE")
KEYS = (
    "user", "group", "unit", "service", "strategy", "blue_green", "check", "health", "health_patience", "smoke", "smoke_patience",
    "shared_paths", "files", "configuration", "preflight",
)  # fmt: skip
# What is done with before a release is staged: by the role that writes the unit, and by the preflight.
NOT_KEPT = ("service", "configuration", "preflight")


class _Reader:
    """Collects every mistake of a description, then refuses once."""

    def __init__(self, name: object) -> None:
        self.name = name
        self.mistakes: list[str] = []

    def wrong(self, where: str, expected: str, found: object) -> None:
        self.mistakes.append(f"{where}: expected {expected}, found {quoted(found)}")

    def finish(self) -> None:
        if self.mistakes:
            raise Refusal(
                "application_invalid",
                expected=f"a valid description of the application {self.name!r}",
                found="; ".join(self.mistakes),
                remedy="Correct slipway_applications in group_vars (docs/howto/your-own-application.md).",
            )

    def mapping(self, where: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            self.wrong(where or "the description", "a mapping", value)
            return {}
        for key in value:
            if key not in keys:
                self.wrong(f"{where}.{key}".lstrip("."), f"one of the keys {', '.join(keys)}", key)
        return {str(key): value[key] for key in value if key in keys}

    def items(self, where: str, value: object) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            self.wrong(where, "a list", value)
            return []
        return list(value)

    def text(self, where: str, value: object, pattern: re.Pattern[str], expected: str) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.wrong(where, expected, value)
            return None
        return value

    def account(self, where: str, value: object) -> str:
        """The name of a user or group; unlike other texts it cannot be left empty."""
        if value is None:
            self.wrong(where, "a name", value)
        return self.text(where, value, NAME, "a name") or ""

    def seconds(self, where: str, value: object, *, least: int = 1, most: int = 86400) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(where, f"a whole number from {least} to {most}", value)
            return least
        return value

    def argv(self, where: str, value: object) -> tuple[str, ...]:
        words = self.items(where, value)
        if not words or not all(isinstance(word, str) and word and "\0" not in word for word in words):
            self.wrong(where, "a command as a list of words", value)
            return ()
        return tuple(words)

    def check(self, value: object) -> Check | None:
        if value is None:
            return None
        values = self.mapping("check", value, ("argv", "timeout_seconds"))
        return Check(
            self.argv("check.argv", values.get("argv", [])),
            self.seconds("check.timeout_seconds", values.get("timeout_seconds", 60)),
        )

    def pair(self, strategy: str, values: Mapping[str, Any]) -> pairs.BlueGreen | None:
        """``blue_green``, which the strategy of that name needs and no other has."""
        if strategy == "blue_green":
            return pairs.read(self, values.get("blue_green"))
        if "blue_green" in values:
            self.wrong("blue_green", "strategy: blue_green beside it", strategy)
        return None

    def probes_fit(self, application: Application) -> None:
        """A new instance is judged before it gets traffic, so on its own port; from outside nobody sees that port."""
        pair = application.blue_green
        asked = [probe for probe in application.health if probe.asks_the_instance]
        if pair and not asked:
            self.wrong("health", f"a probe that asks an instance before it gets traffic, by {pairs.PORT}", "none")
        for probe in application.health:
            if pair and pair.port in (probe.port, pairs.port_of(probe.url)):
                self.wrong("health", f"{pairs.PORT}, since {pair.port} is answered by the release before", pair.port)
        elsewhere = application.smoke if pair else (*asked, *application.smoke)
        for probe in elsewhere:
            if probe.asks_the_instance and probe.type != "command":
                self.wrong(
                    "health, smoke", f"{pairs.PORT} in probes of health with strategy blue_green alone", pairs.PORT
                )

    def unit_can_be_written(self, application: Application) -> None:
        """What a unit that Slipway writes asks of the rest of the description."""
        if application.unit is None:
            self.wrong("unit", "the name of the unit that `service` describes", None)
        given = application.service.environment if application.service else {}
        for key in application.configuration.keys:
            if key.secret and key.name in given:
                expected = (
                    "no key that `configuration` calls secret, since every user can read a unit: use `credentials`"
                )
                self.wrong(f"service.environment.{key.name}", expected, "one")
        for name in INSTANCE_VARIABLES if application.blue_green else ():
            if name in given:
                self.wrong(f"service.environment.{name}", "to be left out, since each instance gets its own", "one")
        if (check := application.check) is None:
            return
        words = check.argv
        if words and not (units.PROGRAM.fullmatch(words[0]) and all(word.isprintable() for word in words)):
            self.wrong("check.argv", "a program and printable words, since the unit runs it before each start", words)
        if check.timeout_seconds > units.MOST_SECONDS:
            expected = f"at most {units.MOST_SECONDS}, since the unit runs it before each start"
            self.wrong("check.timeout_seconds", expected, check.timeout_seconds)

    def patience(self, where: str, value: object) -> Patience:
        values = self.mapping(where, value, ("interval_seconds", "retries", "deadline_seconds"))
        return Patience(
            self.seconds(f"{where}.interval_seconds", values.get("interval_seconds", 1), least=0),
            self.seconds(f"{where}.retries", values.get("retries", 60), least=0),
            self.seconds(f"{where}.deadline_seconds", values.get("deadline_seconds", 30)),
        )

    def probes(self, where: str, value: object, allowed: tuple[str, ...] = tuple(PROBES)) -> tuple[Probe, ...]:
        return tuple(
            probe
            for number, item in enumerate(self.items(where, value))
            if (probe := self.probe(f"{where}[{number}]", item, allowed))
        )

    def probe(self, where: str, value: object, allowed: tuple[str, ...]) -> Probe | None:
        kind = value.get("type") if isinstance(value, Mapping) else None
        if kind not in allowed:
            self.wrong(f"{where}.type", f"one of {', '.join(allowed)}", kind)
            return None
        values = self.mapping(where, value, ("type", "name", "timeout_seconds", *PROBES[kind]))
        if not isinstance(values.get("name", ""), str) or not PROBE_NAME.fullmatch(values.get("name", "probe")):
            self.wrong(f"{where}.name", "a short text", values.get("name"))
        for key in REQUIRED_OF_PROBE[kind]:
            if key not in values:
                self.wrong(f"{where}.{key}", "a value", None)
        of_instance = kind == "tcp" and values.get("port") == pairs.PORT
        if of_instance:
            values["port"] = 0
        for key, expected in PROBES[kind].items():
            if key in values and (not isinstance(values[key], expected) or isinstance(values[key], bool)):
                self.wrong(f"{where}.{key}", f"a value of type {expected.__name__}", values[key])
                return None
        if kind == "http" and not str(values.get("url", "")).startswith(("http://", "https://")):
            self.wrong(f"{where}.url", "an http:// or https:// address", values.get("url"))
        if kind == "tcp" and not of_instance and not 0 < int(values.get("port", 0)) < 65536:
            self.wrong(f"{where}.port", "a port from 1 to 65535", values.get("port"))
        if kind == "command":
            values["argv"] = self.argv(f"{where}.argv", values.get("argv", []))
        values["timeout_seconds"] = self.seconds(f"{where}.timeout_seconds", values.get("timeout_seconds", 2))
        return Probe(**values)

    def paths(self, where: str, value: object) -> tuple[str, ...]:
        paths = tuple(
            path
            for number, item in enumerate(self.items(where, value))
            if (path := self.path(f"{where}[{number}]", item))
        )
        for path in paths:
            if any(other != path and path.startswith(other + "/") for other in paths) or paths.count(path) > 1:
                self.wrong(where, "paths that do not contain each other", path)
        return paths

    def path(self, where: str, value: object) -> str | None:
        if (
            not isinstance(value, str)
            or not value
            or value.startswith(("/", "../"))
            or value in (".", "..")
            or posixpath.normpath(value) != value
            or not value.isprintable()
        ):
            self.wrong(where, "a relative path inside the release", value)
            return None
        return value

    def files(self, value: object) -> tuple[ReplacedFile, ...]:
        files = tuple(
            entry
            for number, item in enumerate(self.items("files", value))
            if (entry := self.file(f"files[{number}]", item))
        )
        paths = [entry.path for entry in files]
        for path in sorted({path for path in paths if paths.count(path) > 1}):
            self.wrong("files", "each path once", path)
        return files

    def file(self, where: str, value: object) -> ReplacedFile | None:
        values = self.mapping(where, value, ("source", "path", "owner", "group", "mode"))
        source = self.path(f"{where}.source", values.get("source"))
        path = values.get("path")
        if not isinstance(path, str) or not ABSOLUTE.fullmatch(path) or posixpath.normpath(path) != path:
            self.wrong(f"{where}.path", "an absolute path", path)
        elif path.startswith(PROTECTED):
            self.wrong(f"{where}.path", "a path that is not Slipway's own", path)
        mode = values.get("mode", "0644")
        if not isinstance(mode, str) or not re.fullmatch(r"0?[0-7]{3}", mode):
            self.wrong(f"{where}.mode", "a quoted octal mode such as '0644'", mode)
            mode = "0644"
        owner = self.account(f"{where}.owner", values.get("owner", "root"))
        group = self.account(f"{where}.group", values.get("group", "root"))
        if source is None:
            return None
        return ReplacedFile(source, path if isinstance(path, str) else "", owner, group, int(mode, 8))


PROTECTED = ("/srv/", "/etc/slipway/", "/usr/lib/slipway/", "/var/lib/slipway/")
