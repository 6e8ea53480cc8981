# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs this."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import Any


def deployer(task_vars: Mapping[str, Any]) -> str:
    """Who runs this: AWX's user with the job where AWX runs it, else the user who called sudo, else the user of the process."""
    for prefix in ("awx", "tower"):
        if user := task_vars.get(f"{prefix}_user_name"):
            job = task_vars.get(f"{prefix}_job_id")
            return f"{user} (job {job})" if job else str(user)
    return os.environ.get("SUDO_USER") or _user()


def _user() -> str:
    """The user's name; a container may be run by a number that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.geteuid()}"
