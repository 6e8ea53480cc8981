# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback authorization: one holder says, in one role, that named hosts may go back to one release, once, and soon.

It is for what the policy's `allowedRollback` does not cover. The envelope is that of an approval with another predicate;
`hosts` are host ids (/etc/slipway/host.json). It ends after a day at most, and a host that used one does not take it again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..base import canonical
from ..base.clock import seconds_of
from ..base.errors import Refusal
from ..base.fields import NAME, Fields
from . import dsse, statement

AUTHORIZATION_TYPE: Final = "https://slipway.dev/rollback-authorization/v1"
MAX_AUTHORIZATION_BYTES: Final = 256 * 1024
MAX_HOSTS: Final = 4096
MAX_SECONDS: Final = 86400
HOST_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

_WHAT: Final = "rollback authorization"
_REASON: Final = "authorization_malformed"
_REMEDY: Final = "Have it given again: make authorize-rollback."


@dataclass(frozen=True)
class Authorization:
    """A rollback authorization as parsed; it counts only where `verify.judge_authorizations` says so.

    `digest` is the sha256 of the payload: by it the history knows which ones were used; `envelope` is what it came in.
    """

    manifest_digest: str
    application: str
    environment: str
    hosts: tuple[str, ...]
    role: str
    holder: str
    created: str
    expires: str
    digest: str
    envelope: bytes = field(default=b"", compare=False, repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Authorization:
        """Read the canonical payload of an authorization's envelope, or raise Refusal."""
        fields = Fields(canonical.parse_canonical(payload, what=_WHAT), _WHAT, _REASON, _REMEDY)
        statement.require_type(fields, AUTHORIZATION_TYPE)
        manifest_digest = statement.subject(fields)
        predicate = fields.object("predicate")
        fields.end()
        created, expires = statement.lifetime(predicate)
        authorization = cls(
            manifest_digest=manifest_digest,
            application=predicate.text("application", NAME),
            environment=predicate.text("environment", NAME),
            hosts=_hosts(predicate),
            role=predicate.text("role", NAME),
            holder=predicate.text("holder", NAME),
            created=created,
            expires=expires,
            digest=hashlib.sha256(payload).hexdigest(),
        )
        predicate.end()
        _require_short(authorization)
        return authorization

    def as_record(self) -> dict[str, str]:
        """What a history record says of it: {role, holder, digest}."""
        return {"role": self.role, "holder": self.holder, "digest": self.digest}


def authorization_statement(
    *,
    manifest_digest: str,
    application: str,
    environment: str,
    hosts: Sequence[str],
    role: str,
    holder: str,
    created: str,
    expires: str,
) -> bytes:
    """Return the canonical payload of an authorization, read back as a host would; `hosts` may come in any order."""
    predicate = {
        "application": application,
        "created": created,
        "environment": environment,
        "expires": expires,
        "holder": holder,
        "hosts": sorted(hosts),
        "role": role,
    }
    payload = statement.encode(AUTHORIZATION_TYPE, manifest_digest, predicate)
    Authorization.parse(payload)
    return payload


def open_authorization(envelope: bytes) -> tuple[dsse.Envelope, Authorization]:
    """Return an authorization with its signatures, which nobody has verified yet."""
    limit = MAX_AUTHORIZATION_BYTES
    signed = dsse.Envelope.parse(envelope, payload_type=dsse.IN_TOTO_TYPE, what=_WHAT, limit=limit)
    return signed, replace(Authorization.parse(signed.payload), envelope=envelope)


def _hosts(fields: Fields) -> tuple[str, ...]:
    hosts = fields.array("hosts", maximum=MAX_HOSTS)
    for host in hosts:
        if not isinstance(host, str) or not HOST_ID.match(host):
            raise fields.refusal("hosts", "host ids like 7f3a1c52-6a0e-4a3e-9a64-2f3f5c1d9e10", host)
    if not hosts or hosts != sorted(set(hosts)):
        raise fields.refusal("hosts", "at least one host, sorted and each once", hosts)
    return tuple(hosts)


def _require_short(authorization: Authorization) -> None:
    seconds = seconds_of(authorization.expires) - seconds_of(authorization.created)
    if seconds > MAX_SECONDS:
        raise Refusal(
            "authorization_too_long",
            expected=f"a rollback authorization for {MAX_SECONDS} s at most",
            found=f"{seconds} s, from {authorization.created} to {authorization.expires}",
            remedy=_REMEDY,
        )
