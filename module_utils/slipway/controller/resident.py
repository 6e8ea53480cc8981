# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident package: this package as one executable file that lives on hosts (``/usr/lib/slipway/slipway.pyz``).

Its bytes depend on the source files alone (so nothing is compressed: zlib's output differs between its builds), and its
SHA-256 says whether a host has the controller's version.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import cache
from pathlib import Path

SHEBANG = b"#!/usr/bin/python3 -I\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
# What is compiled (host/package.py) comes before the sources; to parse arguments costs as much as many an exchange, and each import as much
# as many a check of the agent.
ENTRY = b"""\
import os
import sys
from hashlib import sha256

path = os.path.realpath(sys.path[0])
with open(path, "rb") as package:
    digest = sha256(package.read()).hexdigest()
sys.path.insert(0, f"{path}.{sys.implementation.cache_tag}.{digest[:16]}")
if sys.argv[1:] == ["exchange"]:
    from slipway.host.handover import handed_over

    code = handed_over()
    if code is None:
        from slipway.host.door import main

        code = main(digest)
    sys.exit(code)
if sys.argv[1:] == ["standby"]:
    from slipway.host.door import stand_by

    sys.exit(stand_by(path, digest))
if sys.argv[1:2] == ["watch"]:
    from slipway.watch.commands import main as watch

    sys.exit(watch(sys.argv[2:]))
from slipway.__main__ import main

sys.exit(main())
"""
# Files of the package, and rooms.
CONTROLLER_ONLY = frozenset(
    {
        "_action.py",
        "_awx.py",
        "_masking.py",
        "_module.py",
        "_secret_action.py",
        "_secrets.py",
        "_state.py",
        "controller",
        "secrets",
    }
)


def files(package: Path | None = None) -> list[str]:
    """The files of the package that hosts have, relative to it, sorted."""
    source = package or Path(__file__).parent.parent
    names = (path.relative_to(source) for path in source.rglob("*.py"))
    return sorted(name.as_posix() for name in names if name.parts[0] not in CONTROLLER_ONLY)


def build(package: Path | None = None) -> bytes:
    """The zipapp of this package, without what only a controller uses."""
    source = package or Path(__file__).parent.parent
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "__main__.py", ENTRY)
        for name in files(source):
            _add(archive, f"slipway/{name}", (source / name).read_bytes())
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, EPOCH)
    member.external_attr = 0o644 << 16
    archive.writestr(member, data)


@cache
def own_digest() -> str:
    """The digest of this controller's package, which does not change while a process runs."""
    return digest(build())


def digest(data: bytes) -> str:
    """Lower hex SHA-256 of a resident package."""
    return hashlib.sha256(data).hexdigest()
