# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks an application from outside, from the controller."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.application import health
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.command import run


class ActionModule(ControllerAction):
    """See library/slipway_smoke_test.py."""

    name = "slipway_smoke_test"

    def answer(self, arguments, task_vars):
        application = Application.parse(arguments["application"], arguments["description"])
        if self._task.check_mode or not application.smoke:
            why = "not asked in check mode" if application.smoke else "no smoke test is declared"
            return {"passed": None, "outcome": "inconclusive", "attempts": 0, "detail": why}
        verdict = health.judge(application.smoke, application.smoke_patience, health.Prober(run), SystemClock())
        answer = {"passed": not verdict.is_failure, "outcome": verdict.outcome, "attempts": verdict.attempts}
        if verdict.is_failure:
            answer.update(failed=True, reason="smoke_test_failed", msg=f"smoke_test_failed: {verdict.detail}")
        return {**answer, "detail": verdict.detail}
