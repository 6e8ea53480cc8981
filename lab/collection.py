# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection awx.awx for this checkout: taken out of the PyPI package `ansible`, whose other collections are left in it.

Galaxy is not asked. The package's version and hash are in requirements/awx.lock; what was taken out of it stays in the user's cache directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

from . import image, shell
from .console import step

COLLECTION = "ansible_collections/awx/awx"
LOCK = Path(__file__).resolve().parent.parent / "requirements/awx.lock"


def cached() -> Path:
    """Where the collection of this lock is kept."""
    return image.cache() / f"awx-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"


def ensure() -> Path:
    """The collection in this interpreter's environment, where Ansible finds it without a setting."""
    source = cached()
    source.parent.mkdir(parents=True, exist_ok=True)
    with (source.parent / "awx.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone may be fetching the same
        if not source.exists():
            with (
                step("fetching the collection awx.awx"),
                tempfile.TemporaryDirectory(prefix="fetch-", dir=source.parent) as scratch,
            ):
                _fetch(Path(scratch))
                (Path(scratch) / COLLECTION).rename(source)
    target = Path(sysconfig.get_path("purelib")) / COLLECTION
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _fetch(scratch: Path) -> None:
    """Leave the collection below `scratch`."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    shell.run([*pip, "--require-hashes", "-r", str(LOCK), "-d", str(scratch)])
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(f"{COLLECTION}/")])
    os.remove(wheel)
