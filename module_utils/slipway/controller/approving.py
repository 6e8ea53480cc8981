# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving an approval or a rollback authorization: what is judged and shown before somebody signs. Controller only.

It needs the release's manifest, a copy of the trust policy and the signer's key, and no host: it runs on the signer's own machine.
What a host would not count is not signed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal, shown
from ..base.files import read_regular, write_durable
from ..trust import dsse, verify
from ..trust.approval import approval_statement
from ..trust.authorization import HOST_ID, MAX_SECONDS, authorization_statement
from ..trust.keys import PublicKey, SigningKey
from ..trust.manifest import ReleaseManifest
from ..trust.policy import Key, TrustPolicy
from .audit import read_audit
from .catalogue import Catalogue
from .holders import Holders
from .story import of_release

MAX_STATUS_BYTES: Final = 64 << 20
APPROVAL: Final = "approval"
AUTHORIZATION: Final = "rollback authorization"


@dataclass(frozen=True)
class Request:
    """What is to be signed: for the release whose manifest is in `envelope`, in this environment and role.

    With `hosts` ({host id: the name it is shown by}) it is a rollback authorization for these, else an approval. `valid_seconds` is
    how long it holds, None for as long as it may. `seen` is the digest of the manifest that the signer was shown, None before.
    """

    envelope: bytes
    policy: TrustPolicy
    environment: str
    role: str
    now: int
    hosts: Mapping[str, str]
    valid_seconds: int | None = None
    seen: str | None = None

    @property
    def what(self) -> str:
        return AUTHORIZATION if self.hosts else APPROVAL


@dataclass(frozen=True)
class Consent:
    """What will be signed and by whom; `payload` is the statement."""

    request: Request
    manifest: ReleaseManifest
    holder: str
    created: str
    expires: str
    payload: bytes


def prepare(request: Request, public: PublicKey) -> Consent:
    """Return what the holder of `public` would sign, or refuse what no host would count.

    1. The manifest is the one that the signer has seen, and one that hosts of this environment trust.
    2. The environment asks for the role, and the key is one of it, valid now, of somebody else than the builder.
    """
    manifest = _manifest(request)
    _require_asked(request)
    key = _key_of(request, public)
    if key.holder == manifest.builder:
        raise Refusal(
            "approval_by_builder",
            expected=f"somebody else than the builder of {manifest.release_id} to sign for it",
            found=f"a key of {key.holder}, who built it",
            remedy="Have another holder of the role sign.",
        )
    created, expires = timestamp(request.now), timestamp(request.now + _valid_seconds(request))
    facts = {
        "manifest_digest": manifest.digest,
        "application": manifest.application,
        "environment": request.environment,
        "role": request.role,
        "holder": key.holder,
        "created": created,
        "expires": expires,
    }
    if request.hosts:
        payload = authorization_statement(hosts=sorted(request.hosts), **facts)
    else:
        payload = approval_statement(**facts)
    return Consent(request, manifest, key.holder, created, expires, payload)


def sign(consent: Consent, key: SigningKey) -> bytes:
    """Return the signed envelope."""
    return dsse.sign(dsse.IN_TOTO_TYPE, consent.payload, key).encode()


def manifest_in(path: Path, release_id: str | None) -> bytes:
    """The envelope of the manifest in a file of its own, which is that of `release_id`, if one is given."""
    envelope = read_regular(path, limit=dsse.MAX_ENVELOPE_BYTES, what="release manifest")
    found = verify.parse_manifest(envelope).release_id
    if release_id and found != release_id:
        raise Refusal(
            "release_not_meant",
            expected=f"the manifest of {release_id} in {path}",
            found=f"the manifest of {found}",
            remedy="Give the manifest of the release that is to be approved.",
        )
    return envelope


def require_free(output: Path | None) -> None:
    """Refuse a file for the result where something is already."""
    if output is not None and os.path.lexists(output):
        raise Refusal(
            "output_exists",
            expected=f"nothing at {output}",
            found="a file",
            remedy="Give another OUTPUT=, or move that file away.",
        )


def keep(envelope: bytes, request: Request, place: Path | Catalogue) -> Path:
    """Keep what was signed, durably: in a file, or with the release in the catalogue; returns its path."""
    if isinstance(place, Path):
        write_durable(place, envelope, mode=0o644)
        return place
    return (
        place.add_authorization(envelope, check=False) if request.hosts else place.add_approval(envelope, check=False)
    )


def role_keys(policy: TrustPolicy, role: str) -> list[PublicKey]:
    """The public keys that the policy has for the role, none for a role that it does not know."""
    return [key.public for key in policy.roles[role].keys] if role in policy.roles else []


def resolve_hosts(wanted: Sequence[str], status: Path | None, environment: str) -> dict[str, str]:
    """Return {host id: name} of hosts that are given as ids, or by the names that they have in `status`.

    `status` is what `make release-status FORMAT=json` printed where the hosts can be asked.
    """
    known = _hosts_of(status, environment) if status else {}
    found: dict[str, str] = {}
    for name in wanted:
        if name in known:
            found[known[name]] = name
        elif HOST_ID.match(name):
            found[name] = next((other for other, host in known.items() if host == name), name)
        else:
            raise Refusal(
                "authorization_host_unknown",
                expected="host ids, or names of hosts that are in the status: " + (", ".join(sorted(known)) or "none"),
                found=shown(name),
                remedy=f"Give STATUS=, a file with what `make release-status FORMAT=json` says of the hosts of {environment}.",
            )
    return found


