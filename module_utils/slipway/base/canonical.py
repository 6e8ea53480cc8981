# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict JSON in, canonical JSON out (RFC 8785), for the subset that Slipway signs.

The subset: objects, arrays, strings, booleans, null and integers up to 2**53 - 1 in size; no fractions or exponents,
nesting up to 32, strict UTF-8 without a byte order mark, one document. RFC 8259 leaves duplicate members to the
reader, and readers differ; here they are refused, as are members that differ only in case.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final, NoReturn

from .errors import Refusal, shown

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
DEFAULT_LIMIT: Final = 1 << 20

_DIGITS: Final = frozenset("0123456789")
_INTEGER = re.compile(r"-?[0-9]{1,16}\Z")


def _refuse(reason: str, what: str, expected: str, found: str) -> NoReturn:
    raise Refusal(
        reason,
        expected=f"{what}: {expected}",
        found=found,
        remedy="Get the document again from where it was made; it is not repaired here.",
    )


class _Reader:
    """The hooks of one parse: it knows the document's name and which sets of member names it has already accepted."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._accepted: set[tuple[str, ...]] = set()

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = tuple([name for name, _ in pairs])
        if names not in self._accepted:
            if len(set(names)) != len(names):
                _refuse("json_duplicate_member", self._what, "each member once", f"members {shown(sorted(names))}")
            if len({name.casefold() for name in names}) != len(names):
                _refuse("json_case_twin", self._what, "members that differ in more than case", shown(sorted(names)))
            self._accepted.add(names)
        return dict(pairs)

    def integer(self, text: str) -> int:
        if not _INTEGER.match(text) or text == "-0" or abs(int(text)) > MAX_INTEGER:
            self.number(text)
        return int(text)

    def number(self, text: str) -> NoReturn:
        _refuse("json_number", self._what, "integers from -(2^53-1) to 2^53-1 and no other numbers", shown(text))


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether containers are nested more than `levels` deep in `value`."""
    kind = type(value)
    if kind is not dict and kind is not list:
        return False
    if levels == 0:
        return True
    children = value.values() if kind is dict else value
    return any(_is_deeper(child, levels - 1) for child in children if type(child) is dict or type(child) is list)


def parse(data: bytes, *, what: str, limit: int = DEFAULT_LIMIT) -> Any:
    """Return the value of the one JSON document in `data` (at most `limit` bytes), or raise Refusal.

    `what` names the document in the refusal. White space around tokens is accepted here; `parse_canonical` refuses it.
    """
    if len(data) > limit:
        _refuse("json_too_large", what, f"at most {limit} bytes", f"{len(data)} bytes")
    if data.startswith(codecs.BOM_UTF8):
        _refuse("json_byte_order_mark", what, "UTF-8 without a byte order mark", "one")
    if b"\0" in data[:2]:
        _refuse("json_not_utf8", what, "UTF-8", "a NUL at the beginning, as in UTF-16 and UTF-32")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        _refuse("json_not_utf8", what, "UTF-8", f"{error.reason} at byte {error.start}")
    reader = _Reader(what)
    try:
        value = json.loads(
            text,
            object_pairs_hook=reader.object,
            parse_int=reader.integer,
            parse_float=reader.number,
            parse_constant=reader.number,
        )
    except json.JSONDecodeError as error:
        if text[error.pos - 1 : error.pos] == "0" and text[error.pos : error.pos + 1] in _DIGITS:
            reader.number(f"0{text[error.pos]}")  # the standard library reads 01 as 0 and something after it
        found = f"{error.msg} at character {error.pos}"
        if error.msg == "Extra data":
            _refuse("json_trailing_bytes", what, "one JSON document and nothing after it", found)
        _refuse("json_invalid", what, "one JSON document", found)
    except RecursionError:
        _refuse("json_too_deep", what, f"nesting up to {MAX_DEPTH}", "far deeper nesting")
    if _is_deeper(value, MAX_DEPTH):
        _refuse("json_too_deep", what, f"nesting up to {MAX_DEPTH}", "deeper nesting")
    if "\\u" in text:
        _utf8(value, what)
    return value


