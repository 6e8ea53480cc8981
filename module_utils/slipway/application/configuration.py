# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that an application needs: its keys with type, limits and default, and whether a value fits.

Declared under ``configuration`` in ``slipway_applications``. Values are texts, as a service gets them. That of a secret
key is never told, not even in part: only how long it is.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..base.errors import kind_of, shown

Wrong = Callable[[str, str, object], None]  # (where, what was expected, what was found)
Converted = str | int | float | bool | tuple[str, ...]

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,254}")
FILE: Final = re.compile(r"-?/[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*")
INTEGER: Final = re.compile(r"[+-]?[0-9]{1,100}")
DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,100}(\.[0-9]{0,100})?|\.[0-9]{1,100})([eE][+-]?[0-9]{1,4})?")
TRUTHS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
EXPECTED: Final = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "items with commas between them",
}
NUMBERS: Final = ("int", "float")
LENGTHS: Final = ("str", "list")
LIMITS: Final = {"minimum": NUMBERS, "maximum": NUMBERS, "min_length": LENGTHS, "max_length": LENGTHS}
KEYS_OF_KEY: Final = ("type", "required", "default", "secret", "credential", *LIMITS)
SHOWN_CHARACTERS: Final = 60


class Unfit(ValueError):
    """A value that does not fit its key; ``found`` never has anything of a secret in it."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(found)


@dataclass(frozen=True)
class Key:
    """One declared key. Lengths are characters of a str and items of a list; ``credential`` is the name it may come under."""

    name: str
    type: str = "str"
    required: bool = False
    default: Converted | None = None
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    credential: str = ""

    def expected(self) -> str:
        """What fits, in words: "a whole number from 1 to 100"."""
        unit = "character" if self.type == "str" else "item"
        least, most = (self.minimum, self.maximum) if self.type in NUMBERS else (self.min_length, self.max_length)
        text = EXPECTED[self.type]
        if least is None and most is None:
            return text
        if self.type in NUMBERS:
            return f"{text} {'of' if least is None or most is None else 'from'} {_span(least, most)}"
        return f"{text} of {_span(least, most)} {unit}{'' if (least if most is None else most) == 1 else 's'}"

    def described(self, text: str) -> str:
        """The value as it may be told."""
        if not self.secret:
            return shown(text, SHOWN_CHARACTERS)
        return f"a secret of {len(text)} character{'' if len(text) == 1 else 's'}"

    def convert(self, text: str) -> Converted:
        """The value that ``text`` stands for, or Unfit."""
        if not text and (self.required or self.type not in LENGTHS):
            raise Unfit("an empty value")
        value = self._typed(text)
        if not self._is_within(value):
            raise Unfit(self._measured(text, value))
        return value

    def _typed(self, text: str) -> Converted:
        bare = text.strip()
        if self.type == "int" and INTEGER.fullmatch(bare):
            return int(bare)
        if self.type == "float" and DECIMAL.fullmatch(bare) and math.isfinite(float(bare)):
            return float(bare)
        if self.type == "bool" and bare.lower() in TRUTHS:
            return TRUTHS[bare.lower()]
        if self.type == "list":
            items = tuple(item.strip() for item in text.split(",")) if bare else ()
            if all(items):
                return items
            raise Unfit(f"{self.described(text)} with an empty item")
        if self.type == "str":
            return text
        raise Unfit(self.described(text))

    def _is_within(self, value: Converted) -> bool:
        if self.type in NUMBERS and isinstance(value, (int, float)):
            return _is_between(value, self.minimum, self.maximum)
        if isinstance(value, (str, tuple)):
            return _is_between(len(value), self.min_length, self.max_length)
        return True

    def _measured(self, text: str, value: Converted) -> str:
        if isinstance(value, tuple):
            return f"{len(value)} item{'' if len(value) == 1 else 's'}"
        if self.secret or self.type in NUMBERS:
            return self.described(text)
        return f"{len(text)} character{'' if len(text) == 1 else 's'}"


def _is_between(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _span(least: float | None, most: float | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"{least} to {most}"


@dataclass(frozen=True)
class Value:
    """What the service gets for a key; ``text`` is None where it is there but cannot be read, such as an encrypted credential.

    ``source`` says where from, ``path`` names the file if it is one.
    """

    text: str | None
    source: str
    path: str = ""


@dataclass(frozen=True)
class Finding:
    """``problem`` is False for a value that fits and for an optional one that is not there."""

    problem: bool
    found: str
    remedy: str = ""


def judge(key: Key, value: Value | None, *, place: str) -> Finding:
    """Whether the service gets a value for ``key`` that fits; ``place`` says where one belongs, for the remedy."""
    if value is None and key.required:
        return Finding(True, "required, not set", f"Set it to {key.expected()} {place}.")
    if value is None:
        default = "no default" if key.default is None else f"default {_plain(key.default)}"
        return Finding(False, f"not set ({default})")
    if value.text is None:
        return Finding(False, f"there, not readable from here ({value.source})")
    try:
        key.convert(value.text)
    except Unfit as unfit:
        return Finding(True, f"{unfit.found} ({value.source})", f"Set it to {key.expected()} in {value.source}.")
    return Finding(False, f"{key.described(value.text)} ({value.source})")


def _plain(default: Converted) -> str:
    if isinstance(default, tuple):
        return ",".join(default) or "no items"
    return str(default).lower() if isinstance(default, bool) else shown(default, SHOWN_CHARACTERS)


@dataclass(frozen=True)
class Configuration:
    """What an operator declares: the keys, and files beside those of the unit; a leading dash makes a file optional."""

    keys: tuple[Key, ...] = ()
    files: tuple[str, ...] = ()

    def key(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)


def read(value: object, wrong: Wrong) -> Configuration:
    """Read the member ``configuration`` of an application; every mistake goes to ``wrong``."""
    values = known_members("configuration", value, ("files", "keys"), wrong)
    keys = values.get("keys", {})
    if not isinstance(keys, Mapping):
        wrong("configuration.keys", "a mapping of keys", kind_of(keys))
        keys = {}
    return Configuration(
        tuple(_key(name, description, wrong) for name, description in keys.items()),
        _files("configuration.files", values.get("files", []), wrong),
    )


def _key(name: object, description: object, wrong: Wrong) -> Key:
    where = f"configuration.keys.{name}"
    if not isinstance(name, str) or not NAME.fullmatch(name):  # YAML reads ON and NO as true and false
        wrong(where, "the name of an environment variable, as a text", name)
    values = known_members(where, description, KEYS_OF_KEY, wrong)
    kind = values.get("type", "str")
    if not isinstance(kind, str) or kind not in EXPECTED:
        wrong(f"{where}.type", f"one of {', '.join(EXPECTED)}", kind)
        kind = "str"
    credential = values.get("credential", name)
    if not isinstance(credential, str) or not CREDENTIAL.fullmatch(credential):
        wrong(f"{where}.credential", "the name of a credential", kind_of(credential))
        credential = ""
    limits = {limit: _limit(f"{where}.{limit}", values.get(limit), kind, wrong) for limit in LIMITS}
    for least, most in ((limits["minimum"], limits["maximum"]), (limits["min_length"], limits["max_length"])):
        if least is not None and most is not None and least > most:
            wrong(where, "a lower limit that is not above the upper one", f"{least} and {most}")
    key = Key(
        name=str(name),
        type=kind,
        required=_flag(f"{where}.required", values.get("required", False), wrong),
        secret=_flag(f"{where}.secret", values.get("secret", False), wrong),
        credential=credential,
        minimum=limits["minimum"],
        maximum=limits["maximum"],
        min_length=_whole(limits["min_length"]),
        max_length=_whole(limits["max_length"]),
    )
    default = values.get("default")
    if default is None:
        return key
    return Key(**{**vars(key), "default": _default(f"{where}.default", default, key, wrong)})


def _default(where: str, value: object, key: Key, wrong: Wrong) -> Converted | None:
    """A default as the type that the key has; one of a required or of a secret key would never be right."""
    if key.required:
        wrong(where, "no default, since the key is required", "one")
        return None
    if key.secret:
        wrong(where, "no default: a secret does not belong in a description", "one")
        return None
    if key.type == "list" and isinstance(value, (list, tuple)):
        for number, item in enumerate(value, 1):
            if isinstance(item, str) and (not item or "," in item or item != item.strip()):
                wrong(where, "items that are not empty, without commas or spaces around them", f"item {number}")
                return None
    fitting = {
        "str": isinstance(value, str),
        "int": is_whole(value),
        "float": is_number(value),
        "bool": isinstance(value, bool),
        "list": isinstance(value, (list, tuple)) and all(isinstance(item, str) or is_whole(item) for item in value),
    }
    try:
        if not fitting[key.type]:
            raise Unfit(kind_of(value))
        return key.convert(",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value))
    except Unfit as unfit:
        wrong(where, key.expected(), unfit.found)
        return None


def _limit(where: str, value: Any, kind: str, wrong: Wrong) -> float | None:
    if value is None:
        return None
    kinds = LIMITS[where.rpartition(".")[2]]
    if kind not in kinds:
        wrong(where, f"it only with the type {' or '.join(kinds)}", f"type {kind}")
        return None
    fits = is_number(value) if kind == "float" else is_whole(value)
    if not fits or (kinds is LENGTHS and value < 0):
        wrong(where, "a number" if kind == "float" else "a whole number", value)
        return None
    return int(value) if is_whole(value) else float(value)


def is_whole(value: object) -> bool:
    """Whether it is an integer of at most 18 digits; true and false are none. Ansible's own are of subclasses."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18


def is_number(value: object) -> bool:
    """Whether it is a number that can be compared."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _flag(where: str, value: object, wrong: Wrong) -> bool:
    if not isinstance(value, bool):
        wrong(where, "true or false", kind_of(value))
    return value is True


def _files(where: str, value: object, wrong: Wrong) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        wrong(where, "a list", kind_of(value))
        return ()
    for number, path in enumerate(value):
        bare = path.removeprefix("-") if isinstance(path, str) else ""
        if not bare or not FILE.fullmatch(path) or posixpath.normpath(bare) != bare:
            wrong(f"{where}[{number}]", "an absolute path, with a dash before it if it may be missing", path)
    return tuple(path for path in value if isinstance(path, str))


def known_members(where: str, value: object, keys: Sequence[str], wrong: Wrong) -> dict[str, Any]:
    """The members of a mapping that have one of these names. A value that is no mapping is named by its type alone: it may be the secret itself, put in the wrong place."""
    if not isinstance(value, Mapping):
        wrong(where, "a mapping", kind_of(value))
        return {}
    for key in value:
        if key not in keys:
            wrong(f"{where}.{key}", f"one of the keys {', '.join(keys)}", key)
    return {str(key): value[key] for key in value if key in keys}
