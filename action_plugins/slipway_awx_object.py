# SPDX-License-Identifier: GPL-3.0-or-later
"""Has a module of a collection bring one object of an AWX to what it is to be."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._awx import AwxAction
from ansible.module_utils.slipway._secrets import plain
from ansible.module_utils.slipway.controller import awx_plan


class ActionModule(AwxAction):
    """See library/slipway_awx_object.py."""

    name = "slipway_awx_object"

    def answer(self, arguments, task_vars):
        step = plain(arguments["step"])
        address, module = self.address(), self.module(arguments["collection"], step["module"])
        is_removal, is_new = step["options"].get("state") == "absent", not step["endpoint"]
        current = self.current(arguments["collection"], step)
        if self._task.check_mode and not step["ready"] and not is_removal:
            # What it names is not there yet: the module could only say that.
            _options, missing = self.whole(step, current, {})
            return self.said(step, True, is_new, is_removal, missing)
        values = {} if self._task.check_mode else self.values(arguments["secrets_updated"], step, current, task_vars)
        options, missing = self.whole(step, current, values)
        done = self._execute_module(module_name=module, module_args=options, task_vars=task_vars)
        if done.get("failed"):
            raise awx_plan.refused(step["label"], str(done.get("msg")), address, values)
        return self.said(step, bool(done.get("changed")), is_new, is_removal, missing)

    @staticmethod
    def whole(step, current, values):
        if not step["holder"]:
            return step["options"], []
        return awx_plan.with_entered(step["options"], step["holder"], step["entered"], current, values)

    @staticmethod
    def said(step, changed, is_new, is_removal, missing):
        is_made = is_new and not is_removal and step["kind"] != "grants" and not step["is_part"]
        action = "remove" if is_removal else "create" if is_made else "update"
        return {
            "changed": changed, "kind": step["kind"], "name": step["name"], "action": action if changed else "none",
            "to_enter": [f"{step['name']}: {each}" for each in missing],
        }  # fmt: skip
