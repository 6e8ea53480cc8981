# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus, Alertmanager and their tools for the tests: those on PATH, else Debian's, unpacked and not installed.

Installed, the packages would start services that listen on this machine. Unpacked into the user's cache directory they only run when a
test starts them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from . import image, preflight, shell
from .console import step

PACKAGES = ("prometheus", "prometheus-alertmanager", "prometheus-node-exporter")
# Debian's Alertmanager wants its own templates where the package puts them: a view of /usr/share that has them, for it alone.
MANAGER = "prometheus-alertmanager"
WRAPPER = """\
#!/bin/sh
here=$(dirname "$0")
[ "$(id -u)" = 0 ] && as= || as=--map-root-user
exec unshare $as --mount sh -c 'mount -t overlay overlay -o "lowerdir=$0/share:/usr/share" /usr/share && exec "$0/alertmanager" "$@"' "$here" "$@"
"""
PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager", "amtool", "prometheus-node-exporter")


def cached() -> Path:
    """Where unpacked programs are kept."""
    return image.cache() / f"prometheus-{preflight.system().codename or 'unknown'}"


def find() -> Path | None:
    """A directory that has all of the programs."""
    found = shell.which(PROGRAMS[0])
    candidates = [Path(found).parent] if found else []
    candidates.append(cached())
    return next((each for each in candidates if all(os.access(each / name, os.X_OK) for name in PROGRAMS)), None)


def ensure() -> Path:
    """The directory of the programs, fetched first where there is none."""
    if (found := find()) is not None:
        return found
    target = cached()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another clone, or another test, may be fetching the same
        if find() is None:
            with (
                step(f"getting {', '.join(PACKAGES)} from this machine's package archive"),
                tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as scratch,
            ):
                _fetch(Path(scratch))
                shutil.rmtree(target, ignore_errors=True)
                (Path(scratch) / "programs").rename(target)
    return target


def _fetch(scratch: Path) -> None:
    """Leave the programs in `scratch`/programs."""
    download = ["env", "-C", str(scratch), "apt-get", "-q", "download", *PACKAGES]
    if shell.run(download, check=False).returncode != 0:  # the package lists may be old or missing
        preflight.require_root()
        preflight.refresh_package_lists()
        shell.run(download)
    (scratch / "programs").mkdir()
    for package in sorted(scratch.glob("*.deb")):
        shell.run(["dpkg-deb", "-x", str(package), str(scratch / "unpacked")])
    for name in PROGRAMS:
        (scratch / "unpacked/usr/bin" / name).rename(scratch / "programs" / name)
    programs = scratch / "programs"
    (scratch / "unpacked/usr/share").rename(programs / "share")
    (programs / MANAGER).rename(programs / "alertmanager")
    (programs / MANAGER).write_text(WRAPPER, encoding="utf-8")
    (programs / MANAGER).chmod(0o755)
