# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret as it is handed around: a name that anybody may know, and fields that nobody sees by accident."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..base.errors import Refusal, shown

NAME: Final = re.compile(r"(?=.{1,200}\Z)[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*){0,7}\Z")
FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
ONLY_FIELD: Final = "value"
MAX_FIELDS: Final = 32
MAX_VALUE: Final = 64 << 10


@dataclass(frozen=True, repr=False)
class Secret:
    """One version of a secret: ``fields`` by name, its ``kind`` where it has one, and for how long it may be kept (seconds).

    ``version`` is what its provider calls it. What holds values does not show them: neither as text nor in a traceback.
    """

    name: str
    fields: Mapping[str, str]
    kind: str | None = None
    description: str = ""
    version: str = ""
    lease_seconds: int | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"Secret(name={self.name!r}, fields={sorted(self.fields)}, kind={self.kind!r}, version={self.version!r})"

    def value(self, field_name: str | None = None) -> str:
        """The value of a field; without a name that of the only one. Refusals name fields, never values."""
        if field_name is None:
            if len(self.fields) != 1:
                raise Refusal(
                    "secret_field_needed",
                    expected=f"a field of {self.name}, since it has {len(self.fields)}",
                    found="none named",
                    remedy=f"Say field= with one of {', '.join(sorted(self.fields)) or 'none'}.",
                )
            return next(iter(self.fields.values()))
        if field_name not in self.fields:
            raise Refusal(
                "secret_field_missing",
                expected=f"a field {shown(field_name)} in {self.name}",
                found=", ".join(sorted(self.fields)) or "no field",
                remedy="Correct field=, or set the secret again with that field (make secrets-set).",
            )
        return self.fields[field_name]


def require_name(name: object) -> str:
    """The name of a secret: ``database/main``; it never means another path at a provider, nor a file."""
    if not isinstance(name, str) or not NAME.match(name):
        raise Refusal(
            "secret_name_invalid",
            expected="a name such as database/main: lower-case words of letters, digits, dashes and underscores, parted by /",
            found=shown(name),
            remedy="Correct the name.",
        )
    return name


def fields_of(name: str, data: Any) -> dict[str, str]:
    """The fields in what a provider has under a name: an object of plain values, or one text, whose field is then ``value``.

    Refusal ``secret_unreadable`` for anything else; what was there is not said.
    """
    given = {ONLY_FIELD: data} if isinstance(data, str) else data
    if not isinstance(given, Mapping) or not given:
        raise _unreadable(name, "no fields")
    found = {}
    for key, value in given.items():
        if not isinstance(key, str) or isinstance(value, bool) or not isinstance(value, (str, int)):
            raise _unreadable(name, "a field that is neither a text nor a whole number")
        found[key] = str(value)
    return found


def _unreadable(name: str, found: str) -> Refusal:
    return Refusal(
        "secret_unreadable",
        expected=f"{name} to have fields that are texts",
        found=found,
        remedy="Set the secret again (make secrets-set), or correct it where it is kept.",
    )
