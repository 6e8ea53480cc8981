# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides on the controller what every balancer is told of a region, before any is."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import failover, regions
from ansible.module_utils.slipway.controller.memory import ControllerState


class ActionModule(ControllerAction):
    """See library/slipway_failover_plan.py."""

    name = "slipway_failover_plan"

    def answer(self, arguments, task_vars):
        named = {host for group in arguments["region_order"] for host in arguments["groups"].get(group, ())}
        environments = {host: each for host, each in arguments["environments"].items() if host in named}
        found = regions.read_regions(arguments["region_order"], arguments["groups"], environments)
        failover.require_whole(arguments["region_order"], arguments["groups"], environments, arguments["everyone"])
        place = self.place(arguments, task_vars)
        dead_runs, unread = failover.runs_over(lambda: ControllerState(place).dead_runs(arguments["application"]))
        failover.require_possible(
            {host: each for host, each in arguments["answers"].items() if host in named},
            environments.values(),
            {host: each for host, each in arguments["balancers"].items() if host in named},
            dead_runs,
            forced=arguments["forced"],
        )
        orders, message = failover.plan(
            found,
            arguments["region"],
            arguments["standings"],
            is_back=arguments["back"],
            healthy_min=arguments["healthy_min"],
            readmitted=arguments["readmitted"],
        )
        return {
            "orders": [order.as_dict() for order in orders],
            "message": f"{message}; {unread}" if unread else message,
        }
