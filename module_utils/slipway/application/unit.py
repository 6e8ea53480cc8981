# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator says of the unit that Slipway writes: ``service`` in ``slipway_applications``, read strictly.

Nothing of it can say more than it is meant to: no value holds a line break, and `unit_file.py` escapes the rest.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ..base.errors import Refusal, kind_of, quoted
from ..base.fields import ONE_LINE
from .configuration import CREDENTIAL

# Characters that mean nothing to systemd, neither a quote nor a pattern nor a specifier.
PLAIN: Final = r"[A-Za-z0-9._@+=,~-]"
PROGRAM: Final = re.compile(rf"[A-Za-z0-9._/](?:{PLAIN}|/)*")
PLAIN_PATH: Final = re.compile(rf"(?:/{PLAIN}+)+")
OTHER_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}(?<!@)\.(?:service|socket|target|mount|path|device)")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
MEMORY: Final = re.compile(r"[1-9][0-9]{0,14}[KMGT]?|(?:[1-9][0-9]?|100)%|infinity")
QUOTA: Final = re.compile(r"[1-9][0-9]{0,4}%|infinity")
NAMED_NETWORKS: Final = ("localhost", "link-local", "multicast")
OWN_PLACES: Final = ("/etc/slipway", "/usr/lib/slipway", "/var/lib/slipway")
MOST_TASKS: Final = 4194304  # the kernel's own limit of process ids
MOST_SECONDS: Final = 3600  # that a start or a stop may take

# What is always there: leaving one out takes `relax`. A directive with two values stands twice.
HARDENING: Final[Mapping[str, tuple[str, ...]]] = {
    "DevicePolicy": ("closed",),
    "KeyringMode": ("private",),
    "LockPersonality": ("yes",),
    "MemoryDenyWriteExecute": ("yes",),
    "PrivateDevices": ("yes",),
    "PrivateTmp": ("yes",),
    "PrivateUsers": ("yes",),
    "ProtectClock": ("yes",),
    "ProtectControlGroups": ("yes",),
    "ProtectHome": ("yes",),
    "ProtectHostname": ("yes",),
    "ProtectKernelLogs": ("yes",),
    "ProtectKernelModules": ("yes",),
    "ProtectKernelTunables": ("yes",),
    "ProtectProc": ("invisible",),
    "ProtectSystem": ("strict",),
    "RemoveIPC": ("yes",),
    "RestrictAddressFamilies": ("AF_UNIX AF_INET AF_INET6",),
    "RestrictNamespaces": ("yes",),
    "RestrictRealtime": ("yes",),
    "RestrictSUIDSGID": ("yes",),
    "SystemCallArchitectures": ("native",),
    "SystemCallErrorNumber": ("EPERM",),
    "SystemCallFilter": ("@system-service", "~@privileged @resources"),
    "UMask": ("0077",),
}  # fmt: skip
# With a capability, what it permits must not be filtered, nor hold in a user namespace only.
HARDENING_WITH_CAPABILITIES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: values for name, values in HARDENING.items() if name != "PrivateUsers"},
    "SystemCallFilter": ("@system-service",),
}
CAPABILITIES: Final = frozenset(
    {
        "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND", "CAP_BPF",
        "CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
        "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",
        "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW",
        "CAP_PERFMON", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYSLOG", "CAP_SYS_ADMIN",
        "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE",
        "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
    }
)  # fmt: skip

LIMITS: Final = ("memory_max", "cpu_quota", "tasks_max", "stop_timeout_seconds")
KEYS: Final = (
    "command", "description", "after", "environment", "environment_files", "credentials", "ip_allow", "capabilities",
    "writable_paths", "relax", *LIMITS,
)  # fmt: skip


class Mistakes(Protocol):
    """What collects mistakes."""

    def wrong(self, where: str, expected: str, found: object) -> None: ...


class Reader(Mistakes, Protocol):
    """What reads a description and collects its mistakes (application.py)."""

    def mapping(self, where: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]: ...

    def items(self, where: str, value: object) -> list[Any]: ...

    def text(self, where: str, value: object, pattern: re.Pattern[str], expected: str) -> str | None: ...


@dataclass(frozen=True)
class Limits:
    """What a unit may use: ``memory_max`` and ``cpu_quota`` as systemd writes them, ``tasks_max`` as a number; None is not said."""

    memory_max: str | None = None
    cpu_quota: str | None = None
    tasks_max: str | None = None
    stop_timeout_seconds: int | None = None

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Limits:
        """The defaults of all applications, from the role's variables; every mistake is named in one refusal."""
        mistakes = _Mistakes()
        limits = _limits(mistakes, "application_", values)
        if mistakes.found:
            raise Refusal(
                "application_limits_invalid",
                expected="limits that systemd knows",
                found="; ".join(mistakes.found),
                remedy="Correct these variables of the role application in group_vars.",
            )
        return limits

    def over(self, defaults: Limits) -> Limits:
        """These limits, and the defaults where nothing is said."""
        return Limits(*(getattr(self, name) or getattr(defaults, name) for name in LIMITS))


