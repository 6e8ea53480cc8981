# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the host, and says who takes the lock."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import HostAction, deployer


class ActionModule(HostAction):
    """See library/slipway_lock.py."""

    name = "slipway_lock"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = {**self._task.args, "holder": deployer(task_vars)}
        result.update(self.ask(arguments, task_vars))
        return result
