# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides on the controller whether a rollout goes on, from what the tasks of its waves returned."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import wave_verdict
from ansible.module_utils.slipway.controller.rollout import Rollout


class ActionModule(ControllerAction):
    """See library/slipway_rollout_verdict.py."""

    name = "slipway_rollout_verdict"

    def answer(self, arguments, task_vars):
        rollout, wave = Rollout.parse(arguments["rollout"]), arguments["wave"]
        verdict = wave_verdict.judge(
            rollout, arguments["results"], wave=wave, now=int(time.time()), check=self._task.check_mode
        )
        return verdict.as_dict(rollout, wave)
