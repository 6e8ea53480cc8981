# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators do to the encrypted store as a whole: make it with its key, fill it from a file, give it another key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..base.clock import Clock
from ..base.errors import Refusal
from ..base.files import read_if_there
from .access_log import EVERYTHING, AccessLog, Caller
from .env_file import FILE_LIMIT, Declared, secrets_in
from .local_store import LocalStore
from .provider import Unknown
from .secret import Secret
from .store_key import StoreKey, key_file, load_key, make_key, read_key


@dataclass
class StoreCommands:
    """The commands for one store on behalf of somebody; with ``check`` they say what they would change.

    ``key_path`` is what the settings say, and less than the environment does; ``given_key`` is a file that was named for this command.
    """

    label: str
    path: Path
    key_path: Path | None
    log: AccessLog
    caller: Caller
    clock: Clock
    given_key: Path | None = None
    check: bool = False
    _store: LocalStore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._store = LocalStore(self.label, self.path, self._key, self.clock)

    def make(self) -> bool:
        """Make the key and an empty store, each where there is none."""
        path = self.key_file()
        missing = path is not None and not os.path.lexists(path)
        if missing and os.path.lexists(self.path):
            raise Refusal(
                "secrets_key_missing",
                expected=f"the key of {self.path} at {path}",
                found="no such file",
                remedy="Bring it back from where it is kept, or name it in SECRETS_KEY_PATH; a new one would not open the store.",
            )
        if self.check:
            return missing or not os.path.lexists(self.path)
        if missing and path is not None:
            make_key(path)
        return self._store.make() or missing

    def encrypt(self, source: Path, declared: Sequence[Declared]) -> list[str]:
        """Take the secrets of a `.env` or JSON file into the store, all or none; returns the names of those that are new there."""
        data = read_if_there(source, limit=FILE_LIMIT, what="env file")
        if data is None:
            raise Refusal(
                "env_file_missing",
                expected=f"a .env or JSON file at {source}",
                found="no such file",
                remedy="Correct FILE=. `make secrets-example` prints which variables are needed.",
            )
        found = secrets_in(data, str(source), declared)
        self.make()
        added = [secret for secret in found if not self._has(secret)]
        if added and not self.check:
            for secret in added:
                self._note("write", secret.name, "begun")
            versions = self._store.write_all(added)
            for secret, version in zip(added, versions, strict=True):
                self._note("write", secret.name, "written", version=version)
        return [secret.name for secret in added]

    def rekey(self, new_key_path: Path) -> bool:
        """Encrypt the store with the key in another file, which is made where there is none. The old file stays: remove it when
        nobody needs it.
        """
        self._store.entries()  # whoever cannot read the store does not make a key for it
        if self.check:
            return True
        new = read_key(new_key_path) if os.path.lexists(new_key_path) else make_key(new_key_path)
        if new.id == self._key().id:
            return False
        self._note("rekey", EVERYTHING, "begun")
        self._store.rekey(new)
        self._note("rekey", EVERYTHING, "rekeyed")
        return True

    def _has(self, secret: Secret) -> bool:
        if self.check and not os.path.lexists(self.path):
            return False
        try:
            there = self._store.read(secret.name)
        except Unknown:
            return False
        return (there.fields, there.kind, there.description) == (secret.fields, secret.kind, secret.description)

    def key_file(self) -> Path | None:
        """The file that the key is in, or is to be in; None where the environment has the key itself."""
        return self.given_key or key_file(self.key_path)

    def _key(self) -> StoreKey:
        return read_key(self.given_key) if self.given_key else load_key(self.key_path)

    def _note(self, operation: str, name: str, outcome: str, version: str | None = None) -> None:
        self.log.note(
            self.caller,
            self.clock,
            operation=operation,
            name=name,
            outcome=outcome,
            provider=self.label,
            version=version,
        )
