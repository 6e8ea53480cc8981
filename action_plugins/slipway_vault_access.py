# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings policies and AppRoles to a Vault."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.secrets.secret_report import vault_difference, vault_table


class ActionModule(SecretAction):
    """See library/slipway_vault_access.py."""

    name = "slipway_vault_access"

    def answer(self, arguments, task_vars):
        access = self.administration(arguments, task_vars)
        plan, remove = access.plan(), arguments["leftovers"] == "removed"
        if not self._task.check_mode:
            access.apply(plan, remove=remove)
        done = [*plan.changes, *(plan.leftovers if remove else ())]
        return {
            "changed": bool(done), "changes": [{"kind": each.kind, "name": each.name, "action": each.action} for each in done],
            "left_over": [] if remove else sorted({each.name for each in plan.leftovers}), "table": vault_table(done),
            "diff": [vault_difference(each) for each in done],
        }  # fmt: skip
