# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes on the controller the file by which something of Prometheus' kind listens."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import monitoring_files


class ActionModule(ControllerAction):
    """See library/slipway_listener.py."""

    name = "slipway_listener"

    def answer(self, arguments, task_vars):
        return monitoring_files.listener(arguments)
