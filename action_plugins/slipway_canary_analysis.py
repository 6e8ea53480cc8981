# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares on the controller, while a wave soaks, the hosts that were switched with those that were not."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.controller import canary_run
from ansible.module_utils.slipway.controller.canary import Analysis
from ansible.module_utils.slipway.controller.prometheus_query import Prometheus


class ActionModule(ControllerAction):
    """See library/slipway_canary_analysis.py."""

    name = "slipway_canary_analysis"

    def answer(self, arguments, task_vars):
        analysis, prometheus = Analysis.parse(arguments["analysis"]), Prometheus.parse(arguments["prometheus"])
        return canary_run.compare_in_soak(
            analysis,
            prometheus.number,
            SystemClock(),
            new=arguments["new"],
            old=arguments["old"],
            seconds=arguments["seconds"],
        )
