# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted store: one file, whole or not at all, that anybody may see and only who has the key can read or change.

The file is a line of canonical JSON, {"cipher": "AES-256-GCM", "format": 1, "key": id, "nonce": base64 of 12 bytes}, and a line of
base64: the ciphertext and its tag (NIST SP 800-38D), authenticated together with the first line. Inside is canonical JSON:
{"secrets": {name: {"description", "kind", "versions": [{"fields", "version", "written"}]}}}, the newest version last.

Nobody can change a byte unseen. Who can write the file can put an older one of the same key back: it is one file, and who needs to
know keeps it in a repository.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from ..base import canonical
from ..base.clock import Clock, SystemClock, seconds_of, timestamp
from ..base.errors import Refusal
from ..base.fields import Fields
from ..base.files import full_disk_is_a_refusal, read_if_there, write_durable
from .provider import Entry, Standing, Unknown, overtaken
from .secret import Secret
from .store_key import StoreKey

CIPHER: Final = "AES-256-GCM"
FORMAT: Final = 1
NONCE_BYTES: Final = 12
STORE_LIMIT: Final = 16 << 20
VERSIONS_KEPT: Final = 5
_Content = dict[str, Any]


@dataclass
class LocalStore:
    """The store at ``path``, opened with the key that ``key`` returns: it is asked for when it is needed."""

    ends_versions: ClassVar[bool] = True
    label: str
    path: Path
    key: Callable[[], StoreKey] = field(repr=False)
    clock: Clock = field(default_factory=SystemClock, repr=False)
    _read: tuple[tuple[int, ...], StoreKey, _Content] | None = field(default=None, repr=False)

    @property
    def origin(self) -> Sequence[str]:
        return ()

    def read(self, name: str, version: str | None = None) -> Secret:
        kept = self._content().get(name)
        versions = [each for each in kept["versions"] if version in (None, str(each["version"]))] if kept else []
        if kept is None or not versions:
            raise Unknown(name)
        newest = versions[-1]
        return Secret(name, dict(newest["fields"]), kept["kind"], kept["description"], str(newest["version"]))

    def entries(self) -> list[Entry]:
        return [
            Entry(name, kept["kind"], kept["description"], str(kept["versions"][-1]["version"]))
            for name, kept in sorted(self._content().items())
        ]

    def write(self, secret: Secret) -> str:
        return self.write_all([secret])[0]

    def write_all(self, added: Sequence[Secret]) -> list[str]:
        """Add all of them by one rename; returns their versions."""
        with self._changing():
            return self._add(added)

    def _add(self, added: Sequence[Secret]) -> list[str]:
        content = {name: dict(kept) for name, kept in self._content().items()}
        versions = []
        for secret in added:
            before = content.get(secret.name, {"versions": []})["versions"]
            number = before[-1]["version"] + 1 if before else 1
            now = {"fields": dict(secret.fields), "version": number, "written": timestamp(self.clock.now())}
            content[secret.name] = {
                "description": secret.description, "kind": secret.kind, "versions": [*before, now][-VERSIONS_KEPT:],
            }  # fmt: skip
            versions.append(str(number))
        self._write(content, self.key())
        return versions

    def _versions(self, content: _Content, name: str) -> list[dict[str, Any]]:
        """The versions of a secret, the newest last."""
        if name not in content:
            raise Unknown(name)
        versions: list[dict[str, Any]] = content[name]["versions"]
        return versions

    def standing(self, name: str) -> Standing:
        newest = self._versions(self._content(), name)[-1]
        return Standing(str(newest["version"]), seconds_of(newest["written"]))

    def version_after(self, version: str) -> str:
        return str(int(version) + 1)

    def replace(self, secret: Secret, before: str) -> None:
        with self._changing():
            versions = self._content().get(secret.name, {"versions": []})["versions"]
            newest = str(versions[-1]["version"]) if versions else ""
            if newest != before or (before and secret.version != self.version_after(before)):
                raise overtaken(self.label, secret.name, before)
            self._add([secret])

    def retire(self, name: str, version: str, *, destroyed: bool) -> None:
        with self._changing():
            content = {**self._content()}
            versions = self._versions(content, name)
            left = [each for each in versions[:-1] if str(each["version"]) != version]
            content[name] = {**content[name], "versions": [*left, versions[-1]]}
            self._write(content, self.key())

    def remove(self, name: str) -> None:
        with self._changing():
            content = {**self._content()}
            if content.pop(name, None):
                self._write(content, self.key())

    def make(self) -> bool:
        """Make an empty store where there is none; returns whether there was none."""
        with self._changing():
            if os.path.lexists(self.path):
                self._content()
                return False
            self._write({}, self.key())
            return True

    def rekey(self, new: StoreKey) -> None:
        """Encrypt all of it with another key, by one rename: before it the old key opens the store, after it the new one."""
        with self._changing():
            self._write(self._content(), new)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One writer at a time; readers see the file of before until the rename."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            with full_disk_is_a_refusal(self.path.parent, what="keep secrets"):
                yield
        finally:
            os.close(directory)

    def _content(self) -> _Content:
        """What is in the file, decrypted once for each state of it."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            raise self._missing() from None
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if self._read is None or self._read[0] != state:
            key = self.key()
            data = read_if_there(self.path, limit=STORE_LIMIT, what="secret store")
            if data is None:
                raise self._missing()
            self._read = (state, key, self._decrypted(data, key))
        return self._read[2]

    def _decrypted(self, data: bytes, key: StoreKey) -> _Content:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        header, _, body = data.partition(b"\n")
        fields = Fields(self._parsed(header), "secret store", "secret_store_altered", self._remedy)
        fields.choice("cipher", CIPHER)
        fields.integer("format", minimum=FORMAT, maximum=FORMAT)
        key_id, nonce = fields.take("key"), fields.take("nonce")
        fields.end()
        if key_id != key.id:
            raise Refusal(
                "secrets_key_wrong",
                expected=f"the key {key_id} that {self.path} was encrypted with",
                found=f"the key {key.id}",
                remedy="Name the right key file in SECRETS_KEY_PATH. Without its key a store cannot be read.",
            )
        try:
            sealed = base64.b64decode(body.removesuffix(b"\n"), validate=True)
            if base64.b64encode(sealed) + b"\n" != body:  # stray bits, which a decoder does not see
                raise ValueError
            plain = AESGCM(key.material).decrypt(base64.b64decode(nonce, validate=True), sealed, header)
        except (InvalidTag, binascii.Error, ValueError, TypeError):
            raise self._altered("other bytes") from None
        content: _Content = canonical.parse_canonical(plain, what="secret store", limit=STORE_LIMIT)["secrets"]
        return content

    def _parsed(self, header: bytes) -> Any:
        try:
            return canonical.parse_canonical(header, what="secret store", limit=1024)
        except Refusal as refusal:
            raise self._altered(f"a first line that is none ({refusal.reason})") from None

    def _write(self, content: _Content, key: StoreKey) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        header = canonical.encode(
            {"cipher": CIPHER, "format": FORMAT, "key": key.id, "nonce": base64.b64encode(nonce).decode()}
        )
        sealed = AESGCM(key.material).encrypt(nonce, canonical.encode({"secrets": content}), header)
        data = header + b"\n" + base64.b64encode(sealed) + b"\n"
        if len(data) > STORE_LIMIT:
            raise Refusal(
                "secret_store_full",
                expected=f"at most {STORE_LIMIT} bytes in {self.path}",
                found=str(len(data)),
                remedy="Keep some of the secrets elsewhere; nothing was written.",
            )
        write_durable(self.path, data, mode=0o600)
        self._read = None

    @property
    def _remedy(self) -> str:
        return f"Put {self.path} back from where it is backed up; find out who changed it. Nothing of it was used."

    def _altered(self, found: str) -> Refusal:
        return Refusal(
            "secret_store_altered",
            expected=f"{self.path} as Slipway wrote it",
            found=found,
            remedy=self._remedy,
        )

    def _missing(self) -> Refusal:
        return Refusal(
            "secret_store_missing",
            expected=f"an encrypted store at {self.path}",
            found="no file",
            remedy="Make it with `make secrets-encrypt FILE=<a .env or JSON file>`, or empty with `make secrets-key KEY=<path>`; or correct path of the provider.",
        )
