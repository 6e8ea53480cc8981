# SPDX-License-Identifier: GPL-3.0-or-later
"""Seals, opens or shuts the emergency access to a Vault."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import display
from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway._secrets import caller_of
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.break_glass import BreakGlass, opened_from


class ActionModule(SecretAction):
    """See library/slipway_break_glass.py."""

    name = "slipway_break_glass"

    def answer(self, arguments, task_vars):
        state, variables, minutes = arguments["state"], None, None
        clock, caller = SystemClock(), caller_of(task_vars, self._templar.template)
        if state == "shut":
            directory = Path(_given(arguments, "directory"))
            vault = opened_from(directory, clock)
        else:
            vault = self.provider(arguments, task_vars)
        glass = BreakGlass(vault, self.log(task_vars), caller, clock, display.warning)
        if self._task.check_mode:
            return {"changed": True, "seal": None, "variables": None, "minutes": None}
        if state == "sealed":
            access = self.administration(arguments, task_vars)
            first, second = (Path(_given(arguments, option)) for option in ("first", "second"))
            seal = glass.seal(access, first, second, _given(arguments, "reason"))
        elif state == "opened":
            first, second, directory = (Path(_given(arguments, option)) for option in ("first", "second", "directory"))
            opened = glass.open(first, second, directory, _given(arguments, "reason"))
            seal, variables, minutes = opened.seal, str(opened.variables), opened.minutes
        else:
            seal = glass.shut(directory)
        return {"changed": True, "seal": seal, "variables": variables, "minutes": minutes}


def _given(arguments, option):
    if not arguments[option]:
        raise Refusal(
            "break_glass_option_missing",
            expected=f"{option}, since state is {arguments['state']}",
            found="none",
            remedy="Say it: FIRST=, SECOND=, DIRECTORY= or MESSAGE= of make; docs/runbooks/break-glass.md has examples.",
        )
    return arguments[option]
