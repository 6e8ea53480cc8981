# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a host to a newer version of its trust policy, step by step, judged by the host itself.

The versions that were in force stay in ``/etc/slipway/policies/<n>.dsse.json``. They are evidence; nothing is decided by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..base.files import fsync_directory, read_regular, remove_temporary, write_durable
from ..trust.policy import TrustPolicy
from ..trust.rotation import Version, differences, follow
from .lease import exclusive
from .places import POLICY_LIMIT, Host


def rotate_policy(request: Mapping[str, Any], host: Host, *, check: bool) -> dict[str, Any]:
    """Follow the chain in the request from the version in force to its newest one; all of it or nothing.

    request: policies (the envelopes' texts, oldest first; versions before the host's own are passed over).
    answer: changed, host {id, name, environment}, before {version, digest, expires}, after (the same of what is, or would
    be, in force), rotated (the versions that were gone through), differences (in words), diff.
    Refusals: those of `rotation.follow`, ``environment_unknown`` where the newest one leaves this host's environment out,
    ``busy`` while another rotation is under way.
    """
    envelopes = [text.encode() for text in request["policies"]]
    identity = host.identity()
    if check:
        before, taken = _judge(host, envelopes)
    else:
        with exclusive(host.configuration / "lock", host.clock):  # two runs with different chains: the newer one wins
            before, taken = _judge(host, envelopes)
            if taken:
                _install(host, taken)
    after = taken[-1].policy if taken else before
    changes = differences(before, after)
    return {
        "changed": bool(taken),
        "host": {"id": identity.id, "name": identity.name, "environment": identity.environment},
        "before": summary(before),
        "after": summary(after),
        "rotated": [version.policy.version for version in taken],
        "differences": changes,
        "diff": {"prepared": "".join(f"{line}\n" for line in changes)},
    }


def summary(policy: TrustPolicy) -> dict[str, Any]:
    """What a status says of a trust policy."""
    return {"version": policy.version, "digest": policy.digest, "expires": policy.expires}


def _judge(host: Host, envelopes: list[bytes]) -> tuple[TrustPolicy, tuple[Version, ...]]:
    before = host.policy()
    taken = follow(before, envelopes, host.clock.now())
    if taken:
        taken[-1].policy.environment(host.identity().environment)
    return before, taken


def _install(host: Host, taken: tuple[Version, ...]) -> None:
    """Keep every version first, then let the newest one take the place of the one in force: one rename decides."""
    directory, current = host.configuration / "policies", host.configuration / "trust-policy.dsse.json"
    directory.mkdir(mode=0o755, exist_ok=True)
    fsync_directory(host.configuration)
    remove_temporary(directory)
    remove_temporary(host.configuration, current.name)
    kept = read_regular(current, limit=POLICY_LIMIT, what="trust policy")
    write_durable(directory / f"{TrustPolicy.parse(kept).version}.dsse.json", kept, mode=0o644)
    for version in taken:
        write_durable(directory / f"{version.policy.version}.dsse.json", version.envelope, mode=0o644)
    write_durable(current, taken[-1].envelope, mode=0o644)
