# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed things for tests: keys, a trust policy, manifests and releases that are right until a test bends them."""

from __future__ import annotations

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.clock import timestamp
from ansible.module_utils.slipway.trust import (
    approval,
    authorization,
    dsse,
    lifecycle,
    manifest,
    policy,
    promotion,
    tree,
)
from ansible.module_utils.slipway.trust.keys import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOW = 1_795_000_000  # 2026-11-18T11:06:40Z
DAY = 86400
SINCE = "2026-01-01T00:00:00Z"
UNTIL = "2028-01-01T00:00:00Z"
HOST_ID = "7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10"


def private_key(number: int) -> Ed25519PrivateKey:
    """The same key for the same number, so that a failing test fails again."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


ROOT_KEY = private_key(1)
BUILDER_KEY = private_key(2)
OTHER_KEY = private_key(3)
LEAD_KEY = private_key(4)
RISK_KEY = private_key(5)


def keyid(key: Ed25519PrivateKey) -> str:
    return PublicKey.of(key).keyid


def key_entry(key: Ed25519PrivateKey, holder: str) -> dict[str, str]:
    return {"public": PublicKey.of(key).hex, "holder": holder, "notBefore": SINCE, "notAfter": UNTIL}


def environment(**changes: Any) -> dict[str, Any]:
    return {
        "require": [],
        "distinctHolders": True,
        "maxManifestAge": 90 * DAY,
        "maxApprovalAge": 7 * DAY,
        "allowedRollback": {"depth": 10},
        **changes,
    }


def policy_document(**changes: Any) -> dict[str, Any]:
    """A trust policy with two approving roles, which prod does not ask for yet."""
    holders = ((ROOT_KEY, "operator"), (BUILDER_KEY, "ci"), (LEAD_KEY, "lead"), (RISK_KEY, "risk"))
    return copy.deepcopy(
        {
            "format": 1,
            "version": 1,
            "expires": UNTIL,
            "keys": {keyid(key): key_entry(key, holder) for key, holder in holders},
            "roles": {
                "root": {"keyids": [keyid(ROOT_KEY)], "threshold": 1},
                "builder": {"keyids": [keyid(BUILDER_KEY)], "threshold": 1},
                "engineering_lead": {"keyids": [keyid(LEAD_KEY)], "threshold": 1},
                "risk_manager": {"keyids": [keyid(RISK_KEY)], "threshold": 1},
            },
            "environments": {"staging": environment(), "prod": environment()},
            "minSafeSequence": {},
            "revoked": {"keys": [], "payloads": []},
            **changes,
        }
    )


def policy_envelope(document: dict[str, Any] | None = None, *keys: Ed25519PrivateKey) -> bytes:
    payload = canonical.encode(document or policy_document())
    return dsse.sign(dsse.TRUST_POLICY_TYPE, payload, *(keys or (ROOT_KEY,))).encode()


def trust_policy(**changes: Any) -> policy.TrustPolicy:
    return policy.TrustPolicy.parse(policy_envelope(policy_document(**changes)))


def manifest_payload(**changes: Any) -> bytes:
    """A manifest of `hello` v1.2.3; keyword arguments are those of `manifest.statement`."""
    return manifest.statement(
        **{
            "application": "hello",
            "version": "1.2.3",
            "release_id": "v1.2.3",
            "sequence": NOW,
            "expires": "2027-11-18T11:06:40Z",
            "builder": "ci",
            "source": {"kind": "directory", "name": "hello"},
            "limits": manifest.Limits(files=1, bytes=5),
            "tree_digest": "a" * 64,
            "tree_size": 100,
            "bundle_digest": "b" * 64,
            **changes,
        }
    )


PROMOTION = promotion.Promotion(
    release_type="hotfix",
    audit=promotion.AuditReference("audit_20261118_110000", "c" * 64, "d" * 64, "passed"),
    artifacts=(
        promotion.Artifact("configs", "config.json", "e" * 64, "1.2.3"),
        promotion.Artifact("models", "policy.pt", "f" * 64),
    ),
    verification_steps=(promotion.Step(("bin/hello", "--check"), 30), promotion.Step(("true", ""))),
    monitoring=promotion.Monitoring(24, 1, {"hit_ratio_drop": "0.05"}, ("http://127.0.0.1:8080/health", "the logs")),
    metadata=promotion.Metadata("release/v1.2", "v1.2.3", "build_12345", ("SHOP-123", "SHOP-124")),
    database=promotion.SchemaRevisions("alembic", "b2", ("a1", "b2")),
)


HOOKS = lifecycle.Hooks(
    {
        "before_switch": (promotion.Step(("bin/hello", "--warm"), 30),),
        "before_rollback": (promotion.Step(("bin/hello", "--drain"), 60),),
    }
)
MIGRATIONS = (
    lifecycle.Migration("0001_add_users", ("bin/migrate", "up"), 600, ("bin/migrate", "down")),
    lifecycle.Migration("drop_names", ("bin/migrate", "drop"), 60),
)


def sign(payload: bytes, *keys: Ed25519PrivateKey) -> bytes:
    return dsse.sign(dsse.IN_TOTO_TYPE, payload, *(keys or (BUILDER_KEY,))).encode()


@dataclass(frozen=True)
class Release:
    """A directory, its file list and its signed manifest."""

    directory: Path
    file_list: tree.FileList
    envelope: bytes


def write_tree(directory: Path, files: dict[str, bytes]) -> None:
    """Write files below `directory`; a name that ends with a slash is an empty directory, x! is executable."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = directory / name.rstrip("/!")
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.endswith("!") else 0o644)
    for path, _, _ in os.walk(directory):
        Path(path).chmod(0o755)


def release(directory: Path, files: dict[str, bytes] | None = None, **changes: Any) -> Release:
    """Write `files` and make the signed manifest of what is then in `directory`."""
    write_tree(directory, files or {"bin/hello!": b"#!/bin/sh\n", "config.json": b"{}", "empty/": b"", "zero": b""})
    listed = tree.scan(directory)
    facts = {
        "limits": manifest.Limits(len(listed.files), listed.total_bytes),
        "tree_digest": listed.digest,
        "tree_size": len(listed.encode()),
    }
    return Release(directory, listed, sign(manifest_payload(**facts, **changes)))


def approval_payload(**changes: Any) -> bytes:
    """The lead's approval of the manifest above for prod; keyword arguments are those of `approval.approval_statement`."""
    return approval.approval_statement(
        **{
            "manifest_digest": hashlib.sha256(manifest_payload()).hexdigest(),
            "application": "hello",
            "environment": "prod",
            "role": "engineering_lead",
            "holder": "lead",
            "created": timestamp(NOW),
            "expires": timestamp(NOW + 7 * DAY),
            **changes,
        }
    )


def approval_envelope(*keys: Ed25519PrivateKey, **changes: Any) -> bytes:
    return sign(approval_payload(**changes), *(keys or (LEAD_KEY,)))


def authorization_payload(**changes: Any) -> bytes:
    """The lead's authorization for prod-1 to go back; keyword arguments are those of `authorization.authorization_statement`."""
    return authorization.authorization_statement(
        **{
            "manifest_digest": hashlib.sha256(manifest_payload()).hexdigest(),
            "application": "hello",
            "environment": "prod",
            "hosts": [HOST_ID],
            "role": "engineering_lead",
            "holder": "lead",
            "created": timestamp(NOW),
            "expires": timestamp(NOW + DAY),
            **changes,
        }
    )


def authorization_envelope(*keys: Ed25519PrivateKey, **changes: Any) -> bytes:
    return sign(authorization_payload(**changes), *(keys or (LEAD_KEY,)))
