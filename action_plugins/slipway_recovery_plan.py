# SPDX-License-Identifier: GPL-3.0-or-later
"""Says on the controller which of its own runs are dead, for hosts that are to settle what they left open."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction, controller_of


class ActionModule(ControllerAction):
    """See library/slipway_recovery_plan.py."""

    name = "slipway_recovery_plan"

    def answer(self, arguments, task_vars):
        place = self.place(arguments, task_vars).dispensable()
        return {"run": controller_of({**arguments, "lease_seconds": 0}, task_vars, place).as_settler()}
