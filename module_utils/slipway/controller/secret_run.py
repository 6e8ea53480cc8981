# SPDX-License-Identifier: GPL-3.0-or-later
"""Which deployment a rotation of secrets is: of the release that every host serves, on all hosts that have the application."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..application.description import Application
from ..base.errors import Refusal


def require_restarted(application: Application) -> None:
    """Refuse an application that no deployment restarts: its service would go on with the value that is retired, until somebody restarts it."""
    if application.strategy == "none":
        raise Refusal(
            "rotation_service_not_restarted",
            expected=f"a strategy of {application.name} that gives its service the new version: restart, reload or blue_green",
            found="strategy: none",
            remedy="Declare another strategy. Else: make secrets-set, deploy, restart the service yourself, and only then retire the old value.",
        )


def require_one_release(answers: Mapping[str, Mapping[str, Any]], release_id: str) -> str:
    """The release that every host serves, by the answers of `status.inspect`; where ``release_id`` is not empty, it is that one."""
    silent = sorted(host for host, answer in answers.items() if "active" not in answer)
    if silent:
        raise Refusal(
            "rotation_hosts_silent",
            expected="an answer from every host: a secret is rotated on all of them or on none",
            found=f"none from {', '.join(silent)}",
            remedy="Bring them back, or take them out of the inventory; then run the same command again. Nothing was made.",
        )
    serves: dict[str, list[str]] = {}
    for host, answer in sorted(answers.items()):
        serves.setdefault(str(answer["active"] or "nothing"), []).append(host)
    if len(serves) != 1 or "nothing" in serves or release_id not in ("", *serves):
        raise Refusal(
            "rotation_releases_differ",
            expected=f"every host to serve {release_id or 'the same release'}",
            found="; ".join(f"{release} on {', '.join(hosts)}" for release, hosts in sorted(serves.items())),
            remedy="Deploy one release everywhere first, and leave release_id out: a rotation changes secrets and nothing else.",
        )
    return next(iter(serves))


def require_all_hosts(known: Collection[str], inventory: Collection[str], hosts: Collection[str]) -> None:
    """Refuse to leave out hosts of the inventory that are ``known`` to have the application: they would keep what is retired."""
    left_out = sorted(set(known) & set(inventory) - set(hosts))
    if left_out:
        raise Refusal(
            "rotation_hosts_left_out",
            expected="all hosts that have the application: when they have the new version, the old one is retired",
            found=f"a run without {', '.join(left_out)}",
            remedy="Leave out -l, or name them too.",
        )
