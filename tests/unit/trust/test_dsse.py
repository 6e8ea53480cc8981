# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed envelopes, by the published vector, by openssl and by securesystemslib."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import dsse
from ansible.module_utils.slipway.trust.keys import PublicKey
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

KIND = dsse.IN_TOTO_TYPE
BUILDER = PublicKey.of(signed.BUILDER_KEY)
OTHER = PublicKey.of(signed.OTHER_KEY)


def members(signed_payload=b'{"a":1}', **changes):
    """The members of a sound envelope, for a test to bend."""
    envelope = json.loads(dsse.sign(KIND, signed_payload, signed.BUILDER_KEY).encode())
    return {**envelope, **changes}


def parse(value):
    return dsse.Envelope.parse(json.dumps(value).encode(), payload_type=KIND, what="a test")


def refused(value):
    with pytest.raises(Refusal) as refusal:
        parse(value)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("kind", "payload", "encoded"),
    [
        # The example of the DSSE specification, protocol.md, section "Pre-authentication encoding".
        ("http://example.com/HelloWorld", b"hello world", b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"),
        ("", b"", b"DSSEv1 0  0 "),
        ("ü", b"\x00\xff", b"DSSEv1 2 \xc3\xbc 2 \x00\xff"),
    ],
)
def test_the_preauthentication_encoding_is_the_published_one(kind, payload, encoded):
    assert dsse.pae(kind, payload) == encoded


def test_an_envelope_is_read_as_it_was_signed():
    envelope = dsse.sign(KIND, b"{}", signed.BUILDER_KEY, signed.OTHER_KEY)
    assert dsse.Envelope.parse(envelope.encode(), payload_type=KIND, what="a test") == envelope
    assert [signature.keyid for signature in envelope.signatures] == [BUILDER.keyid, OTHER.keyid]


def test_openssl_verifies_our_signature(tmp_path):
    payload = b'{"hello":"openssl"}'
    envelope = dsse.sign(KIND, payload, signed.BUILDER_KEY)
    files = {
        "message": dsse.pae(KIND, payload),
        "signature": envelope.signatures[0].value,
        "key.pem": signed.BUILDER_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    inputs = ["-pubin", "-inkey", "key.pem", "-in", "message", "-sigfile", "signature"]
    command = ["openssl", "pkeyutl", "-verify", "-rawin", *inputs]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "message").write_bytes(files["message"] + b" ")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_securesystemslib_verifies_our_envelope():
    theirs = TheirEnvelope.from_dict(members())
    key = SSlibKey(BUILDER.keyid, "ed25519", "ed25519", {"public": BUILDER.hex})
    assert set(theirs.verify([key], 1)) == {BUILDER.keyid}
    with pytest.raises(VerificationError):
        TheirEnvelope.from_dict(members(payload=base64.b64encode(b"{}").decode())).verify([key], 1)


@pytest.mark.parametrize(
    "kind",
    [None, "", "application/vnd.in-toto+JSON", "application/vnd.in-toto+json ", dsse.TRUST_POLICY_TYPE, 1, [KIND]],
)
def test_another_payload_type_is_refused(kind):
    assert refused(members(payloadType=kind)) == "envelope_payload_type"


def test_an_envelope_without_a_payload_type_is_refused():
    value = members()
    del value["payloadType"]
    assert refused(value) == "envelope_payload_type"


@pytest.mark.parametrize("value", [[], "text", 1, None, [members()]])
def test_what_is_no_object_is_no_envelope(value):
    assert refused(value) == "envelope_malformed"


BAD_BASE64 = {
    "nothing": "=",
    "white space": "eyJh IjoxfQ==",
    "a line break": "eyJhIjox\nfQ==",
    "no padding": "eyJhIjoxfQ",
    "too much padding": "eyJhIjoxfQ===",
    "stray bits": "eyJhIjoxfR==",
    "both alphabets": "-_+/",
    "another alphabet": "eyJhIjoxfQ!=",
    "not ASCII": "éyJhIjoxfQ==",
}
NO_TEXT = {"a number": 1, "null": None, "an array": ["eyJhIjoxfQ=="], "an object": {}}


@pytest.mark.parametrize("text", BAD_BASE64.values(), ids=BAD_BASE64.keys())
def test_base64_that_readers_differ_on_is_refused(text):
    assert refused(members(payload=text)) == "envelope_base64"
    assert refused(members(signatures=[{"keyid": "", "sig": text}])) == "envelope_base64"


@pytest.mark.parametrize("text", NO_TEXT.values(), ids=NO_TEXT.keys())
def test_what_is_no_text_is_no_base64(text):
    assert refused(members(payload=text)) == "envelope_malformed"
    assert refused(members(signatures=[{"keyid": "", "sig": text}])) == "envelope_malformed"


@pytest.mark.parametrize("signatures", [None, {}, "text", [None], ["text"], [[]], [{}], [{"keyid": "a"}]])
def test_signatures_of_another_shape_are_refused(signatures):
    assert refused(members(signatures=signatures)) == "envelope_malformed"


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(size):
    signature = {"keyid": BUILDER.keyid, "sig": base64.b64encode(bytes(size)).decode()}
    assert refused(members(signatures=[signature])) == "signature_length"


@pytest.mark.parametrize("keyid", [None, 1, []])
def test_a_key_id_that_is_no_string_is_refused(keyid):
    assert refused(members(signatures=[{**members()["signatures"][0], "keyid": keyid}])) == "envelope_malformed"


