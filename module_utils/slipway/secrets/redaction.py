# SPDX-License-Identifier: GPL-3.0-or-later
"""The last line of defence: values that were handed out are taken out of what a run says. The first one is ``no_log``; nothing may rely on this one.

A text is compared without white space, quotes and backslashes, and so is a value: that makes one form of the literal, the JSON, the YAML, the shell-quoted
and the line-wrapped one. Beside it stand the forms that are other characters: URL, base64 (at each of the three alignments, since a value may stand
anywhere in what was encoded), hexadecimal, HTML, and escapes of what is not ASCII. Words of fewer than `SHORTEST` characters are not looked for: they would
be found everywhere.
"""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "********"
SHORTEST: Final = 8
SHORTEST_LINE: Final = 16  # of a value of several lines, which may be shown with others between them
_DROPPED: Final = frozenset(" \t\r\n\v\f\\'\"`")
_TABLE: Final = str.maketrans(dict.fromkeys(map(ord, _DROPPED)))


def squeezed(text: str) -> str:
    """A text without what quoting, folding and indenting add to it."""
    return text.translate(_TABLE)


def forms(value: str) -> frozenset[str]:
    """What a value may look like in a squeezed text; nothing for one that is too short."""
    lines = [line.strip() for line in value.splitlines()] if len(value.splitlines()) > 1 else []
    found: set[str] = set()
    for text in (value, *(line for line in lines if len(line) >= SHORTEST_LINE)):
        if len(text) >= SHORTEST:
            found |= {each for each in map(squeezed, _spellings(text)) if len(each) >= SHORTEST}
    return frozenset(found)


def _spellings(text: str) -> Iterable[str]:
    data = text.encode("utf-8", "surrogatepass")
    yield text
    yield text.strip()
    for ascii_only in (True, False):
        yield json.dumps(text, ensure_ascii=ascii_only)
    yield text.encode("unicode_escape").decode("ascii")
    yield "".join(map(_in_yaml, text))
    yield html.escape(text)
    yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")  # as Jinja's filter writes quotes
    yield data.hex()
    yield data.hex().upper()
    for safe in ("", "/", "/:@!$&()*+,;=-._~"):
        quoted = urllib.parse.quote(data, safe=safe)
        yield from (quoted, quoted.replace("%20", "+"), _lower_escapes(quoted))
    for inner in {
        data,
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass"),
    }:
        yield from _in_base64(inner)


def _in_base64(data: bytes) -> Iterable[str]:
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data).decode("ascii").rstrip("=")
        # Characters that bits of a neighbour have a part in are another value's, too.
        whole = encoded[(0, 2, 3)[offset] : (offset + len(data)) * 8 // 6]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


def _in_yaml(character: str) -> str:
    """As YAML escapes what is not ASCII."""
    number = ord(character)
    if number < 0x80:
        return character
    return f"\\x{number:02X}" if number < 0x100 else f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"


def _lower_escapes(quoted: str) -> str:
    parts = quoted.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


class Redactor:
    """The values of a run, and how they are taken out of texts and data."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []

    def add(self, values: Iterable[str]) -> None:
        """From now on these too."""
        new = set(values) - self._known
        if new:
            self._known |= new
            self._forms = sorted({form for value in self._known for form in forms(value)}, key=len, reverse=True)

    def __len__(self) -> int:
        return len(self._known)

    def finds(self, text: str) -> bool:
        """Whether there is a value in a text, in any form."""
        return bool(self._forms) and self._is_in(squeezed(text))

    def text(self, text: str) -> str:
        """The text with a mask in place of each value."""
        if not self._forms:
            return text
        short = squeezed(text)
        if not self._is_in(short):
            return text
        kept = [index for index, character in enumerate(text) if character not in _DROPPED]
        spans: list[tuple[int, int]] = []
        for form in self._forms:
            start = short.find(form)
            while start >= 0:
                spans.append((kept[start], kept[start + len(form) - 1] + 1))
                start = short.find(form, start + 1)
        said, end = [], 0
        for first, last in sorted(spans):
            if first >= end:
                said += [text[end:first], MASK]
            end = max(end, last)
        return "".join([*said, text[end:]])

    def data(self, value: Any) -> Any:
        """The same for what a task answers: the very same object where nothing is found."""
        return self._data(value) if self._forms and self._is_in(squeezed(repr(value))) else value

    def _data(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._data(key): self._data(each) for key, each in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._data(each) for each in value]
        if value is None or isinstance(value, bool):
            return value
        return MASK if self.finds(str(value)) else value

    def _is_in(self, short: str) -> bool:
        return any(form in short for form in self._forms)
