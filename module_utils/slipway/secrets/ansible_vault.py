# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that ansible-vault encrypted: {name: {field: value}} or {name: value} in YAML, edited by `ansible-vault edit`.

Values are texts, as they are written: YAML itself would make 42798 of a PIN 0123456, and true of yes.

Who decrypts it is Ansible itself, with the passwords that the run was given; the door hands that in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import yaml

from ..base.errors import Refusal
from ..base.files import read_if_there
from .provider import Entry, Standing, Unknown, read_only
from .secret import NAME, Secret, fields_of
from .volatile import hashed

FILE_LIMIT: Final = 4 << 20
HEADER: Final = b"$ANSIBLE_VAULT;"
DEEPEST: Final = 8  # of a document, its mapping, and the fields of one name, with what a merge key may have


class _Texts(yaml.SafeLoader):
    """YAML whose scalars are texts, but for a null; a key that stands twice and what is nested too deep are errors of YAML."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError("nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _value in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            raise yaml.YAMLError("a key stands twice")
        return node


def _as_written(loader: _Texts, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _kind in ("bool", "float", "int", "merge", "timestamp", "value"):
    _Texts.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_written)


class NotDecrypted(Exception):
    """No password that the run was given opens it."""


@dataclass
class AnsibleVaultFile:
    """The file at ``path``; ``decrypt`` raises NotDecrypted."""

    ends_versions: ClassVar[bool] = True
    label: str
    path: Path
    decrypt: Callable[[bytes], bytes] = field(repr=False)

    @property
    def origin(self) -> Sequence[str]:
        """Its content is in it: what was cached of another content is not found. Only whoever has the password filled that cache."""
        return ("ansible_vault", str(self.path), hashed(self._bytes().decode("ascii", "replace")))

    def read(self, name: str, version: str | None = None) -> Secret:
        content = self._content()
        if name not in content or version is not None:
            raise Unknown(name)
        return Secret(name, fields_of(name, content[name]))

    def entries(self) -> list[Entry]:
        return [Entry(name) for name in sorted(self._content())]

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
        return read_only(f"{self.label}, a file of ansible-vault", f"Add it with `ansible-vault edit {self.path}`")

    def _bytes(self) -> bytes:
        data = read_if_there(self.path, limit=FILE_LIMIT, what="vault file")
        if data is None or not data.startswith(HEADER):
            raise Refusal(
                "vault_file_missing" if data is None else "vault_file_plain",
                expected=f"a file that ansible-vault encrypted at {self.path}",
                found="no such file" if data is None else "a file that is not encrypted",
                remedy=f"Make it with `ansible-vault create {self.path}`, or encrypt it with `ansible-vault encrypt {self.path}`.",
            )
        return data

    def _content(self) -> dict[str, Any]:
        try:
            plain = self.decrypt(self._bytes())
        except NotDecrypted:
            raise Refusal(
                "vault_password_missing",
                expected=f"the password of {self.path}",
                found="none among those that this run was given",
                remedy="Run with --vault-id or --vault-password-file (in make: OPTIONS='--vault-id …').",
            ) from None
        try:
            content = yaml.load(plain, _Texts)  # noqa: S506 - it constructs less than SafeLoader
        except yaml.YAMLError:  # whose text shows the line
            content = None
        if not isinstance(content, dict) or not all(isinstance(name, str) and NAME.match(name) for name in content):
            raise Refusal(
                "vault_file_unreadable",
                expected=f"names of secrets with fields in {self.path}, each once, such as database/main: {{password: …}}",
                found="something else",
                remedy=f"Correct it with `ansible-vault edit {self.path}`.",
            )
        return content
