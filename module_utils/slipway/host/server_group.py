# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves requests away from a group of servers at one balancer, or back. Runs where the balancer's HAProxy does.

What is out is in HAProxy's state `maint`: that is not what a rollout drains, so a rollout leaves it out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..base.errors import Refusal
from .balancer import ADMITTED_SECONDS
from .haproxy import POLL_SECONDS, Haproxy, Server
from .places import Host

Servers = Mapping[str, Server]


def fail_over(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Take the servers ``out`` out of a backend once enough others are up, after those of ``admitted`` that were out are in again.

    request: socket, backend, out, admitted (names of servers; both empty: only look), healthy_min (how many servers that are not
    ``out`` have to be up), drain_seconds (how long open requests are waited for).
    answer: changed, servers {name: {status, weight, sessions}}, held (those that get nothing since they were taken out), serving (those that are up
    and not held), not_up (those of ``admitted`` that are in again, but that HAProxy does not find up), message.
    Refusals, with nothing changed: ``capacity_too_low``, ``balancer_server_missing``, ``failover_running``, those of Haproxy.
    """
    haproxy, backend = Haproxy(Path(request["socket"]), host.clock), request["backend"]
    out, admitted = sorted(set(request["out"])), sorted(set(request["admitted"]) - set(request["out"]))
    before = haproxy.servers(backend)
    _require_known(backend, before, [*out, *admitted])
    leaving = [name for name in out if not before[name].is_held]
    returning = [name for name in admitted if before[name].is_held]
    if check or not (leaving or returning):
        if leaving:
            _require_capacity(backend, before, out, request["healthy_min"], returning)
        return _answer(before, backend, admitted, changed=bool(leaving or returning))
    with _alone(Path(request["socket"])):
        for name in returning:
            haproxy.set_state(backend, name, "ready")
        now = _awaited(
            haproxy,
            backend,
            ADMITTED_SECONDS if returning else 0,
            lambda found: all(found[name].is_up for name in returning),
        )
        try:
            if leaving:
                _require_capacity(backend, now, out, request["healthy_min"])
        except Refusal:
            for name in returning:
                haproxy.set_state(backend, name, "maint")
            raise
        for name in leaving:
            haproxy.set_state(backend, name, "drain")
        _awaited(
            haproxy,
            backend,
            float(request["drain_seconds"]) if leaving else 0,
            lambda found: not any(found[name].sessions for name in leaving),
        )
        for name in leaving:
            haproxy.set_state(backend, name, "maint")
        return _answer(haproxy.servers(backend), backend, admitted, changed=True)


def _require_known(backend: str, servers: Servers, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in servers]:
        raise Refusal(
            "balancer_server_missing",
            expected=f"servers {', '.join(missing)} in the backend {backend}",
            found=", ".join(servers),
            remedy="Name the hosts there as in the inventory, or correct the backend's name.",
        )


def _require_capacity(
    backend: str, servers: Servers, out: Sequence[str], healthy_min: int, returning: Sequence[str] = ()
) -> None:
    """What is ``returning`` is given the benefit of the doubt: nobody asks a server in maintenance how it is."""
    rest = {name: server for name, server in servers.items() if name not in out}
    up = [name for name, server in rest.items() if is_serving(server) or name in returning]
    if len(up) < healthy_min:
        others = ", ".join(f"{name} ({server.described()})" for name, server in rest.items() if name not in up)
        raise Refusal(
            "capacity_too_low",
            expected=f"at least {healthy_min} other servers of the backend {backend} to be up (release_failover_healthy_min)",
            found=f"{len(up)}{f': {chr(44).join(up)}' if up else ''}{f'; not up: {others}' if others else ''}; nothing was changed here",
            remedy="Mend those, or ask for fewer with -e release_failover_healthy_min=.",
        )


def is_serving(server: Server) -> bool:
    """Whether a server gets requests now."""
    return server.is_up and server.weight > 0 and not server.is_held


def _awaited(haproxy: Haproxy, backend: str, seconds: float, holds: Callable[[Servers], bool]) -> Servers:
    """The servers once something holds of them, or as they are after so many seconds."""
    deadline = haproxy.clock.elapsed() + seconds
    while True:
        servers = haproxy.servers(backend)
        if holds(servers) or haproxy.clock.elapsed() >= deadline:
            return servers
        haproxy.clock.sleep(POLL_SECONDS)


@contextmanager
def _alone(socket: Path) -> Iterator[None]:
    """One failover at a time at a balancer: two that judge at once would each count on what the other takes out."""
    directory = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refusal(
            "failover_running",
            expected=f"one failover at a time at the HAProxy behind {socket}",
            found="another one that is at work there; nothing was changed here",
            remedy="Wait until it has ended, then look: playbooks/status.yml.",
        ) from error
    finally:
        os.close(directory)


def _answer(servers: Servers, backend: str, admitted: Sequence[str], *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed,
        "servers": {
            name: {"status": server.status, "weight": server.weight, "sessions": server.sessions}
            for name, server in servers.items()
        },
        "held": [name for name, server in servers.items() if server.is_held],
        "serving": [name for name, server in servers.items() if is_serving(server)],
        "not_up": [name for name in admitted if not servers[name].is_up and not servers[name].is_held],
        "message": "; ".join(f"{backend}/{name}: {server.described()}" for name, server in servers.items()),
    }
