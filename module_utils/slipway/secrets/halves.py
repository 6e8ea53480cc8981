# SPDX-License-Identifier: GPL-3.0-or-later
"""A word in two halves, of which one alone says nothing: one is random, the other is the word with that added (XOR).

That is a one-time pad: there is nothing to compute or to guess. Each half may be given to several people; two who have the same one still have
half. The check tells two halves that do not belong together without a try at whoever takes the word; from a word of 122 random bits, as Vault makes
them, its hash gives nothing away.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import read_if_there

FORMAT: Final = 1
LIMIT: Final = 1 << 16
SIDES: Final = ("first", "second")


@dataclass(frozen=True)
class Half:
    """One half; ``about`` is what its holder must know of it, the same in both."""

    side: str
    about: Mapping[str, str]
    check: str
    data: bytes = field(repr=False)

    def encoded(self) -> bytes:
        """As a file, for people too."""
        document = {"format": FORMAT, "side": self.side, **self.about, "check": self.check, "half": self.data.hex()}
        return json.dumps(document, indent=2).encode() + b"\n"


def split(word: str, about: Mapping[str, str]) -> tuple[Half, Half]:
    """A word in two halves."""
    data = word.encode()
    pad = secrets.token_bytes(len(data))
    other = _added(data, pad)
    return Half(SIDES[0], about, _check(data), pad), Half(SIDES[1], about, _check(data), other)


def joined(one: Half, other: Half) -> str:
    """The word; Refusal ``break_glass_halves_unlike`` for halves of two seals, and for the same half twice."""
    if one.about == other.about and len(one.data) == len(other.data):
        data = _added(one.data, other.data)
        if _check(data) == one.check == other.check:
            return data.decode()
    raise Refusal(
        "break_glass_halves_unlike",
        expected="the first and the second half of the same seal",
        found=f"the {one.side} of {one.about.get('seal')} and the {other.side} of {other.about.get('seal')}",
        remedy="Ask both holders for the halves of the newest seal; nothing was tried at Vault.",
    )


def read(path: Path) -> Half:
    """A half in a file; Refusal ``break_glass_half_invalid``."""
    data = read_if_there(path, limit=LIMIT, what="half")
    try:
        document = canonical.parse(data or b"", what="half", limit=LIMIT)
        number, side, check = document.pop("format"), document.pop("side"), document.pop("check")
        half = bytes.fromhex(document.pop("half"))
        if (
            number != FORMAT
            or side not in SIDES
            or not all(isinstance(text, str) for text in (check, *document.values()))
        ):
            raise ValueError
    except (Refusal, KeyError, TypeError, ValueError, AttributeError):
        raise Refusal(
            "break_glass_half_invalid",
            expected=f"a half in {path}, as its holder got it",
            found="no such file" if data is None else "something else",
            remedy="Correct the path, or ask another holder of the same half.",
        ) from None
    return Half(side, document, check, half)


def _added(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _check(data: bytes) -> str:
    return hashlib.sha256(b"slipway half\0" + data).hexdigest()[:16]