def words(consent: Consent, holders: Holders, audit: Path | None) -> str:
    """Say what is to be signed: all that the manifest says of the release, then what the signature is for.

    `audit` is the release's audit bundle, for the counts of its tests; it must be the one that the manifest names.
    """
    request, manifest = consent.request, consent.manifest
    lines = [
        ("application", manifest.application),
        ("release id", manifest.release_id),
        *of_release(manifest.predicate, holders),
        ("tests", _tests(manifest, audit)),
        ("files", f"{manifest.limits.files}, {manifest.limits.bytes} bytes"),
        (
            "way back",
            "; ".join(" ".join(step.argv) for step in manifest.promotion.verification_steps) or "no steps declared",
        ),
        ("manifest", f"sha256 {manifest.digest}"),
        ("", ""),
        ("you sign", f"{'a' if request.hosts else 'an'} {request.what} for {request.environment}"),
        ("as", holders.acting(consent.holder, request.role)),
        ("valid until", consent.expires),
    ]
    if request.hosts:
        lines.append(("hosts", ", ".join(f"{name} ({host})" for host, name in sorted(request.hosts.items()))))
    return "\n".join(f"{name:<12} {text}".rstrip() for name, text in lines)


def _manifest(request: Request) -> ReleaseManifest:
    """The manifest as hosts of the environment trust it; for a deployment it must not have expired, for a way back it may."""
    application = verify.parse_manifest(request.envelope).application
    manifest = verify.verify_manifest(
        request.policy, request.envelope, application=application, environment=request.environment, now=request.now
    )
    if request.seen is not None and request.seen != manifest.digest:
        raise Refusal(
            "manifest_not_seen",
            expected=f"the manifest {request.seen}, which was shown",
            found=f"the manifest {manifest.digest}",
            remedy="Somebody changed it meanwhile. Look at it again before you sign.",
        )
    if not request.hosts:
        verify.require_current(manifest, request.policy, request.environment, request.now)
    return manifest


def _require_asked(request: Request) -> None:
    rules = request.policy.environment(request.environment)
    asked = [each.role for each in (rules.rollback_require if request.hosts else rules.require)]
    if request.role not in asked:
        raise Refusal(
            "approval_not_asked",
            expected=f"a role that the trust policy asks for in {request.environment}: {', '.join(asked) or 'none'}",
            found=shown(request.role),
            remedy=f"Correct the role or the environment; another {request.what} would count for nothing.",
        )


def _key_of(request: Request, public: PublicKey) -> Key:
    """The key as the policy knows it in the role: whose it is, not revoked and valid now."""
    holder = request.policy.holder(request.role, public)
    key = next(key for key in request.policy.roles[request.role].keys if key.public == public)
    if not key.is_valid_at(request.now):
        raise Refusal(
            "key_outside_validity",
            expected=f"a key of {holder} that is valid at {timestamp(request.now)}",
            found=f"one from {timestamp(key.not_before)} to {timestamp(key.not_after)}",
            remedy="Use the current key, or rotate the trust policy.",
        )
    return key


def _valid_seconds(request: Request) -> int:
    longest = MAX_SECONDS if request.hosts else request.policy.environment(request.environment).max_approval_age
    seconds = longest if request.valid_seconds is None else request.valid_seconds
    if not 0 < seconds <= longest:
        raise Refusal(
            "approval_validity",
            expected=f"1 to {longest // 3600} hours for this {request.what}",
            found=f"{seconds // 3600}",
            remedy="Give fewer hours, or none for the longest time.",
        )
    return seconds


def _tests(manifest: ReleaseManifest, audit: Path | None) -> str:
    reference = manifest.promotion.audit
    if reference is None:
        return "none: the release carries no evidence"
    if audit is None:
        return "see the audit bundle (AUDIT= shows the counts here)"
    there = read_audit(audit)
    if there.digest != reference.sha256:
        raise Refusal(
            "audit_of_another_release",
            expected=f"the audit bundle with the sha256 {reference.sha256}, which the manifest names",
            found=f"{there.name} with the sha256 {there.digest}",
            remedy="Give the right bundle; if this is the one that you were given for the release, do not sign.",
        )
    return "; ".join(map(_counted, there.document["tests"])) or "none declared"


def _counted(test: Mapping[str, Any]) -> str:
    counts = test["counts"]
    return f"{test['name']}: " + (
        ", ".join(f"{counts[what]} {what}" for what in ("passed", "failed", "skipped")) if counts else test["result"]
    )


def _hosts_of(status: Path, environment: str) -> dict[str, str]:
    """{name: host id} of the environment's hosts that had answered."""
    data = read_regular(status, limit=MAX_STATUS_BYTES, what="status of hosts")
    try:
        hosts = [(name, answer["host"]) for name, answer in json.loads(data).items() if "host" in answer]
        return {
            name: str(host["id"])
            for name, host in hosts
            if host["environment"] == environment and HOST_ID.match(host["id"])
        }
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        raise Refusal(
            "status_unreadable",
            expected=f"what `make release-status FORMAT=json` printed, in {status}",
            found="something else",
            remedy="Write it again: make release-status FORMAT=json > status.json.",
        ) from None
