# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit gives its service: environment variables, environment files and credentials, as systemd says it.

``systemctl show`` cannot print credentials, so those come from busctl, which needs the system bus; they are asked for only
when something is not among the variables.
"""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..base.command import Runner
from ..base.errors import Refusal
from ..base.files import read_regular
from .configuration import Value

FILE_LIMIT: Final = 1 << 20
SECONDS: Final = 10.0
PROPERTIES: Final = (
    "ControlGroup", "DynamicUser", "Environment", "EnvironmentFiles", "LoadState", "NeedDaemonReload", "NoNewPrivileges",
    "TriggeredBy", "UnitFileState", "UnsetEnvironment", "User",
)  # fmt: skip
CREDENTIALS: Final = (
    "LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted",
    "ImportCredential",  # the last one, since systemd knows it from version 254 on
)  # fmt: skip
STORES: Final = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}
WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)', re.DOTALL)
ESCAPED: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
SPACES: Final = " \t\n\r"
LINE_ENDS: Final = "\n\r"
KEPT_IN_QUOTES: Final = '"\\`$'


@dataclass(frozen=True)
class Unit:
    """What systemd says of a unit that may be loaded or not."""

    name: str
    run: Runner
    properties: Mapping[str, Sequence[str]]

    @classmethod
    def ask(cls, name: str, run: Runner) -> Unit:
        shown = run(
            ("systemctl", "--no-ask-password", "show", f"--property={','.join(PROPERTIES)}", name),
            timeout_seconds=SECONDS,
        )
        properties: dict[str, list[str]] = {}
        for line in shown.output.splitlines():
            key, separator, value = line.partition("=")
            if separator:
                properties.setdefault(key, []).append(value)
        return cls(name, run, properties)

    def value(self, name: str) -> str:
        return (self.properties.get(name) or [""])[0]

    @property
    def is_loaded(self) -> bool:
        return self.value("LoadState") == "loaded"

    def variables(self) -> dict[str, str]:
        """What ``Environment=`` says."""
        assignments = (word.partition("=") for word in split_words(self.value("Environment")))
        return {name: value for name, separator, value in assignments if separator}

    def files(self) -> list[str]:
        """What ``EnvironmentFile=`` names, each with a dash before it when it may be missing."""
        found = []
        for value in self.properties.get("EnvironmentFiles", ()):
            if match := re.fullmatch(r"(.+) \(ignore_errors=(yes|no)\)", value):
                found.append(("-" if match[2] == "yes" else "") + match[1])
        return found

    def unset(self) -> list[str]:
        """The names that ``UnsetEnvironment=`` takes away again (an assignment there is too rare to follow)."""
        return split_words(self.value("UnsetEnvironment"))

    def credentials(self) -> Credentials:
        """What the unit loads as credentials; Refusal ``credentials_unknown`` where systemd cannot be asked."""
        path = f"/org/freedesktop/systemd1/unit/{bus_name(self.name)}"
        asked = self.run(
            (
                "busctl", "--json=short", "get-property", "org.freedesktop.systemd1", path,
                "org.freedesktop.systemd1.Service", *CREDENTIALS,
            ),
            timeout_seconds=SECONDS,
        )  # fmt: skip
        answers = list(_json_lines(asked.output))
        if len(answers) < len(CREDENTIALS) - 1:
            raise Refusal(
                "credentials_unknown",
                expected=f"systemd to say which credentials {self.name} loads",
                found="no answer of busctl",
                remedy="Install dbus and start it, or give the values in the environment.",
            )
        load, encrypted, inline, inline_encrypted, *imported = answers
        return Credentials(
            sources={
                **{name: (path, True) for name, path in encrypted},
                **{name: (path, False) for name, path in load},
            },
            inline=frozenset(item[0] for item in (*inline, *inline_encrypted)),
            imported=tuple(imported[0]) if imported else (),
        )


def _json_lines(output: str) -> Iterator[Any]:
    """The answers among what busctl says; a complaint about the property after them may come first, from its other stream."""
    for line in output.splitlines():
        try:
            yield json.loads(line)["data"]
        except (ValueError, KeyError, TypeError):
            continue


def bus_name(unit: str) -> str:
    """The name of a unit in the path of its object on the bus."""
    return "".join(
        character
        if character.isascii() and (character.isalpha() or (character.isdigit() and number > 0))
        else f"_{ord(character):02x}"
        for number, character in enumerate(unit)
    )


def split_words(text: str) -> list[str]:
    """The words of a list as ``systemctl show`` prints it: bare, or in double quotes with C's escapes."""
    return [
        _unescaped(quoted) if bare == "" else bare
        for quoted, bare in ((m[1] or "", m[2] or "") for m in WORD.finditer(text))
    ]


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] == "x" and len(code) == 3:
            return chr(int(code[1:], 16))
        return chr(int(code, 8)) if len(code) == 3 else ESCAPES.get(code, code)

    return ESCAPED.sub(character, text)


