# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed notes: the examples of others are read and made to the byte; what is not a note is refused."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust.keys import PublicKey
from ansible.module_utils.slipway.trust.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteSignature,
    Verifier,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# Keys, text and signatures of the tests of golang.org/x/mod/sumdb/note, where the format comes from.
PETER_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SECRET = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
SIGNED = f"{TEXT}\n{PETER}".encode()
# A witness of the public witness network, as transparency-dev/formats has it in its tests.
REMORA_KEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
# The example of c2sp.org/tlog-cosignature.
COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
# The example of c2sp.org/signed-note: text with an empty line, letters beyond ASCII.
QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)

WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def verifier(key: str) -> Verifier:
    """Read ``<name>+<key id>+<base64 of kind and key>`` without our help."""
    name, _, encoded = key.split("+", 2)
    material = base64.b64decode(encoded)
    return Verifier(name, PublicKey(material[1:]), material[0])


def peter_private() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(PETER_SECRET)[1:])


def reason_of(call) -> str:
    with pytest.raises(Refusal) as refused:
        call()
    return refused.value.reason


@pytest.mark.parametrize("key", [PETER_KEY, ENOCH_KEY, REMORA_KEY])
def test_keys_have_the_ids_that_others_give_them(key):
    read = verifier(key)
    assert read.text == key
    assert read.kind == (COSIGNATURE if key is REMORA_KEY else ED25519)


def test_the_published_note_holds_and_is_made_to_the_byte():
    note = Note.parse(SIGNED)
    assert note.text == TEXT
    assert note.encode() == SIGNED
    assert verifier(PETER_KEY).signed(note) == 0
    assert Note(TEXT).signed_by("PeterNeumann", peter_private()).encode() == SIGNED


def test_the_published_note_with_two_signatures_holds_for_each_key():
    note = Note.parse(f"{TEXT}\n{PETER}{ENOCH}".encode())
    assert [verifier(key).signed(note) for key in (PETER_KEY, ENOCH_KEY)] == [0, 0]


def test_signatures_of_other_keys_are_ignored_and_never_counted():
    assert verifier(ENOCH_KEY).signed(Note.parse(SIGNED)) is None
    peter = verifier(PETER_KEY)
    same_name = Note(TEXT).signed_by("PeterNeumann", WITNESS)
    assert peter.signed(same_name) is None
    other_name = replace(Note.parse(SIGNED).signatures[0], name="CarmenSandiego")
    assert peter.signed(Note(TEXT, (other_name,))) is None
    assert peter.signed(Note(TEXT, (other_name, *same_name.signatures, *Note.parse(SIGNED).signatures))) == 0


def test_a_signature_of_the_key_that_does_not_hold_spoils_the_note():
    changed = Note.parse(SIGNED.replace(b"cryptography", b"cryptographY"))
    assert reason_of(lambda: verifier(PETER_KEY).signed(changed)) == "note_signature_invalid"
    good = Note.parse(SIGNED)
    for value in (good.signatures[0].value[:-1], good.signatures[0].value + b"x", b"\0" * 64):
        for order in (1, -1):
            bad = replace(good.signatures[0], value=value)
            both = Note(TEXT, (bad, *good.signatures)[::order])
            assert reason_of(lambda both=both: verifier(PETER_KEY).signed(both)) == "note_signature_invalid"


def test_the_example_of_the_note_specification_is_read():
    note = Note.parse(QUASIMODO.encode())
    assert note.text.endswith(":\n\ned è subito sera.\n")
    assert note.signatures[0].name == "quasimodo.example/salvatore"
    assert note.encode().decode() == QUASIMODO


def test_the_example_of_the_cosignature_specification_is_read():
    note = Note.parse(COSIGNED.encode())
    assert note.encode().decode() == COSIGNED
    log, witness = note.signatures
    assert (len(log.value), len(witness.value)) == (64, 72)
    assert int.from_bytes(witness.value[:8], "big") == 1679315147  # the time that its text gives


def test_a_cosignature_covers_header_time_and_text_and_nothing_of_ours_is_needed_to_see_it():
    note = Note("log\n1\nroot\n").cosigned_by("witness", WITNESS, now=1679315147)
    value = note.signatures[0].value
    assert value[:8] == bytes.fromhex("000000006418 50cb")
    WITNESS.public_key().verify(value[8:], b"cosignature/v1\ntime 1679315147\nlog\n1\nroot\n")
    raw = WITNESS.public_key().public_bytes_raw()
    assert note.signatures[0].key_id == hashlib.sha256(b"witness\n\x04" + raw).digest()[:4]
    assert Verifier("witness", PublicKey(raw), COSIGNATURE).signed(note) == 1679315147


