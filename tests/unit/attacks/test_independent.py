# SPDX-License-Identifier: GPL-3.0-or-later
"""Others' programs come to the same verdict: openssl with none of our code but a recipe, and securesystemslib.

The special cases of Ed25519 are computed here from the curve (RFC 8032, section 5.1), after Chalkias, Garillot and
Nikolaenko, "Taming the many EdDSAs" (2020): where implementations differ, ours must take the strict side.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust.keys import PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

DOCUMENTS = {
    "a manifest": (signed.sign(signed.manifest_payload()), signed.BUILDER_KEY),
    "an approval": (signed.approval_envelope(), signed.LEAD_KEY),
    "an authorization": (signed.authorization_envelope(), signed.LEAD_KEY),
    "a trust policy": (signed.policy_envelope(), signed.ROOT_KEY),
}


def openssl(place, message, signature, key):
    """Whether `openssl pkeyutl` finds that `key` signed `message`."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, data in (("message", message), ("signature", signature), ("key.pem", pem)):
        (place / name).write_bytes(data)
    inputs = ["-pubin", "-inkey", "key.pem", "-in", "message", "-sigfile", "signature"]
    command = ["openssl", "pkeyutl", "-verify", "-rawin", *inputs]
    return subprocess.run(command, cwd=place, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", DOCUMENTS)
def test_openssl_verifies_what_we_signed(name, tmp_path):
    data, key = DOCUMENTS[name]
    envelope = json.loads(data)
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    # DSSE's pre-authentication encoding, written here once more: nothing of ours takes part.
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    assert openssl(tmp_path, message, signature, key)
    assert not openssl(tmp_path, message + b" ", signature, key)
    assert not openssl(tmp_path, payload, signature, key)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_securesystemslib_verifies_what_we_signed(name):
    data, key = DOCUMENTS[name]
    public = PublicKey.of(key)
    theirs = SSlibKey(public.keyid, "ed25519", "ed25519", {"public": public.hex})
    assert set(TheirEnvelope.from_dict(json.loads(data)).verify([theirs], 1)) == {public.keyid}
    other = json.loads(data) | {"payload": base64.b64encode(b"{}").decode()}
    with pytest.raises(VerificationError):
        TheirEnvelope.from_dict(other).verify([theirs], 1)


# --- Ed25519, from its definition

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
NEUTRAL = (0, 1)


def root(y, sign):
    """The x of the point with this y and sign."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0
    return x if x % 2 == sign else P - x


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x3 = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    return x3, (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P


def times(scalar, point):
    result = NEUTRAL
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def encoded(point):
    return (point[1] | (point[0] % 2) << 255).to_bytes(32, "little")


BASE_Y = 4 * pow(5, -1, P) % P
BASE = (root(BASE_Y, 0), BASE_Y)
ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
TORSION = (root(ORDER_8_Y, 0), ORDER_8_Y)
SMALL = [times(number, TORSION) for number in range(8)]
MESSAGE = b"nothing was built"
SECRET = 0x1234567890ABCDEF % L


def challenge(nonce, key, message=MESSAGE):
    return int.from_bytes(hashlib.sha512(nonce + key + message).digest(), "little") % L


def signature(nonce_point, key, r, secret=SECRET, nonce=None):
    """R and S for a nonce r whose point may carry something of small order; `nonce` spells it otherwise."""
    nonce = nonce or encoded(nonce_point)
    return nonce + ((r + challenge(nonce, key) * secret) % L).to_bytes(32, "little")


KEY = encoded(times(SECRET, BASE))
RIGHT = signature(times(99, BASE), KEY, 99)


def test_the_curve_here_is_the_curve():
    assert encoded(BASE).hex() == "58" + "66" * 31
    assert times(8, TORSION) == NEUTRAL != times(4, TORSION)
    assert PublicKey(KEY).verifies(RIGHT, MESSAGE)
    assert not PublicKey(KEY).verifies(RIGHT, MESSAGE + b".")


@pytest.mark.parametrize("number", range(8))
def test_a_key_of_small_order_verifies_nothing_because_it_is_no_key(number):
    with pytest.raises(Refusal, match="key_weak"):
        PublicKey(encoded(SMALL[number]))


NOT_CANONICAL = [(y | sign << 255).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1)]
NOT_CANONICAL += [(1 | 1 << 255).to_bytes(32, "little"), (P - 1 | 1 << 255).to_bytes(32, "little")]


@pytest.mark.parametrize("raw", NOT_CANONICAL, ids=[raw.hex()[:4] + raw.hex()[-4:] for raw in NOT_CANONICAL])
def test_a_key_with_another_spelling_is_no_key(raw):
    with pytest.raises(Refusal, match="key_weak"):
        PublicKey(raw)


FORGERIES = {
    "S plus the order": RIGHT[:32] + (int.from_bytes(RIGHT[32:], "little") + L).to_bytes(32, "little"),
    "S plus twice the order": RIGHT[:32] + (int.from_bytes(RIGHT[32:], "little") + 2 * L).to_bytes(32, "little"),
    "S with its highest bit": RIGHT[:63] + bytes([RIGHT[63] | 0x80]),
    "S of nothing": RIGHT[:32] + bytes(32),
    "R of nothing": encoded(NEUTRAL) + RIGHT[32:],
    "R that is no point": (2).to_bytes(32, "little") + RIGHT[32:],
    "R with a part of small order": signature(add(times(99, BASE), SMALL[1]), KEY, 99),
    "R in another spelling": signature(NEUTRAL, KEY, 0, nonce=(P + 1).to_bytes(32, "little")),
    "R with the sign of zero": signature(NEUTRAL, KEY, 0, nonce=(1 | 1 << 255).to_bytes(32, "little")),
    "all zero": bytes(64),
    "all ones": b"\xff" * 64,
    "the other way round": RIGHT[32:] + RIGHT[:32],
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_signature_on_which_implementations_differ_is_none(name):
    assert not PublicKey(KEY).verifies(FORGERIES[name], MESSAGE)


def test_a_key_with_a_part_of_small_order_signs_one_message_and_no_other():
    """Such a key is a full-order one with something added; what it signs depends on the challenge, and only on it."""
    mixed = encoded(add(times(SECRET, BASE), SMALL[1]))
    verified = []
    for r in range(1, 40):
        forged = signature(times(r, BASE), mixed, r)
        if PublicKey(mixed).verifies(forged, MESSAGE):
            verified.append(challenge(encoded(times(r, BASE)), mixed) % 8)
            assert not PublicKey(mixed).verifies(forged, MESSAGE + b".")
    assert set(verified) == {0}  # without the cofactor, as RFC 8032 allows and openssl does
