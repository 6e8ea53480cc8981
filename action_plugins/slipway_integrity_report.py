# SPDX-License-Identifier: GPL-3.0-or-later
"""Says on the controller whether a fleet is intact, and fails when it is not."""

from __future__ import annotations

import json
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller.verification import Verification, beside_policy
from ansible.module_utils.slipway.trust.policy import read_policy


class ActionModule(ControllerAction):
    """See library/slipway_integrity_report.py."""

    name = "slipway_integrity_report"

    def answer(self, arguments, task_vars):
        answers = arguments["answers"]
        if arguments["trust_policy"]:
            answers = beside_policy(answers, read_policy(Path(arguments["trust_policy"])).version)
        verification = Verification(answers)
        answer = verification.as_dict()
        answer["msg"] = json.dumps(answer, indent=2) if arguments["format"] == "json" else verification.report()
        return answer if verification.is_intact else {**answer, "failed": True, "reason": "not_intact"}