def test_a_cosignature_is_no_signature_and_a_signature_no_cosignature():
    public = PublicKey.of(WITNESS)
    cosigned, signed = Note(TEXT).cosigned_by("w", WITNESS, now=7), Note(TEXT).signed_by("w", WITNESS)
    assert Verifier("w", public, ED25519).signed(cosigned) is None
    assert Verifier("w", public, COSIGNATURE).signed(signed) is None
    for kind, of_other_kind in ((ED25519, cosigned), (COSIGNATURE, signed)):
        key = Verifier("w", public, kind)
        bent = Note(TEXT, (replace(of_other_kind.signatures[0], key_id=key.key_id),))
        assert reason_of(lambda key=key, bent=bent: key.signed(bent)) == "note_signature_invalid"


def test_a_cosignature_of_another_time_does_not_hold_and_the_newest_of_several_counts():
    witness = Verifier("w", PublicKey.of(WITNESS), COSIGNATURE)
    note = Note(TEXT).cosigned_by("w", WITNESS, now=7).cosigned_by("w", WITNESS, now=9).cosigned_by("w", WITNESS, now=8)
    assert witness.signed(note) == 9
    value = note.signatures[0].value
    for seconds in (8, 2**63, 2**64 - 1):
        bent = NoteSignature("w", witness.key_id, seconds.to_bytes(8, "big") + value[8:])
        assert reason_of(lambda bent=bent: witness.signed(Note(TEXT, (bent,)))) == "note_signature_invalid"


def test_a_time_beyond_any_json_reader_is_refused_though_it_is_signed():
    note = Note(TEXT).cosigned_by("w", WITNESS, now=2**53)
    assert reason_of(lambda: Verifier("w", PublicKey.of(WITNESS), COSIGNATURE).signed(note)) == "note_signature_invalid"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"\n\n", TEXT.encode(), f"{TEXT}\n".encode(), SIGNED[:-1], b"\x01" + SIGNED, b"\xff" + SIGNED,
        SIGNED.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf"[:2] + SIGNED, SIGNED + b"Unexpected line.\n", SIGNED + b"\n",
        SIGNED.replace(b"problem,", b"problem,\t"), SIGNED.replace(b"problem,", b"problem,\0"), SIGNED.decode().encode("utf-16"),
        SIGNED.replace("— ".encode(), b"-- "), SIGNED.replace("— ".encode(), "—".encode()),
        SIGNED.replace(b"PeterNeumann", b"Peter Neumann"), SIGNED.replace(b"PeterNeumann", b"Peter+Neumann"),
        SIGNED.replace(b"PeterNeumann", "Peter\u00a0Neumann".encode()), SIGNED.replace(b"PeterNeumann", b""),
        SIGNED.replace(b"PeterNeumann", b"P" * 256), SIGNED.replace(b"=\n", b"\n"), SIGNED.replace(b"AM=", b"AN="),
        SIGNED.replace(b"AM=", b"AM= "), SIGNED.replace(b"x08g", b"x0-g"), SIGNED.replace(b"x08g", "é08g".encode()),
        f"{TEXT}\n— PeterNeumann x08gow==\n".encode(), f"{TEXT}\n— PeterNeumann \n".encode(), f"{TEXT}\n— PeterNeumann\n".encode(),
        f"{TEXT}\n{PETER * (MAX_SIGNATURES + 1)}".encode(), b"x" * MAX_NOTE_BYTES + SIGNED,
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(data):
    assert reason_of(lambda: Note.parse(data)) == "note_malformed"


def test_as_many_signatures_and_bytes_as_are_allowed_are_read():
    assert len(Note.parse(f"{TEXT}\n{PETER * MAX_SIGNATURES}".encode()).signatures) == MAX_SIGNATURES
    assert Note.parse(b"x" * (MAX_NOTE_BYTES - len(SIGNED)) + SIGNED)


@pytest.mark.parametrize("text", ["", "no line", "a\tb\n", "a\x1bb\n"])
def test_only_text_in_lines_can_be_signed(text):
    assert reason_of(lambda: Note(text)) == "note_malformed"


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "x" * 256, "a\u2003b"])
def test_a_key_has_a_name_that_fits_a_line(name):
    assert reason_of(lambda: Verifier(name, PublicKey.of(WITNESS))) == "note_malformed"


def verdict(key: Verifier, data: bytes) -> int | str | None:
    try:
        return key.signed(Note.parse(data))
    except Refusal as refusal:
        return refusal.reason


def test_flipping_any_byte_of_a_note_leaves_no_signature_that_holds():
    peter, verdicts = verifier(PETER_KEY), set()
    for place in range(len(SIGNED)):
        bent = bytearray(SIGNED)
        bent[place] ^= 1
        verdicts.add(verdict(peter, bytes(bent)))
    assert verdicts == {None, "note_malformed", "note_signature_invalid"}
