# SPDX-License-Identifier: GPL-3.0-or-later
"""Prints what an execution environment has, while it is built: {"debian": {package: version}, "python": {package: version}}, sorted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions


def python() -> dict[str, str]:
    """The distributions that this Python imports from, by their normalized names; of two with one name, the one that is imported."""
    found: dict[str, str] = {}
    for each in distributions():
        found.setdefault(re.sub(r"[-_.]+", "-", each.metadata["Name"]).lower(), each.version)
    return found


def debian() -> dict[str, str]:
    """The packages of the distribution."""
    form = "${db:Status-Abbrev} ${Package} ${Version}\n"
    said = subprocess.run(["dpkg-query", "--show", f"--showformat={form}"], check=True, capture_output=True, text=True)
    rows = [line.split() for line in said.stdout.splitlines()]
    return {name: version for status, name, version in rows if status == "ii"}


if __name__ == "__main__":
    json.dump({"debian": debian(), "python": python()}, sys.stdout, indent=2, sort_keys=True)
    print()
