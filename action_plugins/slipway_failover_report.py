# SPDX-License-Identifier: GPL-3.0-or-later
"""Says on the controller how a failover ended at every balancer, and fails when one of them does not do what was asked."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import failover


class ActionModule(ControllerAction):
    """See library/slipway_failover_report.py."""

    name = "slipway_failover_report"

    def answer(self, arguments, task_vars):
        ended = failover.report(
            arguments["region"],
            arguments["orders"],
            arguments["standings"],
            is_back=arguments["back"],
            check=self._task.check_mode,
        )
        answer = {"as_asked": ended.is_as_asked, "balancers": dict(ended.outcomes), "msg": ended.text}
        return answer if ended.is_as_asked else {**answer, "failed": True, "reason": "not_as_asked"}