def test_an_envelope_without_signatures_is_refused():
    assert refused(members(signatures=[])) == "envelope_unsigned"


def test_only_a_draft_may_be_unsigned_and_one_that_is_signed_keeps_its_signatures():
    def draft(value):
        data = json.dumps(value).encode()
        return dsse.Envelope.parse(data, payload_type=KIND, what="a test", is_draft=True)

    assert draft(members(signatures=[])).signatures == ()
    assert len(draft(members()).signatures) == 1
    with pytest.raises(Refusal, match="envelope_malformed"):
        draft(members(signatures=None))


def test_sixteen_signatures_are_accepted_and_seventeen_refused():
    signature = members()["signatures"][0]
    assert len(parse(members(signatures=[signature] * 16)).signatures) == 16
    assert refused(members(signatures=[signature] * 17)) == "envelope_signatures_too_many"


def test_an_envelope_of_more_than_a_mebibyte_is_refused():
    with pytest.raises(Refusal, match="json_too_large"):
        dsse.Envelope.parse(b" " * (1 << 20) + b"{}", payload_type=KIND, what="a test")


def test_unknown_members_are_accepted():
    value = members(comment="built on a Monday")
    value["signatures"][0]["cert"] = "none"
    assert parse(value).payload == b'{"a":1}'


def test_url_safe_base64_is_accepted():
    payload = b'"\xc3\xbf\xc3\xbe?>"'
    value = members(payload)
    text = base64.urlsafe_b64encode(payload).decode()
    assert text != value["payload"]
    assert dsse.signers(parse({**value, "payload": text}), [BUILDER]) == {BUILDER}


def signers(value, *keys):
    return dsse.signers(parse(value), keys or (BUILDER, OTHER))


def test_the_key_that_signed_is_found():
    assert signers(members()) == {BUILDER}


@pytest.mark.parametrize("hint", [None, "", OTHER.keyid, "0" * 64, "no key id at all"])
def test_a_key_id_is_only_a_hint(hint):
    value = members()
    if hint is None:
        del value["signatures"][0]["keyid"]
    else:
        value["signatures"][0]["keyid"] = hint
    assert signers(value) == {BUILDER}


def test_an_unknown_key_counts_for_nothing():
    assert signers(members(), OTHER) == frozenset()


def test_an_extra_signature_by_an_unknown_key_disturbs_nothing():
    envelope = dsse.sign(KIND, b"{}", signed.OTHER_KEY, signed.BUILDER_KEY)
    assert dsse.signers(envelope, [BUILDER]) == {BUILDER}


def test_a_bad_signature_before_the_good_one_disturbs_nothing():
    value = members()
    bad = {"keyid": BUILDER.keyid, "sig": base64.b64encode(bytes(64)).decode()}
    assert signers({**value, "signatures": [bad, *value["signatures"]]}) == {BUILDER}


def test_the_same_key_under_two_ids_is_one_signer():
    value = members()
    twice = [value["signatures"][0], {**value["signatures"][0], "keyid": "f" * 64}]
    assert signers({**value, "signatures": twice}) == {BUILDER}


def test_a_signature_over_the_bare_payload_counts_for_nothing():
    raw = base64.b64encode(signed.BUILDER_KEY.sign(b'{"a":1}')).decode()
    assert signers(members(signatures=[{"keyid": BUILDER.keyid, "sig": raw}])) == frozenset()


def test_a_signature_for_another_payload_type_counts_for_nothing():
    other = dsse.sign(dsse.TRUST_POLICY_TYPE, b'{"a":1}', signed.BUILDER_KEY)
    replayed = dsse.Envelope(KIND, other.payload, other.signatures)
    assert dsse.signers(replayed, [BUILDER]) == frozenset()


def test_a_signature_of_another_algorithm_is_refused():
    der = ec.generate_private_key(ec.SECP256R1()).sign(dsse.pae(KIND, b'{"a":1}'), ec.ECDSA(SHA256()))
    signature = {"keyid": "", "sig": base64.b64encode(der).decode()}
    assert refused(members(signatures=[signature])) == "signature_length"


@given(st.integers(min_value=0), st.integers(0, 7))
def test_a_flipped_bit_anywhere_in_payload_or_signature_is_noticed(position, bit):
    envelope = dsse.sign(KIND, b'{"a":1}', signed.BUILDER_KEY)
    parts = bytearray(envelope.payload + envelope.signatures[0].value)
    parts[position % len(parts)] ^= 1 << bit
    size = len(envelope.payload)
    bent = dsse.Envelope(KIND, bytes(parts[:size]), (dsse.Signature(BUILDER.keyid, bytes(parts[size:])),))
    assert dsse.signers(bent, [BUILDER]) == frozenset()


class Faulty:
    """A key, or a device with one, that signs wrongly."""

    def __init__(self, answer):
        self.sign = answer
        self.public_key = signed.LEAD_KEY.public_key


@pytest.mark.parametrize(
    "answer",
    [lambda _: bytes(64), signed.RISK_KEY.sign, lambda data: signed.LEAD_KEY.sign(data) + b"0"],
)
def test_a_signature_that_does_not_hold_is_never_handed_out(answer):
    with pytest.raises(Refusal, match="signature_faulty"):
        dsse.sign(dsse.IN_TOTO_TYPE, b"{}", Faulty(answer))
