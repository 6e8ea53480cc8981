# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks on the controller what a run is for, before a host is asked anything."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible import constants
from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.base.fields import require_release_id
from ansible.module_utils.slipway.controller import deployment, job


class ActionModule(ControllerAction):
    """See library/slipway_application.py."""

    name = "slipway_application"

    def answer(self, arguments, task_vars):
        deployment.require_one_run(arguments["environments"], arguments["environment"], is_alone=arguments["is_alone"])
        if arguments["release_id"]:
            require_release_id(arguments["release_id"])
        ours = job.Job.of(task_vars)
        root, before = Path(arguments["root"]), arguments["workflow_revision"]
        job.require_revision(arguments["project_revision"], root, ours)
        handed_on = "" if before is None else job.same_in_workflow(before, root, ours)
        if arguments["trust_policy"]:
            job.require_trust(ours, Path(arguments["trust_policy"]))
        if arguments["state_directory"]:
            job.require_writable(Path(arguments["state_directory"]))
        job.require_machine(
            ours,
            self._connections(task_vars),
            default=self._task.connection or constants.DEFAULT_TRANSPORT,
            has_keys=self._has_keys,
        )
        name = deployment.resolve_application(arguments["applications"], arguments["name"])
        return {"name": name, "workflow_revision": handed_on}

    def _connections(self, task_vars):
        """The variables of each host of this play that say how it is reached."""
        names = ("ansible_connection", *job.IDENTIFIED_BY)
        hosts = {name: task_vars["hostvars"][name] for name in task_vars.get("ansible_play_hosts_all", [])}
        return {name: {each: about.get(each) for each in names} for name, about in hosts.items()}

    def _has_keys(self):
        return bool(constants.DEFAULT_PRIVATE_KEY_FILE) or job.has_keys(Path.home(), job.keys_of_agent)
