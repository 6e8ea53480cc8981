# SPDX-License-Identifier: GPL-3.0-or-later
"""What git says about a directory: the commit that it is exactly, with its branch and tag."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Checkout:
    """The commit that a directory is exactly, its branch and tag; all None when it is changed, or no checkout at all.

    Without a branch the commit is checked out as such; of several tags it is the one that git describes it by.
    """

    commit: str | None = None
    branch: str | None = None
    tag: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the directory is exactly a commit."""
        return self.commit is not None


def look(directory: Path, ships: Callable[[str], bool]) -> Checkout:
    """Ask git about `directory`. A file that git ignores is a change only when it `ships`; any other change counts."""
    prefix = _git(directory, "rev-parse", "--show-prefix")
    status = _git(directory, "status", "--porcelain", "-z", "--ignored", "--untracked-files=all", "--", ".")
    if prefix is None or status is None or _is_changed(status, prefix.rstrip("\n"), ships):
        return Checkout()
    commit = _line(_git(directory, "rev-parse", "--verify", "HEAD"))
    if commit is None:
        return Checkout()
    return Checkout(
        commit=commit,
        branch=_line(_git(directory, "symbolic-ref", "--quiet", "--short", "HEAD")),
        tag=_line(_git(directory, "describe", "--tags", "--exact-match", "HEAD")),
    )


def revision(root: Path) -> str | None:
    """The commit that is checked out with its root in this directory; None where none is, or nobody can say."""
    top = _line(_git(root, "rev-parse", "--show-toplevel"))
    if top is None or Path(top).resolve() != root.resolve():
        return None
    return _line(_git(root, "rev-parse", "--verify", "HEAD"))


def _is_changed(status: str, prefix: str, ships: Callable[[str], bool]) -> bool:
    """Whether the status of a directory, `prefix` below the root of its checkout, has a change that counts."""
    for record in filter(None, status.split("\0")):
        kind, path = record[:2], record[3:].removeprefix(prefix).rstrip("/")
        if kind != "!!" or ships(path):
            return True
    return False


def _line(output: str | None) -> str | None:
    return (output or "").strip() or None


def _git(directory: Path, *arguments: str) -> str | None:
    """What a git command prints, None when it fails or there is no git."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="surrogateescape", env=environment, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
