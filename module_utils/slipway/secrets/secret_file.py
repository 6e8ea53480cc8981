# SPDX-License-Identifier: GPL-3.0-or-later
"""One secret in a file: what somebody sets it from, and where somebody wants its value."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from ..base import canonical
from ..base.errors import Refusal
from ..base.files import read_if_there, write_durable
from .secret import fields_of

FILE_LIMIT = 1 << 20


def fields_in(path: Path, name: str) -> dict[str, str]:
    """The fields of a secret in a JSON file, {field: value}."""
    data = read_if_there(path, limit=FILE_LIMIT, what="file of a secret")
    try:
        document = None if data is None else canonical.parse(data, what="file of a secret", limit=FILE_LIMIT)
    except Refusal:  # whose text may show a part of it
        document = []
    if not isinstance(document, dict):
        raise Refusal(
            "secret_file_missing" if data is None else "secret_file_invalid",
            expected=f"the fields of {name} as one JSON object in {path}",
            found="no such file" if data is None else "something else",
            remedy='Write it like {"username": "…", "password": "…"}, with mode 0600; nothing was set.',
        )
    return fields_of(name, document)


def exposed(path: Path) -> str:
    """What to say of a file with values that others than its owner can read, an empty text of any other; it is taken all the same, since who could read it has."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return ""
    if not mode & 0o077:
        return ""
    return f"{path} has secrets in it and others than its owner may use it (mode {mode:04o}): chmod 600 {shlex.quote(str(path))}, or remove it"


def export(path: Path, value: str, *, check: bool) -> bool:
    """Let a file of mode 0600 have exactly this value; returns whether it had not."""
    if os.path.lexists(path) and _has(path, value.encode()):
        return False
    if not check:
        write_durable(path, value.encode(), mode=0o600)
    return True


def _has(path: Path, value: bytes) -> bool:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != 0o600 or status.st_size != len(value):
        return False
    return read_if_there(path, limit=status.st_size, what="exported secret") == value
