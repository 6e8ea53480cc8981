# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes on the controller what Alertmanager is configured by."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import monitoring_files


class ActionModule(ControllerAction):
    """See library/slipway_alertmanager_configuration.py."""

    name = "slipway_alertmanager_configuration"

    def answer(self, arguments, task_vars):
        return monitoring_files.alertmanager(arguments)
