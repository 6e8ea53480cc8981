# SPDX-License-Identifier: GPL-3.0-or-later
"""What an application owns beside its releases: directories below ``shared/`` that every release links to.

The application may write there, so nothing there is believed: root walks it by directory descriptors, follows no link, and
touches nothing but directories that it has just made.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from ..application.description import Application
from ..base.errors import Refusal

MODE = 0o750


def make_paths(shared: Path, application: Application) -> None:
    """Make the declared directories that are missing, for the application's user; those that are there stay as they are."""
    for path in application.shared_paths:
        descriptor = os.open(shared.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for part in (shared.name, *path.split("/")):
                descriptor = _enter(descriptor, part, path, application)
        finally:
            os.close(descriptor)


def _enter(parent: int, part: str, path: str, application: Application) -> int:
    """Open a subdirectory, making it where it is missing; closes ``parent``."""
    try:
        os.mkdir(part, MODE, dir_fd=parent)
        is_new = True
    except FileExistsError:
        is_new = False
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except NotADirectoryError:
        raise Refusal(
            "shared_path_not_a_directory",
            expected=f"a directory at the shared path {path}",
            found=f"a file or a link called {part}",
            remedy="Move it away by hand, or take the path out of shared_paths.",
        ) from None
    if is_new and os.geteuid() == 0:
        os.fchown(descriptor, pwd.getpwnam(application.user).pw_uid, grp.getgrnam(application.group).gr_gid)
    os.close(parent)
    return descriptor
