# SPDX-License-Identifier: GPL-3.0-or-later
"""`.env` files: variables for development, and what an encrypted store is filled from.

A variable belongs to the declared secret that names it (``secrets_declared``), by default NAME_FIELD in upper case: DATABASE_MAIN_PASSWORD for
``password`` of ``database/main``, and without the field where that is ``value``. Any other variable is a secret of its own, named like it in lower case,
with the one field ``value``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import read_if_there
from .provider import Entry, Standing, Unknown, read_only
from .secret import NAME, ONLY_FIELD, VARIABLE, Secret, fields_of, require_name
from .secret_kind import KINDS, require_well_formed, required_fields

FILE_LIMIT: Final = 1 << 20
# Where plain files are good enough: who works there works with made-up values.
PLAIN_ENVIRONMENTS: Final = ("development", "lab", "test")


@dataclass(frozen=True)
class Declared:
    """A secret that somebody needs: its kind, what it is for, and which variable a field is in a `.env` file."""

    name: str
    kind: str | None = None
    description: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> list[str]:
        """The fields that it must have, and those that have a variable."""
        return list(
            dict.fromkeys([*([] if self.variables and not self.kind else required_fields(self.kind)), *self.variables])
        )

    def variable(self, field_name: str) -> str:
        words = self.name if field_name == ONLY_FIELD else f"{self.name}_{field_name}"
        return self.variables.get(field_name) or re.sub(r"[^A-Z0-9]", "_", words.upper())

    def known_fields(self) -> list[str]:
        """Every field that it may have."""
        return list(dict.fromkeys([*self.fields(), *(KINDS[self.kind] if self.kind else ())]))


@dataclass
class EnvFile:
    """The variables in a plain file."""

    ends_versions: ClassVar[bool] = True
    label: str
    path: Path
    declared: Sequence[Declared]
    environment: str

    @property
    def origin(self) -> Sequence[str]:
        return ()

    def read(self, name: str, version: str | None = None) -> Secret:
        found = {secret.name: secret for secret in self._secrets()}
        if name not in found or version is not None:
            raise Unknown(name)
        return found[name]

    def entries(self) -> list[Entry]:
        return [Entry(secret.name, secret.kind, secret.description) for secret in self._secrets()]

    def write(self, secret: Secret) -> str:
        raise self._read_only()

    def standing(self, name: str) -> Standing:
        self.read(name)
        return Standing()

    def version_after(self, version: str) -> str:
        raise self._read_only()

    def replace(self, secret: Secret, before: str) -> None:
        raise self._read_only()

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        raise self._read_only()

    def remove(self, name: str) -> None:
        raise self._read_only()

    def _read_only(self) -> Refusal:
        return read_only(f"{self.label}, a plain .env file", f"Write it into {self.path}")

    def _secrets(self) -> list[Secret]:
        require_plain_allowed(self.label, self.environment)
        data = read_if_there(self.path, limit=FILE_LIMIT, what="env file")
        if data is None:
            raise Refusal(
                "env_file_missing",
                expected=f"a .env file at {self.path}",
                found="no such file",
                remedy="Make one from what `make secrets-example` prints.",
            )
        return secrets_of(variables_of(data, str(self.path)), self.declared)


def require_plain_allowed(label: str, environment: str) -> None:
    """Refuse values in a plain file where they are real."""
    if environment not in PLAIN_ENVIRONMENTS:
        raise Refusal(
            "secrets_plain_refused",
            expected=f"SECRETS_MODE=encrypted for {label} in the environment {environment or 'that nobody named'}",
            found="plain",
            remedy=f"Encrypt the file (make secrets-encrypt), then say SECRETS_MODE=encrypted. Plain files are for {', '.join(PLAIN_ENVIRONMENTS)}.",
        )


def variables_of(data: bytes, where: str) -> dict[str, str]:
    """The variables of a `.env` file as python-dotenv reads them, without looking others up; a line that is none is refused."""
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(where, "a text in UTF-8", "other bytes") from None
    for binding in parse_stream(io.StringIO(text)):
        line = f"line {binding.original.line}"
        if binding.error or (binding.key is not None and (binding.value is None or not VARIABLE.match(binding.key))):
            raise _invalid(where, "lines like NAME=value", f"{line}, which is none")
        if binding.key is None:
            continue
        if binding.key in found:
            raise _invalid(where, "each variable once", f"{line}, which sets one again")
        found[binding.key] = binding.value or ""
    return found


def secrets_of(variables: Mapping[str, str], declared: Sequence[Declared]) -> list[Secret]:
    """The secrets that variables make up, sorted by name; those that are empty are not there. A name that two have is refused."""
    left = {name: value for name, value in variables.items() if value}
    found = []
    for each in declared:
        names = {field_name: each.variable(field_name) for field_name in each.known_fields()}
        fields = {field_name: left.pop(name) for field_name, name in names.items() if name in left}
        if fields:
            found.append(Secret(each.name, fields, each.kind, each.description))
    for variable, value in left.items():
        if not NAME.match(variable.lower()):
            raise _invalid(
                "the variables", "names of letters, digits and underscores that begin with a letter", "another"
            )
        found.append(Secret(variable.lower(), {ONLY_FIELD: value}))
    if len({secret.name for secret in found}) != len(found):
        raise _invalid(
            "the variables", "each secret once", "two variables whose names differ in upper and lower case only"
        )
    return sorted(found, key=lambda secret: secret.name)


def secrets_in(data: bytes, where: str, declared: Sequence[Declared]) -> list[Secret]:
    """The secrets in a `.env` or JSON file that is to be encrypted, each well formed.

    JSON is an object: {name: {field: value}}, or {VARIABLE: value} as in a `.env` file.
    """
    if not data.lstrip().startswith(b"{"):
        found = secrets_of(variables_of(data, where), declared)
    else:
        found = _of_json(data, where, declared)
    if not found:
        raise _invalid(where, "at least one variable with a value", "none")
    for secret in found:
        require_well_formed(secret.name, secret.kind, secret.fields)
    return found


def _of_json(data: bytes, where: str, declared: Sequence[Declared]) -> list[Secret]:
    try:
        document = canonical.parse(data, what="file of secrets", limit=FILE_LIMIT)
    except Refusal as refusal:
        raise _invalid(where, "one JSON object, each member once, numbers whole", refusal.reason) from None
    variables = {name: value for name, value in document.items() if isinstance(value, str) and VARIABLE.match(name)}
    by_name = {each.name: each for each in declared}
    found = secrets_of(variables, declared)
    for name, value in document.items():
        if name not in variables:
            known = by_name.get(require_name(name), Declared(name))
            found.append(Secret(name, fields_of(name, value), known.kind, known.description))
    if len({secret.name for secret in found}) != len(found):
        raise _invalid(where, "each secret once", "one as a name and as variables")
    return sorted(found, key=lambda secret: secret.name)


def example(declared: Sequence[Declared]) -> str:
    """A `.env.example`: every variable that is needed, with what it is for and without a value."""
    lines = ["# Copy to .env and fill in; never commit that. Written from secrets_declared by `make secrets-example`."]
    for each in sorted(declared, key=lambda secret: secret.name):
        about = f"{each.name}{f' ({each.kind})' if each.kind else ''}"
        lines += ["", f"# {about}: {each.description}" if each.description else f"# {about}"]
        lines += [f"{each.variable(field_name)}=" for field_name in each.fields()]
    return "\n".join(lines) + "\n"


def _invalid(where: str, expected: str, found: str) -> Refusal:
    return Refusal(
        "env_file_invalid",
        expected=f"{expected} in {where}",
        found=found,
        remedy="Correct the file; nothing of it was taken.",
    )
