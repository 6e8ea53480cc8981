# SPDX-License-Identifier: GPL-3.0-or-later
"""What an alert says of the application beside its own matter: the active release, the last deployment, the watch after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..base.clock import timestamp
from ..base.errors import Refusal
from ..host.history import History
from ..host.places import Host, Places
from ..host.store import Store
from .window import window_of


@dataclass(frozen=True)
class Facts:
    """As `Alert` has them; empty where nothing is known, which holds no alert up."""

    release: str = ""
    last_deploy: Mapping[str, str] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)


def facts_of(host: Host, application: str) -> Facts:
    """What is known now."""
    try:
        places = Places(host, application)
        release = Store(places).current() or ""
    except (Refusal, OSError):
        return Facts()
    try:
        records = History(places.history).records()
    except (Refusal, OSError):  # the check of integrity says so
        return Facts(release)
    if not records:
        return Facts(release)
    last = records[-1]
    deploy = {
        "release_id": str(last["release_id"]), "at": str(last["timestamp"]), "by": str(last["deployed_by"]),
        "outcome": f"{last['operation']} {last['status']}",
    }  # fmt: skip
    window, now = window_of(records), host.clock.now()
    is_open = window is not None and window.is_open(now)
    return Facts(
        release, deploy, {"open": True, "until": timestamp(window.end)} if window and is_open else {"open": False}
    )