@dataclass(frozen=True)
class Credentials:
    """``sources`` maps a name to its path and whether it is encrypted; ``inline`` are those that the unit has in itself;
    ``imported`` are patterns of names in the credential stores.
    """

    sources: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    inline: frozenset[str] = frozenset()
    imported: tuple[str, ...] = ()

    def find(self, name: str, root: Path) -> Value | None:
        """The credential of that name; None where the unit loads none.

        Refusal ``credential_missing`` where it loads one whose source is not there: it would not start.
        """
        if name in self.sources:
            path, is_encrypted = self.sources[name]
            return self._from(name, path, root, is_encrypted=is_encrypted)
        for parent, (path, is_encrypted) in self.sources.items():
            place = below(root, path)
            if name.startswith(f"{parent}_") and path.startswith("/") and place.is_dir():
                return self._from(name, f"{path}/{name.removeprefix(f'{parent}_')}", root, is_encrypted=is_encrypted)
        if name in self.inline:
            return Value(None, "a credential in the unit itself")
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.imported):
            stored = [Path(store, name) for store in (*STORES, *(f"{store}.encrypted" for store in STORES))]
            found = next((path for path in stored if below(root, str(path)).is_file()), None)
            if found is not None:
                return self._read(str(found), root, is_encrypted=found.parent.name.endswith(".encrypted"))
        return None

    def _from(self, name: str, path: str, root: Path, *, is_encrypted: bool) -> Value | None:
        candidates = [path] if path.startswith("/") else [f"{store}/{path}" for store in STORES]
        if not path.startswith("/") and is_encrypted:
            candidates += [f"{store}.encrypted/{path}" for store in STORES]
        for candidate in candidates:
            if below(root, candidate).exists():
                return self._read(candidate, root, is_encrypted=is_encrypted)
        if name in self.inline:
            return Value(None, "a credential in the unit itself")
        raise Refusal(
            "credential_missing",
            expected=f"the source of the credential {name}: {path}",
            found=f"no {candidates[0]}" if len(candidates) == 1 else f"none of {', '.join(candidates)}",
            remedy=f"Put it there, readable by root only, or take LoadCredential={name} out of the unit.",
        )

    def _read(self, path: str, root: Path, *, is_encrypted: bool) -> Value:
        source = f"the credential {path}"
        place = below(root, path)
        if is_encrypted or not stat.S_ISREG(os.stat(place).st_mode):
            return Value(None, source, path)
        data = read_regular(place.resolve(), limit=FILE_LIMIT, what="credential")
        try:
            return Value(data.decode().removesuffix("\n"), source, path)
        except UnicodeDecodeError:
            return Value(None, source, path)


def below(root: Path, path: str) -> Path:
    """An absolute path of the host, for a host whose root is elsewhere in tests."""
    return root / path.lstrip("/")


