# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's own HAProxy is told when it starts: a frontend and two servers for each application of two instances.

A file and a unit of our own: a HAProxy that serves anything else on the host is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..application.blue_green import COLOURS, WHOLE_WEIGHT, BlueGreen
from ..application.description import Application
from ..base.errors import Refusal
from ..base.files import read_if_there, read_link, remove_temporary, temporary_name, write_durable
from .places import Host, Places

UNIT: Final = "slipway-haproxy.service"
PROGRAM: Final = "/usr/sbin/haproxy"
CHECK_SECONDS: Final = 30.0
FILE_LIMIT: Final = 1 << 20
MODE: Final = 0o644
MARKER: Final = "# Written by Slipway: changes belong into slipway_applications (playbooks/bootstrap.yml).\n"
# An instance gets a connection for each request, so that none is open while nothing is asked: one that ends has no request to
# lose. Only a connection that was refused is tried again, at the other instance: such a request was never begun.
COMMON: Final = """
global
    stats socket {socket} user root group root mode 600 level admin expose-fd listeners
    user haproxy
    group haproxy
    log stdout format raw daemon

defaults
    mode http
    log global
    option httplog
    option dontlog-normal
    option forwardfor
    option http-server-close
    option redispatch 1
    retries 3
    timeout connect 5s
    timeout http-request 30s
    timeout http-keep-alive 60s
    timeout client {timeout_seconds}s
    timeout server {timeout_seconds}s
"""
PROXIES: Final = """
frontend {name}
    bind :{port}
    default_backend {name}

backend {name}
    balance roundrobin
    default-server check inter 500ms fastinter 100ms fall 2 rise 1 weight {weight}
"""

SERVER: Final = re.compile(rf"^    server ({'|'.join(COLOURS)}) 127\.0\.0\.1:([0-9]+)$", re.MULTILINE)


def write(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Write HAProxy's configuration, where it differs from what is there, once HAProxy itself has nothing against it.

    request: applications {name: description}, all of the host's; timeout_seconds (how long a request or its answer may stand still).
    answer: changed, path, applications (those behind it), diff. HAProxy is neither started nor reloaded.
    Refusals: ``balancer_file_foreign``, ``balancer_file_invalid``, ``balancer_ports_taken``, ``instance_port_in_use``, those of a
    description.
    """
    served = {
        application.name: application.blue_green
        for name, description in sorted(request["applications"].items())
        if (application := Application.parse(name, description)).blue_green
    }
    _require_different_ports(served)
    path = host.configuration / "haproxy.cfg"
    found = read_if_there(path, limit=FILE_LIMIT, what="configuration of HAProxy") or b""
    before, after = found.decode("utf-8", "replace"), render(served, host, int(request["timeout_seconds"]))
    if before and not before.startswith(MARKER):
        raise Refusal(
            "balancer_file_foreign",
            expected=f"in {path} what Slipway wrote",
            found="another first line",
            remedy="Move that file away: a HAProxy of your own has its configuration elsewhere.",
        )
    _require_running_instances_where_they_are(before, served, host)
    if before != after and not check:
        remove_temporary(path.parent, path.name)
        _require_valid(after, path, host)
        write_durable(path, after.encode(), mode=MODE)
    shown = "/etc/slipway/haproxy.cfg"
    return {
        "changed": before != after,
        "path": shown,
        "applications": list(served),
        "diff": {"before": before, "after": after, "before_header": shown, "after_header": shown},
    }


def render(served: Mapping[str, BlueGreen], host: Host, timeout_seconds: int) -> str:
    """The configuration's text; the same applications give the same bytes."""
    socket = f"/{host.balancer_socket.relative_to(host.root)}"
    text = MARKER + COMMON.format(socket=socket, timeout_seconds=timeout_seconds)
    for name, pair in served.items():
        text += PROXIES.format(name=name, port=pair.port, weight=WHOLE_WEIGHT)
        text += "".join(f"    server {colour} 127.0.0.1:{pair.instance_ports[colour]}\n" for colour in COLOURS)
    return text


def _require_running_instances_where_they_are(before: str, served: Mapping[str, BlueGreen], host: Host) -> None:
    """A server whose port changes under a running instance would lose it, and with it all of the traffic."""
    for name, pair in served.items():
        backend = before.partition(f"\nbackend {name}\n")[2].partition("\n\n")[0]
        told = {match[1]: int(match[2]) for match in SERVER.finditer(backend)}
        for colour, port in told.items():
            link = read_link(Places(host, name).instances / colour)
            if link is not None and pair.instance_ports[colour] != port:
                raise Refusal(
                    "instance_port_in_use",
                    expected=f"blue_green.instance_ports.{colour} of {name} to stay {port} while that instance runs {Path(link).name}",
                    found=str(pair.instance_ports[colour]),
                    remedy="Change the port of the other instance first and deploy, which leaves this one; then change this one.",
                )


def _require_different_ports(served: Mapping[str, BlueGreen]) -> None:
    """Two applications on one port would each answer some of the other's requests."""
    holders: dict[int, list[str]] = {}
    for name, pair in served.items():
        for port in pair.ports:
            holders.setdefault(port, []).append(name)
    taken = {port: names for port, names in holders.items() if len(names) > 1}
    if taken:
        raise Refusal(
            "balancer_ports_taken",
            expected="each port in `blue_green` of one application alone",
            found="; ".join(f"{port} of {' and '.join(names)}" for port, names in taken.items()),
            remedy="Correct slipway_applications in group_vars.",
        )


def _require_valid(text: str, path: Path, host: Host) -> None:
    """HAProxy reads it before it replaces what works."""
    candidate = temporary_name(path)
    try:
        write_durable(candidate, text.encode(), mode=MODE)
        finished = host.run((PROGRAM, "-c", "-f", str(candidate)), timeout_seconds=CHECK_SECONDS)
    finally:
        candidate.unlink(missing_ok=True)
    if not finished.succeeded:
        raise Refusal(
            "balancer_file_invalid",
            expected=f"a configuration that {PROGRAM} takes",
            found=finished.described(),
            remedy="Install Debian's haproxy, 2.6 or newer (playbooks/bootstrap.yml does); else this is a mistake of Slipway's.",
        )
