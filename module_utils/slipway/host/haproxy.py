# SPDX-License-Identifier: GPL-3.0-or-later
"""HAProxy's runtime API: who gets traffic, said over its UNIX socket while it runs. Nothing of it outlives HAProxy's reload.

See the management guide of HAProxy 2.6, "9.3. Unix Socket commands".
"""

from __future__ import annotations

import csv
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..base.clock import Clock
from ..base.errors import Refusal, shown

ANSWER_LIMIT: Final = 1 << 20
ANSWER_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.05
NAME: Final = re.compile(
    r"[A-Za-z0-9_.:-]{1,128}"
)  # what HAProxy takes for a proxy or a server; no separator of commands
STATES: Final = ("ready", "drain", "maint")
MOST_WEIGHT: Final = 256


@dataclass(frozen=True)
class Server:
    """What HAProxy says of a server: the first word of its status (UP, DOWN, DRAIN, MAINT, NOLB, no), what it has of the weights
    of its backend, how many requests it is answering or has waiting, whether the checks agree on it ("UP 1/2" does not), and whether
    it was taken out over the socket or by its configuration ("MAINT"; with more words HAProxy itself knows no address of it).
    """

    status: str
    weight: int
    sessions: int
    is_certain: bool = True
    is_held: bool = False

    @property
    def is_up(self) -> bool:
        """A server that leaves maintenance is UP 1/2, so taken for well, until it was asked."""
        return self.is_certain and self.status in ("UP", "no")  # "no check": nobody asks whether it is

    def described(self) -> str:
        return f"{self.status}, weight {self.weight}, {self.sessions} open requests"


@dataclass(frozen=True)
class Haproxy:
    """One running HAProxy, by its socket."""

    socket: Path
    clock: Clock

    def servers(self, backend: str) -> dict[str, Server]:
        """The servers of a backend by name; Refusal ``balancer_backend_missing`` where HAProxy does not know it."""
        # All servers: asked for by name, a frontend of that name would be taken for it.
        answer = self._asked("show stat -1 4 -1").removeprefix("# ")
        rows = list(csv.DictReader(answer.splitlines()))
        found = {
            row["svname"]: Server(
                row["status"].split(" ")[0],
                int(row["weight"]),
                int(row["scur"]) + int(row["qcur"]),
                is_certain="/" not in row["status"],
                is_held=row["status"] == "MAINT",
            )
            for row in rows
            if row["pxname"] == backend
        }
        if not found:
            raise Refusal(
                "balancer_backend_missing",
                expected=f"a backend {backend} with servers in the HAProxy behind {self.socket}",
                found=", ".join(dict.fromkeys(row["pxname"] for row in rows)) or "no servers at all",
                remedy="Correct its configuration, or the name.",
            )
        return found

    def server(self, backend: str, name: str) -> Server:
        """One server; Refusal ``balancer_server_missing``."""
        servers = self.servers(backend)
        if name not in servers:
            raise Refusal(
                "balancer_server_missing",
                expected=f"a server {name} in the backend {backend}",
                found=", ".join(servers),
                remedy="Name the host there as in the inventory, or correct the backend's name.",
            )
        return servers[name]

    def set_state(self, backend: str, name: str, state: str) -> None:
        """``ready``; ``drain``: no new requests, those that are open go on; or ``maint``: nothing at all, not even health checks."""
        if state not in STATES:
            raise ValueError(f"no state of a server: {state}")
        self._told(f"set server {_named(backend)}/{_named(name)} state {state}")

    def set_weight(self, backend: str, name: str, weight: int) -> None:
        """Beside the weights of the other servers of its backend, from 0 to 256."""
        if not 0 <= weight <= MOST_WEIGHT:
            raise ValueError(f"no weight of a server: {weight}")
        self._told(f"set server {_named(backend)}/{_named(name)} weight {weight}")

    def awaited(self, backend: str, name: str, seconds: float, holds: Callable[[Server], bool]) -> Server:
        """The server once something holds of it, or as it is after so many seconds."""
        deadline = self.clock.elapsed() + seconds
        while True:
            server = self.server(backend, name)
            if holds(server) or self.clock.elapsed() >= deadline:
                return server
            self.clock.sleep(POLL_SECONDS)

    def drained(self, backend: str, name: str, seconds: float) -> Server:
        """Give the server no more requests, and wait for those that are open, at most so many seconds."""
        self.set_state(backend, name, "drain")
        return self.awaited(backend, name, seconds, lambda server: server.sessions == 0)

    def _told(self, command: str) -> None:
        """A command that HAProxy takes in silence."""
        answer = self._asked(command).strip()
        if answer:
            raise Refusal(
                "balancer_refused",
                expected=f"HAProxy to take `{command}`",
                found=shown(answer),
                remedy="Compare the names with its configuration (`show stat` on its socket has them).",
            )

    def _asked(self, command: str) -> str:
        answer = b""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(ANSWER_SECONDS)
                connection.connect(str(self.socket))
                connection.sendall(command.encode() + b"\n")
                while len(answer) <= ANSWER_LIMIT and (chunk := connection.recv(65536)):
                    answer += chunk
        except OSError as error:
            raise Refusal(
                "balancer_silent",
                expected=f"a running HAProxy behind {self.socket}",
                found=str(error),
                remedy="Start it (on a host of two instances `systemctl start slipway-haproxy.service`; playbooks/bootstrap.yml installs it).",
            ) from error
        return answer.decode("utf-8", "replace")


def _named(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Refusal(
            "balancer_name_invalid",
            expected="a name of letters, digits, dots, dashes, colons and underscores",
            found=shown(name),
            remedy="Correct the name of the backend or of the server.",
        )
    return name
