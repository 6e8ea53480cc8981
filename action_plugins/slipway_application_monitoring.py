# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes on the controller the rules and the dashboard of an application from what its release brings."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import monitoring_files


class ActionModule(ControllerAction):
    """See library/slipway_application_monitoring.py."""

    name = "slipway_application_monitoring"

    def answer(self, arguments, task_vars):
        rules, tests, dashboard, application = (
            arguments[name] for name in ("rules", "rules_test", "dashboard", "application")
        )
        made = monitoring_files.application_rules(rules, tests, application, arguments["runbooks_url"]) if rules else ""
        board = monitoring_files.application_dashboard(dashboard, application) if dashboard else ""
        return {"rules": made, "dashboard": board}
