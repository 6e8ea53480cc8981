# SPDX-License-Identifier: GPL-3.0-or-later
"""An approval: one holder says, in one role, that one release may run in one environment, until when.

A DSSE envelope (type `application/vnd.in-toto+json`) around a Statement v1 about the release's manifest, signed by one
key of the approver. The predicate has the members of `approval_statement` and no others; times are RFC 3339 in UTC.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final

from ..base import canonical
from ..base.fields import NAME, Fields
from . import dsse, statement

APPROVAL_TYPE: Final = "https://slipway.dev/approval/v1"
APPROVE: Final = "approve"
MAX_APPROVAL_BYTES: Final = 64 * 1024

_WHAT: Final = "approval"
_REASON: Final = "approval_malformed"
_REMEDY: Final = "Have it given again: make approve."


@dataclass(frozen=True)
class Approval:
    """An approval as parsed; it counts only where `verify.judge_approvals` says so.

    `digest` is the sha256 of the payload and names the approval everywhere; `envelope` is what it came in.
    """

    manifest_digest: str
    application: str
    environment: str
    role: str
    holder: str
    decision: str
    created: str
    expires: str
    digest: str
    envelope: bytes = field(default=b"", compare=False, repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Approval:
        """Read the canonical payload of an approval's envelope, or raise Refusal."""
        fields = Fields(canonical.parse_canonical(payload, what=_WHAT), _WHAT, _REASON, _REMEDY)
        statement.require_type(fields, APPROVAL_TYPE)
        manifest_digest = statement.subject(fields)
        predicate = fields.object("predicate")
        fields.end()
        created, expires = statement.lifetime(predicate)
        approval = cls(
            manifest_digest=manifest_digest,
            application=predicate.text("application", NAME),
            environment=predicate.text("environment", NAME),
            role=predicate.text("role", NAME),
            holder=predicate.text("holder", NAME),
            decision=predicate.text("decision", NAME),
            created=created,
            expires=expires,
            digest=hashlib.sha256(payload).hexdigest(),
        )
        predicate.end()
        return approval

    def as_record(self) -> dict[str, str]:
        """What a history record says of it: {role, holder, digest, created, expires}."""
        return {
            "role": self.role,
            "holder": self.holder,
            "digest": self.digest,
            "created": self.created,
            "expires": self.expires,
        }


def approval_statement(
    *,
    manifest_digest: str,
    application: str,
    environment: str,
    role: str,
    holder: str,
    created: str,
    expires: str,
    decision: str = APPROVE,
) -> bytes:
    """Return the canonical payload of an approval, read back as a host would."""
    predicate = {
        "application": application,
        "created": created,
        "decision": decision,
        "environment": environment,
        "expires": expires,
        "holder": holder,
        "role": role,
    }
    payload = statement.encode(APPROVAL_TYPE, manifest_digest, predicate)
    Approval.parse(payload)
    return payload


def open_approval(envelope: bytes) -> tuple[dsse.Envelope, Approval]:
    """Return an approval with its signatures, which nobody has verified yet."""
    signed = dsse.Envelope.parse(envelope, payload_type=dsse.IN_TOTO_TYPE, what=_WHAT, limit=MAX_APPROVAL_BYTES)
    return signed, replace(Approval.parse(signed.payload), envelope=envelope)