def parse_canonical(data: bytes, *, what: str, limit: int = DEFAULT_LIMIT) -> Any:
    """Like `parse`, and refuse any bytes but the canonical ones: a signed document has one spelling."""
    if len(data) <= limit and (value := _plain(data)) is not None:
        return value
    value = parse(data, what=what, limit=limit)
    if _utf8(value, what) != data:
        _refuse("json_not_canonical", what, "canonical JSON (RFC 8785)", "the same document spelled otherwise")
    return value


class _NotPlain(Exception):
    """A document that takes the longer look: it may be refused, and then for its own reason."""


_NAMES_REMEMBERED: Final = 512
_NAMES_LENGTH: Final = 1024
_plain_names: set[tuple[str, ...]] = set()


def _plain_object(members: dict[str, Any]) -> dict[str, Any]:
    names = tuple(members)
    if names not in _plain_names:
        if len({name.casefold() for name in names}) != len(names):
            raise _NotPlain
        if sum(map(len, names)) + len(names) <= _NAMES_LENGTH:
            if len(_plain_names) >= _NAMES_REMEMBERED:
                _plain_names.clear()
            _plain_names.add(names)
    return members


def _plain_integer(text: str) -> int:
    if len(text) > 15:  # anything shorter is below 2^53
        raise _NotPlain
    return int(text)


def _not_plain(_text: str) -> NoReturn:
    raise _NotPlain


_PLAIN_DECODER: Final = json.JSONDecoder(
    object_hook=_plain_object, parse_int=_plain_integer, parse_float=_not_plain, parse_constant=_not_plain
)
_PLAIN_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


def _plain(data: bytes) -> Any:
    """The value of a document that is canonical beyond doubt, None for every other: a history has a hundred thousand lines.

    What is spelled as it would be encoded has each member once, no white space, no number written in another way and no lone
    surrogate; with at most 32 brackets it is not nested deeper. Beyond U+FFFF names sort otherwise (see `_utf8`).
    """
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH or not (data.isascii() or _is_in_plane_0(data)):
        return None
    try:
        value = _PLAIN_DECODER.decode(data.decode("utf-8"))
        return value if _PLAIN_ENCODER.encode(value).encode("utf-8") == data else None
    except (ValueError, RecursionError, _NotPlain):
        return None


def _is_in_plane_0(data: bytes) -> bool:
    return not any(lead in data for lead in (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4"))


def encode(value: Any) -> bytes:
    """Return the RFC 8785 bytes of `value`, or raise Refusal when it lies outside the subset."""
    _check(value, MAX_DEPTH)
    return _utf8(value, "a document to be signed")


def _check(value: Any, levels: int) -> None:
    what = "a document to be signed"
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            _refuse("json_number", what, "integers up to 2^53-1", shown(value))
        return
    if not isinstance(value, (dict, list, tuple)):
        _refuse("json_type", what, "objects, arrays, strings, integers, booleans and null", type(value).__name__)
    if levels == 0:
        _refuse("json_too_deep", what, f"nesting up to {MAX_DEPTH}", "deeper nesting")
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                _refuse("json_type", what, "member names that are strings", shown(name))
    for child in value.values() if isinstance(value, dict) else value:
        _check(child, levels - 1)


def _utf8(value: Any, what: str) -> bytes:
    try:
        data = _dump(value, sort_keys=True).encode("utf-8")
    except UnicodeEncodeError:
        _refuse("json_surrogate", what, "whole Unicode characters", "a lone surrogate")
    # RFC 8785 3.2.3 sorts names by UTF-16 code units, Python by code points; they part only beyond U+FFFF, whose
    # UTF-8 starts with the bytes F0 to F4.
    if not _is_in_plane_0(data):
        data = _dump(_in_utf16_order(value), sort_keys=False).encode("utf-8")
    return data


def _dump(value: Any, *, sort_keys: bool) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys)


def _in_utf16_order(value: Any) -> Any:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return {name: _in_utf16_order(child) for name, child in ordered}
    if isinstance(value, (list, tuple)):
        return [_in_utf16_order(child) for child in value]
    return value
