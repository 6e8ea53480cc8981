# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints of a history (c2sp.org/tlog-checkpoint): which log, how many records, and the root of the tree over them.

The text of the signed note is three lines: ``slipway/<host id>/<application>``, the size, and the root in base64. The host
signs it with the key that it made for its history, under the log's name; a witness adds its cosignature.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from ..base.errors import Refusal, shown
from . import merkle
from .keys import PublicKey
from .note import Note, Verifier

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ORIGIN: Final = re.compile(r"slipway/[A-Za-z0-9._-]{1,255}/[a-z][a-z0-9_-]{0,62}\Z")
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,15})\Z", re.ASCII)
_REMEDY: Final = "Treat the history as tampered with: run playbooks/verify.yml, and keep what it says."


def origin_of(host_id: str, application: str) -> str:
    """The name of one application's log on one host."""
    return f"slipway/{host_id}/{application}"


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself: its origin, its size in records and the 32 bytes of its root."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a note, or raise Refusal ``checkpoint_malformed``; extension lines are not ours and refused."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            _malformed("an origin, a size and a root in three lines", shown(text))
        origin, size, root = lines[:3]
        if not _ORIGIN.match(origin):
            _malformed("an origin like slipway/<host id>/<application>", shown(origin))
        if not _SIZE.match(size) or int(size) > merkle.MAX_SIZE:
            _malformed("a size in decimal digits", shown(size))
        return cls(origin, int(size), _root(root))

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def sign(self, private: Ed25519PrivateKey) -> bytes:
        """The checkpoint as the note that a host keeps and sends."""
        return Note(self.text()).signed_by(self.origin, private).encode()


def read(data: bytes) -> Checkpoint:
    """What a signed checkpoint says, with no signature verified: for showing it, and for finding out whose it is."""
    return Checkpoint.parse(Note.parse(data).text)


def verify(data: bytes, *, key: PublicKey, origin: str | None = None) -> Checkpoint:
    """The checkpoint in ``data`` when ``key`` signed it for the log ``origin`` (by default the one that it names).

    Refusals: ``note_malformed``, ``checkpoint_malformed``, ``checkpoint_of_another_log``, ``checkpoint_signature_unknown`` when
    that key did not sign it, ``note_signature_invalid`` when a signature that is said to be that key's does not hold.
    """
    note = Note.parse(data)
    found = Checkpoint.parse(note.text)
    if origin is not None and found.origin != origin:
        raise Refusal(
            "checkpoint_of_another_log", expected=f"a checkpoint of {origin}", found=found.origin, remedy=_REMEDY
        )
    if Verifier(found.origin, key).signed(note) is None:
        raise Refusal(
            "checkpoint_signature_unknown",
            expected=f"a checkpoint of {found.origin} signed with the host's history key {key.hex}",
            found=", ".join(f"{shown(each.name)} with key id {each.key_id.hex()}" for each in note.signatures),
            remedy=_REMEDY,
        )
    return found


def _root(text: str) -> bytes:
    try:
        root = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        _malformed("a root as base64", shown(text))
    if len(root) != merkle.HASH_BYTES or base64.b64encode(root).decode() != text:
        _malformed("a root of 32 bytes as canonical base64", shown(text))
    return root


def _malformed(expected: str, found: str) -> NoReturn:
    raise Refusal("checkpoint_malformed", expected=f"checkpoint: {expected}", found=found, remedy=_REMEDY)
