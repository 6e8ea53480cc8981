# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides on the controller who goes back to what, before anything is changed."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction, controller_of
from ansible.module_utils.slipway.controller import deployment, moments
from ansible.module_utils.slipway.controller.catalogue import Catalogue


def hosts_beside(answers, task_vars):
    """The hosts of the run's environments that are not in the run, by the inventory."""
    hostvars = task_vars.get("hostvars", {})
    environment_of = {host: hostvars[host].get("slipway_environment") for host in hostvars}
    environments = {environment_of.get(host) for host in answers}
    return [host for host in environment_of if host not in answers and environment_of[host] in environments]


class ActionModule(ControllerAction):
    """See library/slipway_rollback_plan.py."""

    name = "slipway_rollback_plan"

    def answer(self, arguments, task_vars):
        return deployment.plan_rollback(
            controller_of(
                arguments, task_vars, self.place(arguments, task_vars).dispensable(), check=self._task.check_mode
            ),
            Catalogue(Path(arguments["catalogue"])),
            arguments["answers"],
            requested=arguments["release_id"],
            limited=arguments["limited"],
            files=moments.task_files(arguments["hooks"], Path(arguments["root"])),
            others=hosts_beside(arguments["answers"], task_vars),
            irreversible_accepted=arguments["irreversible_accepted"],
            undone=arguments["undone"],
        )
