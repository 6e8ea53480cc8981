# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of secrets and what each must look like: a malformed one is refused where it is written, not where it is used."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..base.errors import Refusal, shown
from .secret import FIELD, MAX_FIELDS, MAX_VALUE

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,253}[A-Za-z0-9])?\Z")
_URL: Final = re.compile(r"https?://[^\s/@]+(/\S*)?\Z")
_WORD: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,1024}\Z")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_KEY_BYTES: Final = (16, 24, 32, 64)
JWT_BYTES: Final = 32
PEM, PEM_END = "-----BEGIN ", "-----END "
JWT_ALGORITHMS: Final = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True)
class Rule:
    """What a field must be, in words, and whether a value is that."""

    words: str
    holds: Callable[[str], bool]
    required: bool = True


def _like(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda value: pattern.match(value) is not None


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 65535


def _is_key(value: str) -> bool:
    try:
        return (
            len(base64.b64decode(value, altchars=b"-_" if {"-", "_"} & set(value) else None, validate=True))
            in _KEY_BYTES
        )
    except (binascii.Error, ValueError):
        return False


def _is_text(value: str) -> bool:
    return bool(value.strip()) and "\0" not in value


def _is_signing_secret(value: str) -> bool:
    return len(value.encode()) >= JWT_BYTES and _is_text(value)


_WORD_RULE = Rule("one word without spaces", _like(_WORD))
_TEXT = Rule("a text that is not empty", _is_text)
KINDS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "database": {
        "host": Rule("a host name or address", _like(_HOST)),
        "port": Rule("a port from 1 to 65535", _is_port, required=False),
        "username": _WORD_RULE,
        "password": _TEXT,
        "database": _WORD_RULE,
    },
    "s3": {
        "access_key_id": _WORD_RULE,
        "secret_access_key": _WORD_RULE,
        "bucket": Rule("the name of a bucket", _like(_BUCKET)),
        "region": Rule("one word without spaces", _like(_WORD), required=False),
        "endpoint": Rule("an http or https address without a user", _like(_URL), required=False),
    },
    "broker": {
        "username": _WORD_RULE,
        "api_key": _WORD_RULE,
        "api_secret": _WORD_RULE,
        "host": Rule("a host name or address", _like(_HOST), required=False),
        "port": Rule("a port from 1 to 65535", _is_port, required=False),
    },
    "api_key": {
        "key": _WORD_RULE,
        "url": Rule("an http or https address without a user", _like(_URL), required=False),
    },
    "encryption_key": {
        "key": Rule("base64 of 16, 24, 32 or 64 bytes", _is_key),
    },
    "jwt": {
        "secret": Rule(f"at least {JWT_BYTES} bytes", _is_signing_secret),
        "algorithm": Rule(f"one of {', '.join(JWT_ALGORITHMS)}", JWT_ALGORITHMS.__contains__, required=False),
        "issuer": Rule("a text that is not empty", _is_text, required=False),
    },
}


def required_fields(kind: str | None) -> list[str]:
    """The fields that a secret of that kind must have; of no kind, the one field ``value``."""
    return [name for name, rule in KINDS[kind].items() if rule.required] if kind else ["value"]


def require_well_formed(name: str, kind: str | None, fields: Mapping[str, object]) -> None:
    """Refuse what is no secret of its kind; without a kind any fields do that are texts and not empty. Values are never said."""
    if kind is not None and kind not in KINDS:
        raise _malformed(name, f"a type of {', '.join(KINDS)}", shown(kind))
    if not fields or len(fields) > MAX_FIELDS:
        raise _malformed(name, f"from 1 to {MAX_FIELDS} fields", str(len(fields)))
    for field, value in fields.items():
        if not isinstance(field, str) or not FIELD.match(field):
            raise _malformed(name, "names of fields in lower case, such as password", "another name")
        if not isinstance(value, str) or len(value.encode("utf-8", "replace")) > MAX_VALUE:
            raise _malformed(name, f"{field}: a text of at most {MAX_VALUE} bytes", "something else")
        if not value.strip():
            raise _malformed(name, f"{field}: a text that is not empty", "an empty one")
        if value.lstrip().startswith(PEM) and PEM_END not in value:
            raise _malformed(
                name, f"{field}: a whole PEM block; what has several lines is set from a file (FILE=)", "its beginning"
            )
    rules = KINDS[kind] if kind else {}
    for field, rule in rules.items():
        if field not in fields:
            if rule.required:
                raise _malformed(name, f"the field {field}: {rule.words}", f"only {', '.join(sorted(fields))}")
        elif not rule.holds(str(fields[field])):
            raise _malformed(name, f"{field}: {rule.words}", f"{len(str(fields[field]))} characters that are not that")
    unknown = sorted(set(fields) - set(rules)) if kind else []
    if unknown:
        raise _malformed(name, f"only the fields {', '.join(rules)} in a secret of type {kind}", ", ".join(unknown))


def _malformed(name: str, expected: str, found: str) -> Refusal:
    return Refusal(
        "secret_malformed",
        expected=f"{name} to have {expected}",
        found=found,
        remedy="Correct it and set it again; nothing was written. docs/howto/secrets.md has the types and their fields.",
    )