@dataclass(frozen=True)
class EnvironmentFile:
    """One environment file as found: ``problem`` says why systemd could not read it, "" when it could."""

    path: str
    variables: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def read_files(names: Iterable[str], root: Path) -> list[EnvironmentFile]:
    """The files that are there, in order. A name may be a pattern; a missing one is a problem unless a dash precedes it."""
    found: list[EnvironmentFile] = []
    for name in names:
        path = name.removeprefix("-")
        places = sorted(glob.glob(str(below(root, path)))) if glob.has_magic(path) else [str(below(root, path))]
        there = [place for place in places if Path(place).exists()]
        if not there and not name.startswith("-"):
            found.append(EnvironmentFile(path, problem="not there"))
        found += [_read_file("/" + str(Path(place).relative_to(root)), root) for place in there]
    return found


def _read_file(path: str, root: Path) -> EnvironmentFile:
    try:
        text = read_regular(below(root, path).resolve(), limit=FILE_LIMIT, what="environment file").decode()
    except UnicodeDecodeError:
        return EnvironmentFile(path, problem="not UTF-8")
    except Refusal as refusal:
        return EnvironmentFile(path, problem=refusal.found)
    except OSError as error:
        return EnvironmentFile(path, problem=error.strerror or "not readable")
    return EnvironmentFile(path, parse_environment_file(text))


def gather(unit: Unit | None, files: Iterable[EnvironmentFile]) -> dict[str, Value]:
    """The variables that the service gets, later sources winning, each with where it comes from."""
    values: dict[str, Value] = {}
    if unit is not None:
        values = {name: Value(text, f"Environment= of {unit.name}") for name, text in unit.variables().items()}
    for file in files:
        values |= {name: Value(text, file.path, file.path) for name, text in file.variables.items()}
    for name in unit.unset() if unit is not None else ():
        values.pop(name, None)
    return values


def parse_environment_file(text: str) -> dict[str, str]:
    """What systemd takes out of an environment file (systemd.exec(5)); lines that it ignores are ignored.

    A line is NAME=value, without a comment sign at its beginning. Quoted parts may span lines; what follows them is part
    of the value too. Names that are none, such as ``export NAME``, are left out.
    """
    return {name: value for name, value in _Assignments(text) if VARIABLE.fullmatch(name)}


class _Assignments:
    """Reads one character after the other: what a backslash means depends on where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while self._at < len(self._text):
            if self._text[self._at] in SPACES:
                self._at += 1
            elif self._text[self._at] in "#;":
                self._line(stop="")
            else:
                name = self._line(stop="=")
                if self._text[self._at : self._at + 1] == "=":
                    self._at += 1
                    yield name.strip(SPACES), self._value()

    def _line(self, stop: str) -> str:
        """The rest of the line, or up to ``stop``."""
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in LINE_ENDS + stop:
            self._at += 1
        return self._text[start : self._at]

    def _value(self) -> str:
        """Pieces until the line ends: spaces around them go, those inside of an unquoted one stay."""
        pieces: list[str] = []
        while self._at < len(self._text) and self._text[self._at] not in LINE_ENDS:
            character = self._text[self._at]
            if character in " \t":
                self._at += 1
            elif character == "'":
                pieces.append(self._single())
            elif character == '"':
                pieces.append(self._double())
            else:
                pieces.append(self._bare())
        return "".join(pieces)

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        end = len(self._text) if end < 0 else end
        piece = self._text[self._at + 1 : end]
        self._at = end + 1
        return piece

    def _double(self) -> str:
        piece = ""
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != '"':
            if self._text[self._at] == "\\" and self._at + 1 < len(self._text):
                self._at += 1
                escaped = self._text[self._at]
                piece += "" if escaped == "\n" else escaped if escaped in KEPT_IN_QUOTES else f"\\{escaped}"
            else:
                piece += self._text[self._at]
            self._at += 1
        self._at += 1
        return piece

    def _bare(self) -> str:
        """Up to the end of the line; quotes inside are nothing special, spaces at the end go unless escaped."""
        piece, kept = "", 0
        while self._at < len(self._text) and self._text[self._at] not in LINE_ENDS:
            character = self._text[self._at]
            if character == "\\":
                self._at += 1
                character = self._text[self._at : self._at + 1]
                piece += "" if character in LINE_ENDS else character
                kept = len(piece)
            else:
                piece += character
                kept = kept if character in " \t" else len(piece)
            self._at += 1
        return piece[:kept]
