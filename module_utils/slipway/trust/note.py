# SPDX-License-Identifier: GPL-3.0-or-later
"""Signed notes (c2sp.org/signed-note) with Ed25519, and the cosignatures of witnesses (c2sp.org/tlog-cosignature, v1).

A note is text and, after an empty line, a line for each signature: an em dash, the key's name, and base64 of a 4-byte key
id and the signature. A cosignature also says when it was made. A note that arrives is untrusted: its form is strict and its
size bounded; signatures of keys that nobody asked about are ignored, and never counted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from ..base.errors import Refusal, shown
from .keys import SIGNATURE_BYTES, PublicKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 64
MAX_TIME: Final = 2**53 - 1

_DASH: Final = "\u2014 "
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}\Z")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who is said to have signed, the 4-byte key id, and what follows it."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True)
class Verifier:
    """A key that a note may be signed with: its name, its kind (ED25519 or COSIGNATURE) and its bytes."""

    name: str
    public: PublicKey
    kind: int = ED25519

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            _refuse("note_malformed", "a key name without spaces and plus signs", shown(self.name))

    @property
    def key_id(self) -> bytes:
        """The first 4 bytes of SHA-256 over name, LF, kind and key: a hint with few bits, and no more."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public.raw).digest()[
            :_KEY_ID_BYTES
        ]

    @property
    def text(self) -> str:
        """The key as other tools for notes read it: ``<name>+<key id>+<base64 of kind and key>``."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public.raw).decode()}"

    def signed(self, note: Note) -> int | None:
        """When this key signed ``note``: Unix seconds for a cosignature, 0 for a signature, None where it did not.

        Refusal ``note_signature_invalid`` where a signature is said to be this key's and is not: such a note is no good.
        """
        times = [
            self._time_of(note, each)
            for each in note.signatures
            if (each.name, each.key_id) == (self.name, self.key_id)
        ]  # fmt: skip
        return max(times) if times else None

    def _time_of(self, note: Note, signature: NoteSignature) -> int:
        header = _TIME_BYTES if self.kind == COSIGNATURE else 0
        seconds = int.from_bytes(signature.value[:header], "big")
        value = signature.value[header:]
        is_whole = len(value) == SIGNATURE_BYTES and seconds <= MAX_TIME
        if not is_whole or not self.public.verifies(value, _message(note.text, self.kind, seconds)):
            _refuse("note_signature_invalid", f"a signature by {self.name}", "one that this key did not make")
        return seconds


@dataclass(frozen=True)
class Note:
    """Text that ends in LF, and its signature lines; nothing in it is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or _CONTROL.search(self.text):
            _refuse("note_malformed", "text in lines without control characters", shown(self.text))

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Read a note of at most 64 KiB with at most 64 signatures, or raise Refusal ``note_malformed``."""
        if len(data) > MAX_NOTE_BYTES:
            _refuse("note_malformed", f"at most {MAX_NOTE_BYTES} bytes", f"{len(data)} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            _refuse("note_malformed", "UTF-8", f"{error.reason} at byte {error.start}")
        text, blank, lines = whole.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            _refuse("note_malformed", "text, an empty line and signature lines", shown(whole))
        found = lines[:-1].split("\n")
        if len(found) > MAX_SIGNATURES:
            _refuse("note_malformed", f"at most {MAX_SIGNATURES} signatures", str(len(found)))
        return cls(f"{text}\n", tuple(_signature(line) for line in found))

    def encode(self) -> bytes:
        """The bytes of the note as it is kept and sent."""
        return f"{self.text}\n{''.join(each.line() for each in self.signatures)}".encode()

    def signed_by(self, name: str, private: Ed25519PrivateKey) -> Note:
        """This note with one more signature."""
        verifier = Verifier(name, PublicKey.of(private))
        return self._with(NoteSignature(name, verifier.key_id, private.sign(_message(self.text, ED25519, 0))))

    def cosigned_by(self, name: str, private: Ed25519PrivateKey, *, now: int) -> Note:
        """This note with the cosignature of a witness that saw it at ``now`` (Unix seconds)."""
        verifier = Verifier(name, PublicKey.of(private), COSIGNATURE)
        value = now.to_bytes(_TIME_BYTES, "big") + private.sign(_message(self.text, COSIGNATURE, now))
        return self._with(NoteSignature(name, verifier.key_id, value))

    def _with(self, signature: NoteSignature) -> Note:
        return Note(self.text, (*self.signatures, signature))


def _message(text: str, kind: int, seconds: int) -> bytes:
    """The bytes that are signed."""
    header = f"cosignature/v1\ntime {seconds}\n" if kind == COSIGNATURE else ""
    return f"{header}{text}".encode()


def _signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not _NAME.match(name):
        _refuse("note_malformed", "lines of an em dash, a key name and a signature", shown(line))
    value = _base64(encoded)
    if len(value) <= _KEY_ID_BYTES:
        _refuse("note_malformed", "a key id and a signature", f"{len(value)} bytes")
    return NoteSignature(name, value[:_KEY_ID_BYTES], value[_KEY_ID_BYTES:])


def _base64(text: str) -> bytes:
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        _refuse("note_malformed", "signatures as base64", shown(text))
    if base64.b64encode(value).decode() != text:
        _refuse("note_malformed", "signatures as canonical base64", shown(text))
    return value


def _refuse(reason: str, expected: str, found: str) -> NoReturn:
    raise Refusal(
        reason,
        expected=f"signed note: {expected}",
        found=found,
        remedy="Get the note again from where it was signed; it is not repaired here.",
    )
