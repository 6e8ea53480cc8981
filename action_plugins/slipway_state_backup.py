# SPDX-License-Identifier: GPL-3.0-or-later
"""Backs the state of a controller up, or puts it back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import state_backup


class ActionModule(ControllerAction):
    """See library/slipway_state_backup.py."""

    name = "slipway_state_backup"

    def answer(self, arguments, task_vars):
        place, path, check = self.place(arguments, task_vars), Path(arguments["path"]), self._task.check_mode
        is_restored = arguments["state"] == "restored"
        if is_restored:
            contents = state_backup.restore(place, path, is_confirmed=arguments["confirmed"], check=check)
        else:
            contents = state_backup.back_up(place, path, check=check)
        told = state_backup.described(contents, path, is_restored=is_restored, check=check)
        return {"changed": True, **asdict(contents), "msg": told}
