# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes on the controller what Prometheus is configured by."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import monitoring_files


class ActionModule(ControllerAction):
    """See library/slipway_prometheus_configuration.py."""

    name = "slipway_prometheus_configuration"

    def answer(self, arguments, task_vars):
        return monitoring_files.prometheus(arguments, self.watched(arguments["hosts"], task_vars["hostvars"]))

    def watched(self, names, hostvars):
        """{name: {address, environment}} of the hosts that have an environment."""
        return {
            name: {
                "address": str(hostvars[name].get("ansible_host", name)),
                "environment": str(hostvars[name]["slipway_environment"]),
            }
            for name in names
            if "slipway_environment" in hostvars[name]
        }
