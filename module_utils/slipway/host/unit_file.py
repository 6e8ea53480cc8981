# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit file of an application on a host: what stands in it, whose it is, and when it is written."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..application.blue_green import COLOURS, instance_unit
from ..application.description import Application
from ..application.service import Service
from ..application.unit import Limits, UnitDescription
from ..base.errors import Refusal
from ..base.files import fsync_directory, remove_temporary, write_durable
from .places import Host

DIRECTORY: Final = "etc/systemd/system"
# Where units of packages, generators and administrators are: one there would be hidden by ours.
OTHER_DIRECTORIES: Final = (
    "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system",
)  # fmt: skip
MARKER: Final = "# Written by Slipway for the application "
LEAST_START_SECONDS: Final = 30
MODE: Final = 0o644
DROP_IN: Final = "slipway.conf"
CREDENTIALS_DROP_IN: Final = "slipway-credentials.conf"
UNIT_LIMIT: Final = 1 << 20
UNQUOTED: Final = re.compile(r"[A-Za-z0-9._@+=,~:/-]+")


def write(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Write the unit that an application's ``service`` describes, where it differs from what is there.

    request: application {name, description}, limits {memory_max, cpu_quota, tasks_max, stop_timeout_seconds}.
    answer: changed, path, units (what is started at boot: the unit, or the instances of a template), reload_needed (whether
    systemd has yet to read a file), message (what an operator must know, or ""), diff. No unit is started or restarted.
    Refusals: ``unit_foreign``, ``service_missing``, those of a description or of limits that do not hold.
    """
    application = Application.parse(request["application"]["name"], request["application"]["description"])
    limits = Limits.parse(request["limits"])
    if application.unit is None or application.service is None:
        raise Refusal(
            "service_missing",
            expected=f"`service` in the description of {application.name}",
            found="none, so that the application brings its own unit or has none",
            remedy="Leave such an application alone, or describe its service.",
        )
    units = [application.unit]
    texts = {application.unit: render(application, application.service, limits)}
    if application.blue_green is not None:
        units = [instance_unit(application.unit, colour) for colour in COLOURS]
        for colour, unit in zip(COLOURS, units, strict=True):
            _require_own(unit, host, application, is_ours=False)
            texts[f"{unit}.d/{DROP_IN}"] = _instance(application, application.blue_green.instance_ports[colour])
    before = {name: _require_own(name, host, application) for name in texts}
    outdated = [name for name in texts if not _is_as_meant(host.root / DIRECTORY / name, texts[name], host.uid)]
    for name in () if check else outdated:
        path = host.root / DIRECTORY / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        remove_temporary(path.parent, glob.escape(path.name))
        write_durable(path, texts[name].encode(), mode=MODE)
    services = [Service(unit, host.run) for unit in units]
    running = [service.unit for service in services if service.state().is_running]
    shown = f"/{DIRECTORY}/{application.unit}"
    return {
        "changed": bool(outdated),
        "path": shown,
        "units": units,
        "reload_needed": bool(outdated) or any(service.needs_reload() for service in services),
        "message": _message(running[0]) if outdated and running else "",
        "diff": {
            "before": "".join(before.values()), "after": "".join(texts.values()), "before_header": shown, "after_header": shown,
        },
    }  # fmt: skip


def write_drop_in(application: Application, host: Host, directive: str) -> bool:
    """Add a directive to the application's service, whoever wrote its unit; returns whether it was not there yet. Refusal ``unit_foreign``."""
    name = f"{application.unit}.d/{CREDENTIALS_DROP_IN}"
    text = f"{_marker(application.name)} its service gets the credentials of its releases.\n\n[Service]\n{directive}\n"
    _require_own(name, host, application)
    path = host.root / DIRECTORY / name
    if _text(path) == text and _is_protected(path, host.uid):
        return False
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    remove_temporary(path.parent, glob.escape(path.name))
    write_durable(path, text.encode(), mode=MODE)
    fsync_directory(path.parent.parent)
    return True


def _message(unit: str) -> str:
    return (
        f"{unit} runs on as it was started. What changed takes effect when it is next started: by a deployment that "
        f"restarts it, or by `systemctl restart {unit}` on the host."
    )


def _is_as_meant(path: Path, text: str, uid: int) -> bool:
    return _text(path) == text and _is_protected(path, uid)


def _require_own(name: str, host: Host, application: Application, *, is_ours: bool = True) -> str:
    """What stands in a file of ours, "" where there is none; one of anybody else is refused, also where it would hide ours."""
    path = host.root / DIRECTORY / name
    for place in (path, *(host.root / directory / name for directory in OTHER_DIRECTORIES)):
        found = _text(place)
        if found is not None and not (is_ours and place == path and found.startswith(_marker(application.name))):
            raise Refusal(
                "unit_foreign",
                expected=f"no unit {name} on the host but one that Slipway wrote for {application.name}",
                found=f"{place} {_described(found)}",
                remedy="Leave `service` out if the application brings its own unit; else move that file away, or name another `unit`.",
            )
    return _text(path) or ""


def _text(path: Path) -> str | None:
    """What stands in a file; None where there is none, "" for what is no regular file (a mask is a link)."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return ""
        with path.open("rb") as file:
            return file.read(UNIT_LIMIT).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_protected(path: Path, uid: int) -> bool:
    status = os.lstat(path)
    return status.st_uid == uid and stat.S_IMODE(status.st_mode) == MODE


def _described(text: str) -> str:
    if text.startswith(MARKER):
        return f"of the application {text[len(MARKER) :].partition(':')[0]!r}"
    return "without the first line of a unit of Slipway"


def _marker(name: str) -> str:
    return f"{MARKER}{name}:"


def _instance(application: Application, port: int) -> str:
    """What one instance has of its own."""
    first = f"{_marker(application.name)} changes belong into slipway_applications."
    return f"{first}\n\n[Service]\nEnvironment=PORT={port}\n"


def render(application: Application, service: UnitDescription, defaults: Limits) -> str:
    """The unit file's text; the same description gives the same bytes."""
    base = f"/srv/{application.name}"
    current = f"{base}/instances/%i" if application.blue_green else f"{base}/current"
    units = " ".join(("network-online.target", *service.after))
    sections = {
        "Unit": [
            ("Description", _escaped(service.description or application.name)),
            ("After", units),
            ("Wants", units),
            ("ConditionPathExists", current),
        ],
        "Service": [
            ("Type", "exec"),
            ("User", application.user),
            ("Group", application.group),
            ("WorkingDirectory", current),
            *_environment(service),
            *_of_an_instance(application, current),
            *_commands(application, service, current),
            *_limits(service.limits.over(defaults)),
            ("NoNewPrivileges", "yes"),
            ("CapabilityBoundingSet", " ".join(service.capabilities)),
            ("AmbientCapabilities", " ".join(service.capabilities)),
            *service.hardening(),
            *_places(application, service),
            *_network(service),
        ],
        "Install": [("WantedBy", "multi-user.target")],
    }
    lines = [f"{_marker(application.name)} changes belong into slipway_applications, or into {application.unit}.d/."]
    for section, directives in sections.items():
        lines += ["", f"[{section}]", *(f"{name}={value}" for name, value in directives)]
    return "\n".join(lines) + "\n"


def _environment(service: UnitDescription) -> list[tuple[str, str]]:
    return [
        *(("Environment", _quoted(f"{name}={value}")) for name, value in sorted(service.environment.items())),
        *(("EnvironmentFile", path) for path in service.environment_files),
        *(("LoadCredential", f"{name}:{path}") for name, path in sorted(service.credentials.items())),
    ]


def _of_an_instance(application: Application, current: str) -> list[tuple[str, str]]:
    """An instance knows its colour, and starts only while it is what is active: so the links alone say what runs after a boot."""
    if application.blue_green is None:
        return []
    return [
        ("Environment", "SLIPWAY_INSTANCE=%i"),
        ("ExecCondition", f"/usr/bin/test /srv/{application.name}/current -ef {current}"),
    ]


def _commands(application: Application, service: UnitDescription, current: str) -> list[tuple[str, str]]:
    """The check, the command, and how long systemd waits for either; a restart after a failure is systemd's as well."""
    check = application.check
    start = [("TimeoutStartSec", f"{max(LEAST_START_SECONDS, check.timeout_seconds)}s")] if check else []
    return [
        *(("ExecStartPre", _command(argv, current)) for argv in ([check.argv] if check else [])),
        ("ExecStart", _command((f"./{service.command[0]}", *service.command[1:]), current)),
        *start,
        ("Restart", "on-failure"),
        ("RestartSec", "1s"),
        ("KillMode", "mixed"),
    ]


def _command(argv: tuple[str, ...], current: str) -> str:
    """Words as systemd reads them: a relative program is below `current`, and no word is expanded."""
    program = argv[0]
    if "/" in program and not program.startswith("/"):
        program = f"{current}/{os.path.normpath(program)}"
    return " ".join((program, *(_quoted(word).replace("$", "$$") for word in argv[1:])))


def _limits(limits: Limits) -> list[tuple[str, str]]:
    quota = None if limits.cpu_quota == "infinity" else limits.cpu_quota
    stop = limits.stop_timeout_seconds
    found = (
        ("TimeoutStopSec", None if stop is None else f"{stop}s"),
        ("MemoryMax", limits.memory_max),
        ("CPUQuota", quota),
        ("TasksMax", limits.tasks_max),
    )
    return [(name, value) for name, value in found if value is not None]


def _places(application: Application, service: UnitDescription) -> list[tuple[str, str]]:
    """What may be written to; the application's own directory comes with the first release that has shared paths."""
    return [
        ("ReadWritePaths", f"-/srv/{application.name}/shared"),
        *(("ReadWritePaths", path) for path in service.writable_paths),
    ]


def _network(service: UnitDescription) -> list[tuple[str, str]]:
    if not service.ip_allow:
        return []
    return [("IPAddressDeny", "any"), *(("IPAddressAllow", network) for network in service.ip_allow)]


def _escaped(text: str) -> str:
    """A text in which systemd finds no specifier."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word as it stands, for systemd's own unquoting, its escapes and its specifiers."""
    if UNQUOTED.fullmatch(word):
        return word
    text = _escaped(word.replace("\\", "\\\\").replace('"', '\\"'))
    return '"' + "".join(c if ord(c) >= 32 and ord(c) != 127 else f"\\x{ord(c):02x}" for c in text) + '"'
