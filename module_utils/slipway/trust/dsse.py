# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed envelopes: DSSE 1.0.2 (github.com/secure-systems-lab/dsse) with pure Ed25519.

A signature covers the payload's type and bytes through the pre-authentication encoding, so a signature for one type is
none for another. Key ids are hints. Who signed is counted by raw public keys, here, and by nobody's library.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..base import canonical
from ..base.errors import Refusal, shown
from .keys import SIGNATURE_BYTES, PublicKey, SigningKey

IN_TOTO_TYPE: Final = "application/vnd.in-toto+json"
TRUST_POLICY_TYPE: Final = "application/vnd.slipway.trust-policy+json"
MAX_ENVELOPE_BYTES: Final = 1 << 20
MAX_SIGNATURES: Final = 16


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding of type and payload."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope: 64 bytes, and a key id that is only a hint (empty when not given)."""

    keyid: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """A payload, its type, and one to sixteen signatures; nothing in it is verified yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(
        cls, data: bytes, *, payload_type: str, what: str, limit: int = MAX_ENVELOPE_BYTES, is_draft: bool = False
    ) -> Envelope:
        """Read an envelope of at most `limit` bytes that carries exactly `payload_type`, or raise Refusal.

        Members that DSSE does not know are accepted, as the specification asks; base64 is standard or URL-safe and
        always canonical. `what` names the document in the refusal. Only a draft, which is still to be signed, may have no
        signature.
        """
        members = canonical.parse(data, what=what, limit=limit)
        if not isinstance(members, dict):
            raise _malformed(what, "a JSON object", type(members).__name__)
        if members.get("payloadType") != payload_type:
            raise Refusal(
                "envelope_payload_type",
                expected=f"{what}: payloadType {payload_type}",
                found=shown(members.get("payloadType")),
                remedy="This is a document of another kind; give the right file.",
            )
        payload = _base64(members.get("payload"), what, "payload")
        if is_draft and members.get("signatures") == []:
            return cls(payload_type, payload, ())
        return cls(payload_type, payload, _signatures(members.get("signatures"), what))

    def encode(self) -> bytes:
        """Return the envelope as canonical JSON."""
        signatures = [{"keyid": s.keyid, "sig": base64.b64encode(s.value).decode()} for s in self.signatures]
        payload = base64.b64encode(self.payload).decode()
        return canonical.encode({"payload": payload, "payloadType": self.payload_type, "signatures": signatures})


def sign(payload_type: str, payload: bytes, *private_keys: SigningKey) -> Envelope:
    """Return an envelope with one signature of each key, in the order given, each verified before it is handed out."""
    message = pae(payload_type, payload)
    return Envelope(payload_type, payload, tuple(_signed(key, message) for key in private_keys))


def _signed(key: SigningKey, message: bytes) -> Signature:
    public, value = PublicKey.of(key), key.sign(message)
    if len(value) != SIGNATURE_BYTES or not public.verifies(value, message):
        raise Refusal(
            "signature_faulty",
            expected=f"a signature that the key {public.keyid} verifies",
            found="one that it does not",
            remedy="Do not use this key or device any more before you know why: it signs wrongly.",
        )
    return Signature(public.keyid, value)


def signers(envelope: Envelope, keys: Iterable[PublicKey]) -> frozenset[PublicKey]:
    """Return those of `keys` that signed; bad signatures and unknown keys count for nothing and disturb nothing."""
    message = pae(envelope.payload_type, envelope.payload)
    candidates = set(keys)
    found: set[PublicKey] = set()
    for signature in envelope.signatures:
        likely_first = sorted(candidates - found, key=lambda key: (key.keyid != signature.keyid, key.raw))
        signer = next((key for key in likely_first if key.verifies(signature.value, message)), None)
        if signer:
            found.add(signer)
    return frozenset(found)


def _malformed(what: str, expected: str, found: str, reason: str = "envelope_malformed") -> Refusal:
    return Refusal(
        reason,
        expected=f"{what}: {expected}",
        found=found,
        remedy="Get the envelope again from where it was signed.",
    )


def _base64(text: Any, what: str, member: str) -> bytes:
    if not isinstance(text, str):
        raise _malformed(what, f"{member} as base64", type(text).__name__)
    try:
        encoded = text.encode("ascii")
        value = base64.b64decode(encoded, altchars=b"-_" if set(encoded) & set(b"-_") else None, validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise _malformed(what, f"{member} as base64", shown(text), "envelope_base64") from None
    if encoded not in (base64.b64encode(value), base64.urlsafe_b64encode(value)):
        raise _malformed(what, f"{member} as canonical base64", shown(text), "envelope_base64")
    return value


def _signatures(items: Any, what: str) -> tuple[Signature, ...]:
    if not isinstance(items, list):
        raise _malformed(what, "signatures as an array", type(items).__name__)
    if not items:
        raise Refusal(
            "envelope_unsigned",
            expected=f"{what}: at least one signature",
            found="none",
            remedy="Have it signed by who must sign it.",
        )
    if len(items) > MAX_SIGNATURES:
        raise _malformed(what, f"at most {MAX_SIGNATURES} signatures", str(len(items)), "envelope_signatures_too_many")
    return tuple(_signature(item, what) for item in items)


def _signature(item: Any, what: str) -> Signature:
    if not isinstance(item, dict):
        raise _malformed(what, "each signature as an object", type(item).__name__)
    keyid = item.get("keyid", "")
    if not isinstance(keyid, str):
        raise _malformed(what, "keyid as a string", type(keyid).__name__)
    value = _base64(item.get("sig"), what, "sig")
    if len(value) != SIGNATURE_BYTES:
        raise _malformed(what, f"signatures of {SIGNATURE_BYTES} bytes", f"{len(value)} bytes", "signature_length")
    return Signature(keyid, value)
