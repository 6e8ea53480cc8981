# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a signed object strictly: each member by name and type, and none left over."""

from __future__ import annotations

import re
from typing import Any, Final

from .clock import seconds_of, timestamp
from .errors import Refusal, shown

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
RELEASE_ID: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}\Z")
SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
GIT_COMMIT: Final = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
ONE_LINE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]{1,255}\Z")

LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z, the last time that RFC 3339 can write

_REMEDY: Final = "Make the document again with a Slipway release that knows this format."


def require_release_id(release_id: str) -> None:
    """Refuse what cannot be the name of a release, and so the name of a file."""
    if not RELEASE_ID.match(release_id):
        raise Refusal(
            "release_id_invalid",
            expected="a release id of letters, digits, dots, dashes and underscores, such as v1.2.3",
            found=shown(release_id),
            remedy="Correct the release id.",
        )


class Fields:
    """The members of one JSON object: take each once, then `end()` refuses what nobody took.

    `where` names the object in refusals ("trust policy.roles"), `reason` is their code, `remedy` what to do.
    """

    def __init__(self, value: Any, where: str, reason: str, remedy: str = _REMEDY) -> None:
        self.where = where
        self.reason = reason
        self.remedy = remedy
        if not isinstance(value, dict):
            raise self.refusal("", "an object", value)
        if not all(isinstance(name, str) for name in value):  # YAML also has numbers and dates there
            raise self.refusal("", "member names that are texts", list(value))
        self._left = dict(value)

    def refusal(self, name: str, expected: str, found: object) -> Refusal:
        """Return the refusal for the member `name`."""
        place = f"{self.where}.{name}" if name else self.where
        return Refusal(
            self.reason,
            expected=f"{place}: {expected}",
            found=shown(found),
            remedy=self.remedy,
        )

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def names(self) -> list[str]:
        """The members that nobody took yet, sorted."""
        return sorted(self._left)

    def take(self, name: str) -> Any:
        """The member, of any type; it must be there."""
        if name not in self._left:
            raise self.refusal(name, "the member", "none")
        return self._left.pop(name)

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """A string that matches `pattern` from its start."""
        value = self.take(name)
        if not isinstance(value, str) or not pattern.match(value):
            raise self.refusal(name, f"a string like {pattern.pattern}", value)
        return value

    def choice(self, name: str, *choices: str) -> str:
        """One of a few strings."""
        value = self.take(name)
        if not isinstance(value, str) or value not in choices:
            raise self.refusal(name, f"one of {', '.join(choices)}", value)
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int = 2**53 - 1) -> int:
        """An integer from `minimum` to `maximum`; a boolean is none."""
        value = self.take(name)
        # What Ansible hands on is of a class of its own, derived from int.
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise self.refusal(name, f"an integer from {minimum} to {maximum}", value)
        return int(value)

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if type(value) is not bool:
            raise self.refusal(name, "true or false", value)
        return value

    def time(self, name: str) -> str:
        """RFC 3339 in UTC with whole seconds and a capital Z, exactly as `clock.timestamp` writes it."""
        value = self.take(name)
        if not isinstance(value, str) or not _is_time(value):
            raise self.refusal(name, "a time like 2026-11-21T03:12:56Z", value)
        return value

    def array(self, name: str, *, maximum: int) -> list[Any]:
        """An array of at most `maximum` items."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) > maximum:
            raise self.refusal(name, f"an array of at most {maximum} items", value)
        return value

    def object(self, name: str) -> Fields:
        """A nested object, to be read the same way."""
        return Fields(self.take(name), f"{self.where}.{name}", self.reason, self.remedy)

    def objects(self, name: str, *, maximum: int) -> list[Fields]:
        """An array of nested objects."""
        items = self.array(name, maximum=maximum)
        return [Fields(item, f"{self.where}.{name}[{i}]", self.reason, self.remedy) for i, item in enumerate(items)]

    def table(self, name: str, pattern: re.Pattern[str], *, maximum: int) -> dict[str, Fields]:
        """An object whose member names are data: each matches `pattern`, each value is an object."""
        table = self.object(name)
        return {key: table.object(key) for key in table.keys_like(pattern, maximum=maximum)}

    def keys_like(self, pattern: re.Pattern[str], *, maximum: int) -> list[str]:
        """The sorted member names of this object, which all match `pattern`."""
        names = self.names()
        if len(names) > maximum:
            raise self.refusal("", f"at most {maximum} members", len(names))
        for name in names:
            if not pattern.match(name):
                raise self.refusal("", f"member names like {pattern.pattern}", name)
        return names

    def end(self) -> None:
        """Refuse members that nobody took: what we do not know, we do not promise to honour."""
        if self._left:
            raise self.refusal("", "no further member", self.names())


def _is_time(text: str) -> bool:
    try:
        return timestamp(seconds_of(text)) == text
    except (ValueError, OverflowError):
        return False
