# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's programs for the tests: those of this machine, else Debian's package, installed without a server that starts by itself."""

from __future__ import annotations

import os
from pathlib import Path

from . import preflight, shell
from .errors import LabError

PROGRAMS = ("initdb", "postgres")
ROOT = Path("/usr/lib/postgresql")
# Read by the package when it is configured: no cluster is made, so none listens.
SETTINGS = Path("/etc/postgresql-common/createcluster.conf")


def find() -> Path | None:
    """The directory of the newest version's programs."""
    found = shell.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted((each / "bin" for each in ROOT.glob("*")), key=lambda each: float(each.parent.name))[::-1]
    return next((each for each in candidates if all(os.access(each / name, os.X_OK) for name in PROGRAMS)), None)


def ensure() -> Path:
    """The directory of the programs; LabError where there are none and they cannot be installed."""
    if (found := find()) is not None:
        return found
    preflight.require_root()
    if not SETTINGS.exists():
        SETTINGS.parent.mkdir(parents=True, exist_ok=True)
        SETTINGS.write_text("create_main_cluster = false\n", encoding="ascii")
    preflight.install(["postgresql"])
    if (found := find()) is None:
        raise LabError(
            expected=f"{' and '.join(PROGRAMS)} below {ROOT}",
            found="none after the package postgresql was installed",
            remedy="Install PostgreSQL 13 or newer, then run the same command again.",
        )
    return found
