# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys are keys, and how private ones are kept."""

from __future__ import annotations

import base64
import os
import stat
import subprocess

import pytest
import signed
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import keys
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from securesystemslib.signer import CryptoSigner

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def encode(y, sign=0):
    return (y | sign << 255).to_bytes(32, "little")


def multiply_by_eight(y):
    """Double the point with this y three times; return its y (twisted Edwards curve, RFC 8032, section 5.1.4)."""
    for _ in range(3):
        x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        product = D * x_squared * y * y % P
        # y of the doubled point: (y^2 + x^2) / (1 - d x^2 y^2)
        y = (y * y + x_squared) * pow(1 - product, -1, P) % P
    return y


def refused(raw):
    with pytest.raises(Refusal) as refusal:
        keys.PublicKey(raw)
    assert refusal.value.reason == "key_weak"
    return refusal.value.found


@pytest.mark.parametrize("y", sorted(keys._SMALL_ORDER_Y))
def test_the_points_called_small_are_the_ones_whose_eightfold_is_nothing(y):
    assert multiply_by_eight(y) == 1


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("y", sorted(keys._SMALL_ORDER_Y))
def test_a_key_of_small_order_is_refused(y, sign):
    assert refused(encode(y, sign)) == "a point of small order"


def test_a_forgery_under_a_small_key_would_pass_the_library():
    # Why we refuse them: with the identity as key, R = identity and S = 0 is a signature of every message.
    Ed25519PublicKey.from_public_bytes(encode(1)).verify(encode(1) + bytes(32), b"anything at all")


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1])
def test_a_key_with_two_spellings_is_refused(y):
    assert refused(encode(y)) == "a non-canonical encoding"


def test_bytes_that_are_no_point_are_refused():
    assert refused(encode(2)) == "no point of the curve"


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size):
    assert refused(bytes(size)) == f"{size} bytes"


@pytest.mark.parametrize("text", ["", "ab", "A" * 64, "g" * 64, " " + "a" * 63, "٣" * 64, None, 1, ["a"] * 64])
def test_a_public_key_is_64_lower_case_hex_digits(text):
    with pytest.raises(Refusal, match="key_invalid"):
        keys.PublicKey.from_hex(text)


def test_a_public_key_is_read_from_a_line_of_openssh():
    public = keys.PublicKey.of(signed.LEAD_KEY)
    line = signed.LEAD_KEY.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for text in (public.hex, line, f"{line} lead@laptop\n"):
        assert keys.PublicKey.from_text(text) == public


@pytest.mark.parametrize("text", ["ssh-ed25519 ", "ssh-ed25519 AAAA", "ssh-ed25519 é", "ssh-rsa AAAA", "", "ab"])
def test_a_line_that_is_no_key_of_openssh_is_refused(text):
    with pytest.raises(Refusal, match="key_invalid"):
        keys.PublicKey.from_text(text)


def test_a_line_of_openssh_with_a_weak_key_is_refused():
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + encode(1)
    with pytest.raises(Refusal, match="key_weak"):
        keys.PublicKey.from_text(f"ssh-ed25519 {base64.b64encode(blob).decode()}")


def test_an_encrypted_key_is_told_from_a_plain_one(tmp_path):
    keys.generate_private_key(tmp_path / "plain.pem")
    keys.generate_private_key(tmp_path / "secret.pem", b"open sesame")
    assert not keys.is_encrypted(tmp_path / "plain.pem")
    assert keys.is_encrypted(tmp_path / "secret.pem")


def test_a_public_key_is_read_from_its_hex_digits():
    public = keys.PublicKey.of(signed.BUILDER_KEY)
    assert keys.PublicKey.from_hex(public.hex) == public


def test_the_key_id_is_the_one_of_securesystemslib():
    assert keys.PublicKey.of(signed.BUILDER_KEY).keyid == CryptoSigner(signed.BUILDER_KEY).public_key.keyid


def test_a_key_verifies_its_own_signature_only():
    public = keys.PublicKey.of(signed.BUILDER_KEY)
    assert public.verifies(signed.BUILDER_KEY.sign(b"m"), b"m")
    assert not public.verifies(signed.BUILDER_KEY.sign(b"m"), b"n")
    assert not public.verifies(signed.OTHER_KEY.sign(b"m"), b"m")


def test_a_signature_with_s_beyond_the_order_is_no_signature():
    order = 2**252 + 27742317777372353535851937790883648493
    signature = signed.BUILDER_KEY.sign(b"m")
    s = int.from_bytes(signature[32:], "little") + order
    assert not keys.PublicKey.of(signed.BUILDER_KEY).verifies(signature[:32] + s.to_bytes(32, "little"), b"m")


def test_a_new_key_is_kept_for_its_owner_alone(tmp_path):
    path = tmp_path / "keys" / "builder.pem"
    made = keys.generate_private_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys.PublicKey.of(keys.load_private_key(path)) == keys.PublicKey.of(made)
    assert os.listdir(path.parent) == ["builder.pem"]


def test_openssl_reads_a_new_key(tmp_path):
    public = keys.PublicKey.of(keys.generate_private_key(tmp_path / "key.pem"))
    command = ["openssl", "pkey", "-in", str(tmp_path / "key.pem"), "-pubout", "-outform", "DER"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.endswith(public.raw)


def test_a_key_is_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    keys.generate_private_key(path)
    before = path.read_bytes()
    with pytest.raises(Refusal, match="key_exists"):
        keys.generate_private_key(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["key.pem"]


def test_an_encrypted_key_opens_with_its_passphrase_only(tmp_path):
    path = tmp_path / "key.pem"
    made = keys.generate_private_key(path, b"correct horse")
    assert b"ENCRYPTED" in path.read_bytes()
    assert keys.PublicKey.of(keys.load_private_key(path, b"correct horse")) == keys.PublicKey.of(made)
    for passphrase, found in ((None, "no passphrase"), (b"battery staple", "wrong passphrase")):
        with pytest.raises(Refusal, match="key_invalid") as refusal:
            keys.load_private_key(path, passphrase)
        assert found in refusal.value.found


def test_a_passphrase_for_a_key_without_one_is_refused(tmp_path):
    keys.generate_private_key(tmp_path / "key.pem")
    with pytest.raises(Refusal, match="a passphrase for a key without one"):
        keys.load_private_key(tmp_path / "key.pem", b"secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "key.pem"
    keys.generate_private_key(path)
    path.chmod(mode)
    with pytest.raises(Refusal, match="key_exposed"):
        keys.load_private_key(path)


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), ed448.Ed448PrivateKey.generate()], ids=["ecdsa", "ed448"]
)
def test_a_key_of_another_algorithm_is_refused(tmp_path, key):
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(Refusal, match="another algorithm"):
        keys.load_private_key(path)


def test_a_file_that_is_no_key_is_refused(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("not a key")
    path.chmod(0o600)
    with pytest.raises(Refusal, match="no private key"):
        keys.load_private_key(path)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(Refusal, match=r"absent\.pem; found No such file"):
        keys.load_private_key(tmp_path / "absent.pem")


def test_a_fifo_in_place_of_a_key_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "key.pem", 0o600)
    with pytest.raises(Refusal, match="no regular file"):
        keys.load_private_key(tmp_path / "key.pem")