@dataclass(frozen=True)
class UnitDescription:
    """``service`` of one application; ``command`` are words, the first a path below ``current``."""

    command: tuple[str, ...]
    description: str | None = None
    after: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_files: tuple[str, ...] = ()
    credentials: Mapping[str, str] = field(default_factory=dict)
    ip_allow: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    writable_paths: tuple[str, ...] = ()
    relax: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def hardening(self) -> list[tuple[str, str]]:
        """The directives of its sandbox as (name, value)."""
        table = HARDENING_WITH_CAPABILITIES if self.capabilities else HARDENING
        return [(name, value) for name, values in table.items() if name not in self.relax for value in values]


def read(reader: Reader, value: object, base: str) -> UnitDescription | None:
    """Read ``service``; None where there is none. ``base`` is where its releases are. Mistakes go to the reader."""
    if value is None:
        return None
    values = reader.mapping("service", value, KEYS)
    return UnitDescription(
        command=_command(reader, values.get("command")),
        description=_description(reader, values.get("description")),
        after=_each(reader, "after", values, OTHER_UNIT, "the name of a unit such as postgresql.service"),
        environment=_environment(reader, values.get("environment", {})),
        environment_files=_environment_files(reader, values),
        credentials=_credentials(reader, values.get("credentials", {})),
        ip_allow=_networks(reader, reader.items("service.ip_allow", values.get("ip_allow", []))),
        capabilities=_choices(
            reader, "capabilities", values, CAPABILITIES, "a capability such as CAP_NET_BIND_SERVICE"
        ),
        writable_paths=_writable_paths(reader, values, base),
        relax=_choices(reader, "relax", values, HARDENING, f"one of {', '.join(HARDENING)}"),
        limits=_limits(reader, "service.", {name: values[name] for name in LIMITS if name in values}),
    )


def _command(reader: Reader, value: object) -> tuple[str, ...]:
    expected = "a command below current/, as one line such as `bin/shop serve`"
    words: list[str] = []
    if isinstance(value, str) and _is_one_line(value):
        try:
            words = shlex.split(value)
        except ValueError as error:
            expected = f"{expected} ({str(error).lower()})"
    if not words or not PROGRAM.fullmatch(words[0]) or not _is_inside(words[0]):
        reader.wrong("service.command", expected, value)
        return ()
    return tuple(words)


def _is_inside(path: str) -> bool:
    return not path.startswith(("/", "../")) and posixpath.normpath(path) == path and path not in (".", "..")


def _is_one_line(value: str) -> bool:
    """Whether nothing in it ends a line, drives a terminal or has no bytes."""
    return not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in value)


def _description(reader: Reader, value: object) -> str | None:
    if value is None:
        return None
    sound = isinstance(value, str) and ONE_LINE.match(value) and _is_one_line(value) and value.strip()
    if not sound or str(value).endswith("\\"):  # a backslash would join the next line to this one
        reader.wrong("service.description", "one line of text that does not end with a backslash", value)
        return None
    return str(value).strip()


def _each(
    reader: Reader, name: str, values: Mapping[str, Any], pattern: re.Pattern[str], expected: str
) -> tuple[str, ...]:
    where = f"service.{name}"
    found = []
    for number, item in enumerate(reader.items(where, values.get(name, []))):
        if item is None:
            reader.wrong(f"{where}[{number}]", expected, item)
        elif text := reader.text(f"{where}[{number}]", item, pattern, expected):
            found.append(text)
    return tuple(found)


def _choices(
    reader: Reader, name: str, values: Mapping[str, Any], known: frozenset[str] | Mapping[str, Any], expected: str
) -> tuple[str, ...]:
    found = []
    for number, item in enumerate(reader.items(f"service.{name}", values.get(name, []))):
        if not isinstance(item, str) or item not in known:
            reader.wrong(f"service.{name}[{number}]", expected, item)
        else:
            found.append(item)
    return tuple(found)


def _environment(reader: Reader, value: object) -> dict[str, str]:
    """Values are not said again where they are wrong: what stands in the wrong place may be a secret."""
    found = {}
    for name, text in _mapping(reader, "service.environment", value).items():
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            reader.wrong("service.environment", "names of letters, digits and underscores", name)
        elif not isinstance(text, str):
            reader.wrong(f"service.environment.{name}", "a quoted text", kind_of(text))
        elif not _is_one_line(text):
            reader.wrong(f"service.environment.{name}", "one line of text", "control characters")
        else:
            found[name] = text
    return found


