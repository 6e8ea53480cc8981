# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a certificate for a host, made on the controller where there is none."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller.authority import DIRECTORY, Authority


class ActionModule(ControllerAction):
    """See library/slipway_monitoring_certificate.py."""

    name = "slipway_monitoring_certificate"

    def answer(self, arguments, task_vars):
        authority = Authority(Path(arguments["state_directory"]) / DIRECTORY)
        issued = authority.issue(
            arguments["name"], arguments["addresses"], int(time.time()), check=self._task.check_mode
        )
        return {
            "changed": issued.changed,
            "certificate": str(issued.certificate),
            "key": str(issued.key),
            "authority": str(issued.authority),
            "expires": issued.expires.isoformat(),
        }
