# SPDX-License-Identifier: GPL-3.0-or-later
"""Ed25519 keys (RFC 8032): how they are named, read, made, and which of them are refused."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ..base import canonical
from ..base.errors import Refusal, shown

# Importing cryptography costs a host some 80 ms, so only what needs a key pays for it.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class SigningKey(Protocol):
    """What signs: a private key in memory, or one that stays where it is (signer.AgentKey)."""

    def public_key(self) -> Ed25519PublicKey: ...

    def sign(self, data: bytes, /) -> bytes: ...


SIGNATURE_BYTES: Final = 64
MAX_KEY_FILE_BYTES: Final = 16 * 1024

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# The y coordinates of the eight points whose order divides 8. Under such a key a signature holds for any message.
_SMALL_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8, _P - _ORDER_8})


def load_cryptography() -> None:
    """Import what is used of it and have it load its library: for a process that does so once for many."""
    from cryptography.hazmat.primitives import serialization  # noqa: F401 - imported for whoever needs it next
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key.public_key().verify(key.sign(b""), b"")


def _weakness(raw: bytes) -> str | None:
    """Say why `raw` cannot serve as a public key, or return None."""
    if len(raw) != 32:
        return f"{len(raw)} bytes"
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _P:
        return "a non-canonical encoding"
    if y in _SMALL_ORDER_Y:
        return "a point of small order"
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(x_squared, (_P - 1) // 2, _P) != 1:
        return "no point of the curve"
    return None


@dataclass(frozen=True)
class PublicKey:
    """A 32-byte Ed25519 public key; equal when the bytes are equal, whatever anyone calls it."""

    raw: bytes

    def __post_init__(self) -> None:
        weakness = _weakness(self.raw)
        if weakness:
            raise Refusal(
                "key_weak",
                expected="a canonical Ed25519 public key of full order, 32 bytes",
                found=weakness,
                remedy="Make a new key pair and put its public key in place of this one.",
            )

    @classmethod
    def from_hex(cls, text: object) -> PublicKey:
        """Read 64 lower-case hex digits; anything else, of whatever type, is no key."""
        if not isinstance(text, str) or len(text) != 64 or set(text) - set("0123456789abcdef"):
            raise Refusal(
                "key_invalid",
                expected="a public key as 64 lower-case hex digits",
                found=shown(text),
                remedy="Give the key as `playbooks/keys.yml` prints it.",
            )
        return cls(bytes.fromhex(text))

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read 64 lower-case hex digits, or a line of an OpenSSH public key file (`ssh-ed25519 AAAA… comment`)."""
        if not text.startswith("ssh-ed25519 "):
            return cls.from_hex(text)
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

        try:
            public = load_ssh_public_key(text.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise Refusal(
                "key_invalid",
                expected="a line of an OpenSSH public key file, as `ssh-add -L` prints it",
                found=shown(text),
                remedy="Copy the whole line.",
            ) from None
        return cls(public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    @classmethod
    def of(cls, private: SigningKey) -> PublicKey:
        """Return the public half of `private`."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return cls(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def hex(self) -> str:
        """The key as 64 lower-case hex digits."""
        return self.raw.hex()

    @cached_property
    def keyid(self) -> str:
        """The name securesystemslib gives this key: the sha256 of its canonical JSON description."""
        description = {"keytype": "ed25519", "keyval": {"public": self.hex}, "scheme": "ed25519"}
        return hashlib.sha256(canonical.encode(description)).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` is this key's over `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def new_private_key(passphrase: bytes | None = None) -> tuple[Ed25519PrivateKey, bytes]:
    """Return a new private key and its PKCS 8 PEM, which is encrypted when there is a passphrase."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        KeySerializationEncryption,
        NoEncryption,
        PrivateFormat,
    )

    private = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return private, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def generate_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Make a key pair and keep it at `path` (PKCS 8 PEM, mode 0600, its directory 0700); never overwrite one.

    With a passphrase the PEM is encrypted. Raises Refusal("key_exists") when something is there already, also when it
    came between our look and our write.
    """
    private, pem = new_private_key(passphrase)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, path)  # unlike rename, link fails when the name is taken
    except FileExistsError:
        raise Refusal(
            "key_exists",
            expected=f"no file at {path}",
            found="one",
            remedy="A key is never overwritten: move it away first if it is to be replaced.",
        ) from None
    finally:
        draft.unlink()
    return private


def is_encrypted(path: Path) -> bool:
    """Whether the private key at `path` needs a passphrase."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in _read_secret(path)


def load_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Read a PKCS 8 PEM Ed25519 key that nobody but its owner can read, or raise Refusal."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _read_secret(path)
    try:
        private = load_pem_private_key(pem, passphrase)
    except TypeError:
        found = "an encrypted key and no passphrase" if passphrase is None else "a passphrase for a key without one"
        raise _bad_key(path, found) from None
    except (ValueError, UnsupportedAlgorithm):
        found = "a file that is no private key" if passphrase is None else "a wrong passphrase or a damaged key"
        raise _bad_key(path, found) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise _bad_key(path, f"a key of another algorithm ({type(private).__name__.strip('_')})")
    return private


def _bad_key(path: Path, found: str) -> Refusal:
    return Refusal(
        "key_invalid",
        expected=f"an Ed25519 private key (PKCS 8 PEM) at {path}",
        found=found,
        remedy="Check the path, and the passphrase (approval_passphrase for approvals; a terminal asks for it); "
        "`ansible-playbook playbooks/keys.yml` makes a missing key pair.",
    )


def _read_secret(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _bad_key(path, error.strerror or "an unreadable file") from None
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _bad_key(path, "no regular file")
        if status.st_mode & 0o077:
            raise Refusal(
                "key_exposed",
                expected=f"{path} readable by its owner only (mode 0600)",
                found=f"mode {stat.S_IMODE(status.st_mode):04o}",
                remedy="chmod 600 it, and replace the key if others could have read it.",
            )
        return stream.read(MAX_KEY_FILE_BYTES)
