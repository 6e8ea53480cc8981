# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident package on a host, and beside it what this host's Python makes of it.

From its sources the package takes 0.4 s of a processor to start, most of it to compile them, since Python keeps nothing of what
it imports from a zip file. Compiled once, where it is installed, it takes a fraction. The compiled form carries the
package's digest in its name, so that it never outlives the package; where there is none, the sources are used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import sys
import zipfile
from pathlib import Path

from ..base.files import fsync_directory, write_durable
from .places import Host

_MODE = 0o644
_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: by hash, and nothing to compare it with


def is_installed(host: Host, package: bytes) -> bool:
    """Whether this is the package that the host has, compiled for this Python."""
    if not host.resident.is_file() or host.resident.read_bytes() != package:
        return False
    return not zipfile.is_zipfile(io.BytesIO(package)) or _compiled_path(host, package).is_file()


def install(host: Host, package: bytes) -> None:
    """Put the package into its place, compiled first; what was compiled of others is removed."""
    compiled = _compiled_path(host, package)
    if zipfile.is_zipfile(io.BytesIO(package)):
        write_durable(compiled, _compiled(package), mode=_MODE)
    write_durable(host.resident, package, mode=0o755)
    for old in sorted(set(host.resident.parent.glob(f"{host.resident.name}.*")) - {compiled}):
        old.unlink()
    fsync_directory(host.resident.parent)


def _compiled_path(host: Host, package: bytes) -> Path:
    digest = hashlib.sha256(package).hexdigest()
    return host.resident.with_name(f"{host.resident.name}.{sys.implementation.cache_tag}.{digest[:16]}")


def _compiled(package: bytes) -> bytes:
    """A zip file with the same modules, compiled."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as sources, zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(sources.namelist()):
            source = sources.read(name)
            code = compile(source, name, "exec", dont_inherit=True)
            data = importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(source) + marshal.dumps(code)
            archive.writestr(zipfile.ZipInfo(f"{name}c"), data)
    return buffer.getvalue()
