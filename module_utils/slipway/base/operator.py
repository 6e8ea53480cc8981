# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs this."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from typing import Any


def deployer(task_vars: Mapping[str, Any]) -> str:
    """Who runs this: AWX's user where AWX runs it, else the user who called sudo, else the user of the process."""
    for name in ("awx_user_name", "tower_user_name"):
        if task_vars.get(name):
            return str(task_vars[name])
    return os.environ.get("SUDO_USER") or getpass.getuser()
