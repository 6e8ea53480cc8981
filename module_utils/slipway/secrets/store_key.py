# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of the encrypted local store: where it comes from, and that it does not stay in any environment.

In this order: the file that ``SECRETS_KEY_PATH`` names, the file of the provider's ``key_path`` if it is there, ``SECRETS_KEY``. The last one is for
machines that can give nothing but variables: it is taken out of the environment before Ansible starts its workers.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable

KEY_BYTES: Final = 32
KEY_FILE_LIMIT: Final = 1024
VARIABLE: Final = "SECRETS_KEY"
PATH_VARIABLE: Final = "SECRETS_KEY_PATH"
_MAKE: Final = (
    "Make one with `make secrets-key KEY=<path>` and name it in SECRETS_KEY_PATH or in key_path of the provider."
)
_taken: list[str] = []


@dataclass(frozen=True)
class StoreKey:
    """32 bytes for AES-256, and the name by which a store says which key it needs."""

    material: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """16 hex digits that say nothing of the key."""
        return hashlib.sha256(b"slipway store key\0" + self.material).hexdigest()[:16]


def take_from_environment(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Keep ``SECRETS_KEY`` in this process and its forks, and remove it from the environment, also as /proc shows it.

    Children that are started later do not get it. Those of before have it, and so has who set it.
    """
    if VARIABLE not in environment:
        return False
    _taken[:] = [environment.pop(VARIABLE)]
    if environment is os.environ:
        _wipe(VARIABLE.encode())
    return True


def _wipe(name: bytes) -> None:
    """Overwrite the value where the kernel put it when the process was started (proc(5), environ and stat fields 50 and 51)."""
    with open("/proc/self/environ", "rb") as stream:
        block = stream.read()
    with open("/proc/self/stat", "rb") as stream:
        numbers = stream.read().rpartition(b")")[2].split()
    start, end = int(numbers[47]), int(numbers[48])
    offset = 0
    for entry in block.split(b"\0"):
        if entry.startswith(name + b"=") and start and start + offset + len(entry) <= end:
            ctypes.memset(start + offset + len(name) + 1, ord("x"), len(entry) - len(name) - 1)
        offset += len(entry) + 1


def written_by_runner(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file in which ansible-runner keeps its whole environment beside the artifacts of this run, if the key stands in it."""
    artifacts = environment.get("AWX_ISOLATED_DATA_DIR")
    path = Path(artifacts) / "command" if artifacts and _taken else None
    try:
        return path if path is not None and _taken[0].encode() in path.read_bytes() else None
    except OSError:
        return None


def load_key(key_path: Path | None, environment: MutableMapping[str, str] = os.environ) -> StoreKey:
    """The key, from the first place that has one; Refusals ``secrets_key_missing``, ``secrets_key_exposed``, ``secrets_key_invalid``."""
    path = key_file(key_path, environment)
    if path is not None:
        return read_key(path)
    if not _taken:
        raise _missing("SECRETS_KEY_PATH, key_path and SECRETS_KEY are all not set")
    return _parsed(_taken[0], VARIABLE)


def key_file(key_path: Path | None, environment: MutableMapping[str, str] = os.environ) -> Path | None:
    """The file that the key is in, or would have to be; None where ``SECRETS_KEY`` is the key, or nothing is."""
    take_from_environment(environment)
    if named := environment.get(PATH_VARIABLE):
        return Path(named).expanduser()
    return None if key_path is None or (_taken and not os.path.lexists(key_path)) else key_path


def read_key(path: Path) -> StoreKey:
    """The key in a file that only its owner can read."""
    data = read_if_there(
        path, limit=KEY_FILE_LIMIT, what="secrets key", judge=lambda file: _require_private(file, path)
    )
    if data is None:
        raise _missing(f"no file {path}")
    return _parsed(data.decode("ascii", "replace"), str(path))


def make_key(path: Path) -> StoreKey:
    """A new key in a file of mode 0600; one that is there is never written over."""
    if os.path.lexists(path):
        raise Refusal(
            "secrets_key_exists",
            expected=f"nothing at {path}",
            found="a file",
            remedy="Use it, or name another path: without its key a store can never be read again.",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = StoreKey(secrets.token_bytes(KEY_BYTES))
    write_durable(path, base64.b64encode(key.material) + b"\n", mode=0o600)
    return key


def _require_private(descriptor: int, path: Path) -> None:
    status = os.fstat(descriptor)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o077:
        raise Refusal(
            "secrets_key_exposed",
            expected=f"{path} to be yours and of mode 0600",
            found=f"owner {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}",
            remedy="chmod 0600 it if nobody else had reason to read it; else rekey the store (make secrets-rekey).",
        )


def _parsed(text: str, where: str) -> StoreKey:
    try:
        material = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if len(material) != KEY_BYTES:
        raise Refusal(
            "secrets_key_invalid",
            expected=f"base64 of {KEY_BYTES} bytes in {where}",
            found=f"{len(text.strip())} characters that are not that",
            remedy=_MAKE,
        )
    return StoreKey(material)


def _missing(found: str) -> Refusal:
    return Refusal("secrets_key_missing", expected="the key of the encrypted store", found=found, remedy=_MAKE)
