# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances of one application on a host: what an operator says of them under ``blue_green``, read strictly.

The unit is a template; each instance is a colour, has a port of its own, and runs what ``instances/<colour>`` says. A balancer
on the host has the application's port and one server for each colour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

COLOURS: Final = ("blue", "green")
TEMPLATE: Final = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]{0,239}@\.service")
PORT: Final = "{port}"  # in a probe, the port of the instance that is asked
WHOLE_WEIGHT: Final = 100
KEYS: Final = ("port", "instance_ports", "drain_seconds", "share", "share_seconds", "verdict")
LONGEST_DRAIN_SECONDS: Final = 3600
LONGEST_SHARE_SECONDS: Final = 86400
Instances = Mapping[str, "str | None"]  # {before, after}: colours, of which `before` is null where nothing was active


class Reader(Protocol):
    """What reads a description and collects its mistakes (description.py)."""

    def wrong(self, where: str, expected: str, found: object) -> None: ...

    def mapping(self, where: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]: ...

    def seconds(self, where: str, value: object, *, least: int = 1, most: int = 86400) -> int: ...

    def argv(self, where: str, value: object) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Sharing:
    """Both instances live for ``seconds``, the new one with ``percent`` of the traffic; then the command, if any, is the verdict."""

    percent: int
    seconds: int
    argv: tuple[str, ...] = ()
    timeout_seconds: int = 60


@dataclass(frozen=True)
class BlueGreen:
    """``blue_green`` of one application. ``instance_ports`` are by colour."""

    port: int
    instance_ports: Mapping[str, int]
    drain_seconds: int = 30
    sharing: Sharing | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port on the host that is the application's."""
        return (self.port, *(self.instance_ports[colour] for colour in COLOURS))

    @property
    def sharing_seconds(self) -> int:
        """By how much an activation may take longer than start and health."""
        return self.sharing.seconds + self.sharing.timeout_seconds if self.sharing else 0


def other(colour: str) -> str:
    """The colour that is not this one."""
    return COLOURS[1 - COLOURS.index(colour)]


def instance_unit(template: str, colour: str) -> str:
    """E.g. shop@blue.service of shop@.service."""
    return template.replace("@.", f"@{colour}.", 1)


def read(reader: Reader, value: object) -> BlueGreen:
    """Read ``blue_green``; mistakes go to the reader."""
    values = reader.mapping("blue_green", value, KEYS)
    given = reader.mapping("blue_green.instance_ports", values.get("instance_ports"), COLOURS)
    ports = {"port": _port(reader, "port", values.get("port"))}
    ports |= {colour: _port(reader, f"instance_ports.{colour}", given.get(colour)) for colour in COLOURS}
    if len(set(ports.values())) < len(ports):
        reader.wrong("blue_green", "three different ports", ", ".join(map(str, ports.values())))
    return BlueGreen(
        port=ports.pop("port"),
        instance_ports=ports,
        drain_seconds=reader.seconds(
            "blue_green.drain_seconds", values.get("drain_seconds", 30), least=0, most=LONGEST_DRAIN_SECONDS
        ),
        sharing=_sharing(reader, values),
    )


def _port(reader: Reader, name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        reader.wrong(f"blue_green.{name}", "a port from 1 to 65535", value)
        return 0
    return value


def _sharing(reader: Reader, values: Mapping[str, Any]) -> Sharing | None:
    if "share" not in values:
        for name in ("share_seconds", "verdict"):
            if name in values:
                reader.wrong(f"blue_green.{name}", "`share` beside it, the percentage of the traffic", None)
        return None
    percent = reader.seconds("blue_green.share", values["share"], most=WHOLE_WEIGHT - 1)
    seconds = reader.seconds("blue_green.share_seconds", values.get("share_seconds"), most=LONGEST_SHARE_SECONDS)
    if "verdict" not in values:
        return Sharing(percent, seconds, timeout_seconds=0)
    verdict = reader.mapping("blue_green.verdict", values["verdict"], ("argv", "timeout_seconds"))
    timeout = reader.seconds("blue_green.verdict.timeout_seconds", verdict.get("timeout_seconds", 60))
    return Sharing(percent, seconds, reader.argv("blue_green.verdict.argv", verdict.get("argv", [])), timeout)


def port_of(url: str) -> int | None:
    """The port that an address asks, None where it names none that is a number."""
    try:
        return urlsplit(url).port
    except ValueError:
        return None
