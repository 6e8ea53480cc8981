# SPDX-License-Identifier: GPL-3.0-or-later
"""Says how old secrets are, and which are older than they may get."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.secrets.rotation_record import RotationRecords
from ansible.module_utils.slipway.secrets.secret_age import ages, ages_table, metrics


class ActionModule(SecretAction):
    """See library/slipway_secret_age_info.py."""

    name = "slipway_secret_age_info"

    def answer(self, arguments, task_vars):
        keeper = self.keeper(task_vars)
        records = RotationRecords(self.state_directory(task_vars), keeper.caller.environment)
        found = ages(keeper, records)
        return {
            "ages": [each.as_dict() for each in found], "overdue": [each.name for each in found if each.state == "overdue"],
            "environment": records.environment, "table": ages_table(found), "metrics": metrics(found, records.environment),
        }  # fmt: skip
