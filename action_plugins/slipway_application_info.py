# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the host, and judges on the controller the history that comes with its answer."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import WitnessedAction


class ActionModule(WitnessedAction):
    """See library/slipway_application_info.py."""

    name = "slipway_application_info"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        result.update(self.exchange(self._task.args, task_vars))
        return result
