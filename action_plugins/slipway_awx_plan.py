# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges awx/ and compares it with what an AWX has, before anything is sent."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._awx import AwxAction
from ansible.module_utils.slipway._secrets import plain
from ansible.module_utils.slipway.controller import awx_data, awx_plan


class ActionModule(AwxAction):
    """See library/slipway_awx_plan.py."""

    name = "slipway_awx_plan"

    def answer(self, arguments, task_vars):
        removes = awx_plan.is_removed(plain(arguments["left_over"]))
        data = awx_data.judged(
            awx_data.read(Path(arguments["directory"])), root=Path(arguments["root"]), settings=plain(arguments["settings"]),
            notifications=plain(arguments["notifications"]), secrets=plain(arguments["secrets"]),
        )  # fmt: skip
        collection = arguments["collection"]
        for module in sorted({each.kind.module for each in data.objects}):
            self.module(collection, module)
        plan = awx_plan.plan(data, awx_plan.existing(data, partial(self.rows, collection)))
        for step in (
            each.as_dict() for each in plan.steps
        ):  # a secret that cannot be read is refused before anything is sent
            self.values(arguments["secrets_updated"], step, self.current(collection, step), task_vars)
        return {
            "address": self.address(),
            "organization": data.organization,
            "steps": [each.as_dict() for each in plan.steps],
            "left_over": [each.as_dict() for each in plan.left_over],
            "removes": removes,
            "left_over_table": awx_plan.left_over_table(plan.left_over),
        }
