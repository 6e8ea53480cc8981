# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks on the controller what a run is for, before a host is asked anything."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import deployment


class ActionModule(ControllerAction):
    """See library/slipway_application.py."""

    name = "slipway_application"

    def answer(self, arguments, task_vars):
        deployment.require_one_run(arguments["environments"], arguments["environment"], is_alone=arguments["is_alone"])
        return {"name": deployment.resolve_application(arguments["applications"], arguments["name"])}
