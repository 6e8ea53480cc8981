# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides on the controller who goes back to what, before anything is changed."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction, controller_of
from ansible.module_utils.slipway.controller import deployment
from ansible.module_utils.slipway.controller.catalogue import Catalogue


class ActionModule(ControllerAction):
    """See library/slipway_rollback_plan.py."""

    name = "slipway_rollback_plan"

    def answer(self, arguments, task_vars):
        return deployment.plan_rollback(
            controller_of(arguments, task_vars),
            Catalogue(Path(arguments["catalogue"])),
            arguments["answers"],
            requested=arguments["release_id"],
            limited=arguments["limited"],
        )
