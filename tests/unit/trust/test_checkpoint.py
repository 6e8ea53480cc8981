# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints: three lines that a host signs, and nobody else's, nor of another log."""

from __future__ import annotations

import base64

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust import checkpoint, merkle
from ansible.module_utils.slipway.trust.checkpoint import Checkpoint, origin_of
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import COSIGNATURE, Note, Verifier
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HOST_ID = "0b8f6a52-6f0e-4b1c-9d33-7d3f1a0c5e21"
ORIGIN = origin_of(HOST_ID, "hello")
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEY = PublicKey.of(PRIVATE)
ROOT = merkle.leaf_hash(b"")
TEXT = f"{ORIGIN}\n7\n{base64.b64encode(ROOT).decode()}\n"
CHECKPOINT = Checkpoint(ORIGIN, 7, ROOT)
SIGNED = CHECKPOINT.sign(PRIVATE)


def reason_of(call) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


def test_a_checkpoint_is_three_lines():
    assert CHECKPOINT.text() == TEXT
    assert Checkpoint.parse(TEXT) == CHECKPOINT
    assert checkpoint.read(SIGNED) == CHECKPOINT


def test_an_empty_history_has_a_checkpoint_too():
    empty = Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT)
    assert Checkpoint.parse(empty.text()) == empty


def test_the_host_signs_under_the_name_of_the_log_and_anybody_can_check_it():
    note = Note.parse(SIGNED)
    assert [each.name for each in note.signatures] == [ORIGIN]
    PRIVATE.public_key().verify(note.signatures[0].value, TEXT.encode())
    assert checkpoint.verify(SIGNED, key=KEY) == checkpoint.verify(SIGNED, key=KEY, origin=ORIGIN) == CHECKPOINT


def test_a_witness_adds_its_cosignature_and_the_checkpoint_still_holds():
    cosigned = Note.parse(SIGNED).cosigned_by("slipway/controller", OTHER, now=7)
    assert checkpoint.verify(cosigned.encode(), key=KEY, origin=ORIGIN) == CHECKPOINT
    assert Verifier("slipway/controller", PublicKey.of(OTHER), COSIGNATURE).signed(cosigned) == 7


def test_a_checkpoint_that_the_key_did_not_sign_is_refused():
    assert reason_of(lambda: checkpoint.verify(SIGNED, key=PublicKey.of(OTHER))) == "checkpoint_signature_unknown"
    only_cosigned = Note(TEXT).cosigned_by(ORIGIN, PRIVATE, now=7).encode()
    assert reason_of(lambda: checkpoint.verify(only_cosigned, key=KEY)) == "checkpoint_signature_unknown"
    under_another_name = Note(TEXT).signed_by("elsewhere", PRIVATE).encode()
    assert reason_of(lambda: checkpoint.verify(under_another_name, key=KEY)) == "checkpoint_signature_unknown"


def test_a_checkpoint_that_was_changed_is_refused():
    changed = SIGNED.replace(b"\n7\n", b"\n8\n")
    assert reason_of(lambda: checkpoint.verify(changed, key=KEY)) == "note_signature_invalid"


@pytest.mark.parametrize("origin", [origin_of("another-host", "hello"), origin_of(HOST_ID, "other")])
def test_a_checkpoint_of_another_log_is_refused_though_the_key_signed_it(origin):
    assert reason_of(lambda: checkpoint.verify(SIGNED, key=KEY, origin=origin)) == "checkpoint_of_another_log"


@pytest.mark.parametrize(
    "text",
    [
        "one line\n", TEXT + "extension\n", TEXT + "\n", TEXT.replace("\n7\n", "\n"), TEXT.replace("slipway/", "example.com/"),
        TEXT.replace("/hello", "/Hello"), TEXT.replace("/hello", ""), TEXT.replace("/hello", "/hello/more"), "\n" + TEXT,
        *(TEXT.replace("\n7\n", f"\n{size}\n") for size in ("07", "-7", "+7", "7.0", "7 ", "", "\u0667", "9" * 17, "9007199254740992")),
        TEXT.replace("=\n", "\n"), TEXT.replace("=\n", "==\n"), TEXT.replace("bjQ", "bj-"), TEXT.replace("bjQ", "bé"),
        f"{ORIGIN}\n7\n{base64.b64encode(b'x' * 31).decode()}\n", f"{ORIGIN}\n7\n{base64.b64encode(b'x' * 33).decode()}\n",
        f"{ORIGIN}\n7\n\n", TEXT.replace("oB0=", "oB1="),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text):
    assert text != TEXT
    signed = Note(text).signed_by(ORIGIN, PRIVATE).encode()
    assert reason_of(lambda: checkpoint.verify(signed, key=KEY)) == "checkpoint_malformed"


def test_the_largest_size_is_that_of_json():
    assert Checkpoint.parse(TEXT.replace("\n7\n", "\n9007199254740991\n")).size == 2**53 - 1
