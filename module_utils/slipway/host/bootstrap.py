# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a machine a host of Slipway: identity, trust policy, resident package, its units, and the key that signs its histories.

A second time changes nothing but an outdated resident package or unit. An identity, a trust policy or a history key is never
replaced here: the first would move the host to another environment, the second is rotated by its own rules, and with
another key the host would contradict what it signed.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import fsync_directory, point_link, read_link, read_regular, write_durable
from ..trust.keys import PublicKey
from ..trust.policy import TrustPolicy
from ..trust.rotation import version_older
from .log import ensure_history_key, load_history_key
from .pack import RESIDENT_LIMIT
from .package import install, is_installed
from .places import FORMAT, POLICY_LIMIT, Host
from .recovery import install_units, lacking_units

COMMAND = "usr/local/sbin/slipway"


def bootstrap(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Install what is missing.

    request: name, environment, trust_policy (the envelope's text), resident (path of the package on this host).
    answer: changed, installed (what was, or would be, written), host {id, name, environment}, history_key (the public key
    in hex that a controller pins; null in check mode where none is made yet).
    Refusals: ``host_is_another``, those of a trust policy that does not hold, of a key that is damaged, and of a policy that is
    not the host's own: ``trust_policy_differs``, ``trust_policy_outdated``, ``policy_version_older``.
    """
    policy = request["trust_policy"].encode()
    offered = TrustPolicy.parse(policy)
    offered.environment(request["environment"])
    installed = []
    identity_path, policy_path = host.configuration / "host.json", host.configuration / "trust-policy.dsse.json"
    identity = _identity(request, host) if identity_path.exists() else None
    if policy_path.exists():
        _require_same_policy(policy_path, offered)
    history_key = load_history_key(host)
    package = read_regular(Path(request["resident"]), limit=RESIDENT_LIMIT, what="resident package")
    if identity is None:
        installed.append("identity")
        identity = {"id": str(uuid.uuid4()), "name": request["name"], "environment": request["environment"]}
    if not policy_path.exists():
        installed.append("trust policy")
    if not is_installed(host, package):
        installed.append("resident package")
    if history_key is None:
        installed.append("history key")
    command = host.root / COMMAND
    if read_link(command) != "/usr/lib/slipway/slipway.pyz":
        installed.append("command")
    if lacking_units(host):
        installed.append("units")
    if not check:
        _install(host, installed, identity, policy, package)
        history_key = load_history_key(host)
    return {
        "changed": bool(installed), "installed": installed, "host": identity,
        "history_key": PublicKey.of(history_key).hex if history_key else None,
    }  # fmt: skip


def _install(host: Host, installed: list[str], identity: Mapping[str, str], policy: bytes, package: bytes) -> None:
    for directory in (host.configuration, host.resident.parent, host.states, (host.root / COMMAND).parent):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        fsync_directory(directory.parent)
    os.chmod(host.configuration, 0o755)  # noqa: S103 - whoever runs an application may read who the host is
    if "resident package" in installed:
        install(host, package)
    if "command" in installed:
        point_link(host.root / COMMAND, "/usr/lib/slipway/slipway.pyz")
    if "trust policy" in installed:
        write_durable(host.configuration / "trust-policy.dsse.json", policy, mode=0o644)
    if "units" in installed:
        install_units(host)
    ensure_history_key(host)
    if "identity" in installed:
        data = canonical.encode({"format": FORMAT, **identity}) + b"\n"
        write_durable(host.configuration / "host.json", data, mode=0o644)


def _identity(request: Mapping[str, Any], host: Host) -> dict[str, str]:
    found = host.identity()
    if (found.name, found.environment) != (request["name"], request["environment"]):
        raise Refusal(
            "host_is_another",
            expected=f"{request['name']} of {request['environment']}",
            found=f"{found.name} of {found.environment}: this machine was bootstrapped before",
            remedy="Correct the inventory. To give the machine a new identity on purpose, remove /etc/slipway/host.json there.",
        )
    return {"id": found.id, "name": found.name, "environment": found.environment}


def _require_same_policy(path: Path, offered: TrustPolicy) -> None:
    found = TrustPolicy.parse(read_regular(path, limit=POLICY_LIMIT, what="trust policy"))
    if found.digest == offered.digest:
        return
    if found.version < offered.version:
        raise Refusal(
            "trust_policy_outdated",
            expected=f"version {offered.version} of the trust policy in {path}, which this controller has",
            found=f"version {found.version}",
            remedy="Run playbooks/trust.yml for this host, then the same command again.",
        )
    if found.version > offered.version:
        raise version_older(found, offered)
    raise Refusal(
        "trust_policy_differs",
        expected=f"this controller's trust policy in {path}",
        found=f"version {found.version} with other content",
        remedy="A policy is rotated, not replaced. If the controller's keys were made anew, bootstrap a fresh machine.",
    )
