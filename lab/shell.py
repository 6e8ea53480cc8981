# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this machine, as root where they need it: directly, or by `sudo -n` (asked for once, in preflight)."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from .errors import LabError

# A user's PATH often lacks the directories of runc, iptables and ip.
SEARCH_PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def which(tool: str) -> str | None:
    """Return the path of a tool, looking into the administrator's directories too."""
    return shutil.which(tool, path=SEARCH_PATH)


def as_root(command: Sequence[str]) -> list[str]:
    """Return the command as this user has to call it to run as root."""
    return list(command) if os.geteuid() == 0 else ["sudo", "-n", *command]


def run(
    command: Sequence[str],
    *,
    root: bool = False,
    check: bool = True,
    stdin: str | None = None,
    stdout: IO[bytes] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return it with its text output (standard output goes to `stdout` if given).

    With `check`, a failure is a LabError that shows the end of what the command wrote.
    """
    words = as_root(command) if root else list(command)
    try:
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=stdout or subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=timeout,
            env={**os.environ, "PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        done = subprocess.CompletedProcess(words, 124, "", f"no end after {timeout} s")
    if check and done.returncode != 0:
        raise failure(done)
    return done


def failure(done: subprocess.CompletedProcess[str]) -> LabError:
    """Turn a failed command into a LabError."""
    lines = [line for line in f"{done.stdout or ''}\n{done.stderr or ''}".splitlines() if line.strip()]
    return LabError(
        expected=f"`{textwrap.shorten(shlex.join(done.args), 120, placeholder=' ...')}` to succeed",
        found=f"exit code {done.returncode}: " + "\n            ".join(lines[-8:]),
        remedy="Correct what it says, then run the same command again.",
    )


def podman(*words: str, check: bool = True, timeout: float | None = 120) -> subprocess.CompletedProcess[str]:
    """Run rootful podman."""
    return run(["podman", *words], root=True, check=check, timeout=timeout)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file by a rename, so that a reader sees the old text or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.chmod(mode)
    scratch.replace(path)
