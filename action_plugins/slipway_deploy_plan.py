# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides on the controller what a deployment is to do, before anything is changed."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction, controller_of
from ansible.module_utils.slipway.controller import deployment, failover, moments
from ansible.module_utils.slipway.controller.catalogue import Catalogue


class ActionModule(ControllerAction):
    """See library/slipway_deploy_plan.py."""

    name = "slipway_deploy_plan"

    def answer(self, arguments, task_vars):
        credentials = self._credentials(arguments, task_vars) if arguments["credentials"] else None
        resolved = credentials.read() if credentials else None
        plan = deployment.plan_deployment(
            controller_of(arguments, task_vars, self.place(arguments, task_vars), check=self._task.check_mode),
            Catalogue(Path(arguments["catalogue"])),
            Path(arguments["trust_policy"]),
            arguments["answers"],
            requested=arguments["release_id"],
            retry=arguments["retry"],
            description=arguments["description"],
            rollout={**arguments, "failures_max": arguments["wave_failures_max"]},
            forks=arguments["forks"],
            fetched=arguments["fetched"],
            balancers=arguments["balancers"],
            groups=arguments["groups"],
            held=failover.held_everywhere(arguments["standings"]),
            analysis=arguments["analysis"],
            prometheus=arguments["prometheus"],
            files=moments.task_files(arguments["hooks"], Path(arguments["root"])),
        )
        if credentials:
            credentials.keep(plan["run"]["run_id"], resolved)
        return plan

    def _credentials(self, arguments, task_vars):
        from ansible.module_utils.slipway._secrets import release_credentials

        return release_credentials(arguments["credentials"], task_vars, self._templar.template, self._loader)
