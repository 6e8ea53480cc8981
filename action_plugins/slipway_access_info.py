# SPDX-License-Identifier: GPL-3.0-or-later
"""Says who asked for which secret."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.secrets.access_log import require_time
from ansible.module_utils.slipway.secrets.secret_report import accesses_table


class ActionModule(SecretAction):
    """See library/slipway_access_info.py."""

    name = "slipway_access_info"

    def answer(self, arguments, task_vars):
        since, until = require_time(arguments["since"]), require_time(arguments["through"])
        records = self.log(task_vars).found(name=arguments["name"], by=arguments["by"], since=since, until=until)
        return {"records": records, "table": accesses_table(records)}