def _credentials(reader: Reader, value: object) -> dict[str, str]:
    """Paths are not said again where they are wrong either: somebody may have put the secret itself there."""
    found = {}
    for name, path in _mapping(reader, "service.credentials", value).items():
        if not isinstance(name, str) or not CREDENTIAL.fullmatch(name):
            reader.wrong("service.credentials", "names of letters, digits, dots, dashes and underscores", name)
        elif _is_plain_path(path):
            found[name] = path
        else:
            reader.wrong(f"service.credentials.{name}", PLAIN_PATH_EXPECTED, "another text or value")
    return found


PLAIN_PATH_EXPECTED: Final = "an absolute path of letters, digits and ._@+=,~-"


def _mapping(reader: Reader, where: str, value: object) -> Mapping[Any, Any]:
    if isinstance(value, Mapping):
        return value
    reader.wrong(where, "a mapping", kind_of(value))
    return {}


def _environment_files(reader: Reader, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Absolute paths; a dash in front says that the file need not be there."""
    where = "service.environment_files"
    found = []
    for number, item in enumerate(reader.items(where, values.get("environment_files", []))):
        if isinstance(item, str) and _is_plain_path(item.removeprefix("-")):
            found.append(item)
        else:
            reader.wrong(f"{where}[{number}]", PLAIN_PATH_EXPECTED, item)
    return tuple(found)


def _writable_paths(reader: Reader, values: Mapping[str, Any], base: str) -> tuple[str, ...]:
    """Absolute paths that leave alone what only Slipway writes; of its releases' directory that is all but `shared`."""
    where = "service.writable_paths"
    found = []
    for number, item in enumerate(reader.items(where, values.get("writable_paths", []))):
        if not _is_plain_path(item):
            reader.wrong(f"{where}[{number}]", PLAIN_PATH_EXPECTED, item)
        elif not _is_within(item, f"{base}/shared") and any(
            _is_within(item, own) or _is_within(own, item) for own in (*OWN_PLACES, base)
        ):
            reader.wrong(f"{where}[{number}]", "a path that neither is in a place of Slipway's own nor holds one", item)
        else:
            found.append(item)
    return tuple(found)


def _is_within(path: str, place: str) -> bool:
    return f"{path}/".startswith(f"{place}/")


def _is_plain_path(path: object) -> bool:
    return isinstance(path, str) and bool(PLAIN_PATH.fullmatch(path)) and posixpath.normpath(path) == path


def _networks(reader: Reader, items: list[Any]) -> tuple[str, ...]:
    found = []
    for number, item in enumerate(items):
        try:
            if not isinstance(item, str) or "%" in item:  # systemd knows no zones of addresses
                raise ValueError
            found.append(item if item in NAMED_NETWORKS else str(ipaddress.ip_network(item, strict=False)))
        except ValueError:
            expected = f"an address without a zone, a network such as 10.0.0.0/8, or one of {', '.join(NAMED_NETWORKS)}"
            reader.wrong(f"service.ip_allow[{number}]", expected, item)
    return tuple(found)


def _limits(mistakes: Mistakes, prefix: str, values: Mapping[str, object]) -> Limits:
    """The limits among ``values``; ``prefix`` is what their names begin with where an operator writes them."""
    memory, quota = values.get("memory_max"), values.get("cpu_quota")
    if memory is not None and not (isinstance(memory, str) and MEMORY.fullmatch(memory)):
        mistakes.wrong(f"{prefix}memory_max", "an amount such as 512M, 80% or infinity", memory)
    if quota is not None and not (isinstance(quota, str) and QUOTA.fullmatch(quota)):
        mistakes.wrong(f"{prefix}cpu_quota", "a share of one processor such as 150%, or infinity", quota)
    tasks, stop = values.get("tasks_max"), values.get("stop_timeout_seconds")
    if tasks is not None and tasks != "infinity" and not _is_count(tasks, MOST_TASKS):
        mistakes.wrong(f"{prefix}tasks_max", f"a whole number from 1 to {MOST_TASKS}, or infinity", tasks)
    if stop is not None and not _is_count(stop, MOST_SECONDS):
        mistakes.wrong(f"{prefix}stop_timeout_seconds", f"a whole number from 1 to {MOST_SECONDS}", stop)
    return Limits(
        memory_max=memory if isinstance(memory, str) else None,
        cpu_quota=quota if isinstance(quota, str) else None,
        tasks_max=str(tasks) if tasks == "infinity" or _is_count(tasks, MOST_TASKS) else None,
        stop_timeout_seconds=stop if isinstance(stop, int) else None,
    )


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


class _Mistakes:
    """Collects what is wrong with the role's variables."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def wrong(self, where: str, expected: str, found: object) -> None:
        self.found.append(f"{where}: expected {expected}, found {quoted(found)}")
