# SPDX-License-Identifier: GPL-3.0-or-later
"""Another user of the machine than root, whom the tests run as."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

JOB = (1000, 0)  # whom AWX's jobs write as


@contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Do what follows with the rights of this user, who is in no other group."""
    groups = os.getgroups()
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory of AWX's jobs; not below pytest's directories, which they cannot enter."""
    with tempfile.TemporaryDirectory(prefix="slipway-volume-") as made:
        Path(made).chmod(0o755)
        directory = Path(made, "slipway-controller")
        directory.mkdir(mode=0o755)
        os.chown(directory, *JOB)
        yield directory
