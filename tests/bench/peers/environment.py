# SPDX-License-Identifier: GPL-3.0-or-later
"""What the measurement needs and Slipway does not: packages at locked versions in the user's cache, not in the repository."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

from . import CACHE, REPOSITORY, Unavailable

LOCK = REPOSITORY / "requirements" / "bench.lock"
ENVIRONMENT = CACHE / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
# The community's collections from PyPI: Galaxy is not needed.
ANSIBLE = "ansible==12.3.0"
COLLECTIONS = {"community": ("general",), "ansible": ("posix",)}


def python_environment() -> Path:
    """Make the virtual environment with pyinfra and matplotlib unless it is there."""
    made = ENVIRONMENT / "made"
    if not made.exists():
        _run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
        pip = (str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, "--require-hashes", "-r", str(LOCK))
        made.touch()
    return ENVIRONMENT


def collections() -> Path:
    """Unpack the collections that recipes use unless they are there; the path is for ANSIBLE_COLLECTIONS_PATH."""
    place = CACHE / ANSIBLE.replace("==", "-")
    if not (place / "made").exists():
        wheels = place / "wheels"
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
        _run(*pip, "--only-binary", ":all:", "--dest", str(wheels), ANSIBLE)
        wanted = tuple(f"ansible_collections/{owner}/{name}/" for owner, names in COLLECTIONS.items() for name in names)
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
            wheel.extractall(place, [name for name in wheel.namelist() if name.startswith(wanted)])
        (place / "made").touch()
    return place


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Unavailable(f"{' '.join(words[:4])} …: {said[-1] if said else done.returncode}")
