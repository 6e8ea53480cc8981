# SPDX-License-Identifier: GPL-3.0-or-later
"""A host behind a balancer: out of it before it changes, and in again once it is well. Runs where the balancer's HAProxy does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..base.errors import Refusal
from .haproxy import MOST_WEIGHT, Haproxy, Server
from .places import Host

STATES: Final = {"drained": "drain", "ready": "ready"}
ADMITTED_SECONDS: Final = 10.0


def balance(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Let a server have no new requests (``drained``) or its part of them (``ready``).

    request: socket, backend, server, state, weight (0 to 256, with ready; null leaves it), drain_seconds (how long open
    requests are waited for).
    answer: changed, status (as HAProxy says it), weight, sessions (requests that are open or wait), is_held, message. Drained with open
    requests is no failure: they go on. Ready without being up is one (reason ``server_not_up``): it stays in the balancer's
    hands, which asks it on and on. A server that is held, by a failover or by whoever put it into maintenance, stays as it is.
    Refusals: ``balancer_silent``, ``balancer_backend_missing``, ``balancer_server_missing``, ``balancer_refused``,
    ``weight_invalid``.
    """
    backend, name, state, weight = (request[key] for key in ("backend", "server", "state", "weight"))
    if weight is not None and not 0 <= weight <= MOST_WEIGHT:
        raise Refusal(
            "weight_invalid",
            expected=f"a weight from 0 to {MOST_WEIGHT}",
            found=str(weight),
            remedy="Correct it; it counts beside the weights of the other servers of the backend.",
        )
    haproxy = Haproxy(Path(request["socket"]), host.clock)
    before = haproxy.server(backend, name)
    if before.is_held:
        return _answer(before, backend, name, changed=False)
    changed = _differs(before, state, weight)
    if check:
        return _answer(before, backend, name, changed=changed)
    if state == "drained":
        after = haproxy.drained(backend, name, float(request["drain_seconds"]))
        return _answer(after, backend, name, changed=changed)
    if weight is not None:
        haproxy.set_weight(backend, name, weight)
    haproxy.set_state(backend, name, "ready")
    after = haproxy.awaited(backend, name, ADMITTED_SECONDS, lambda server: server.is_up)
    answer = _answer(after, backend, name, changed=changed)
    if after.is_up:
        return answer
    return {**answer, "failed": True, "reason": "server_not_up", "msg": (
        f"server_not_up: expected {backend}/{name} to answer its balancer; found {after.described()}. "
        f"Look at the balancer's health check of it: it gets requests as soon as that is content."
    )}  # fmt: skip


def _differs(server: Server, state: str, weight: int | None) -> bool:
    """A server that is down is not told apart from one that is drained and down: then it is said once more, which is harmless."""
    if state == "drained":
        return server.status != "DRAIN"
    return not server.is_up or weight not in (None, server.weight)


def _answer(server: Server, backend: str, name: str, *, changed: bool) -> dict[str, Any]:
    return {
        "changed": changed, "status": server.status, "weight": server.weight, "sessions": server.sessions,
        "is_held": server.is_held,
        "message": f"{backend}/{name}: {server.described()}",
    }  # fmt: skip
