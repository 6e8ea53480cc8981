# SPDX-License-Identifier: GPL-3.0-or-later
"""Says on the controller whether every host is ready for a deployment, and fails when one is not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import deployment
from ansible.module_utils.slipway.controller.catalogue import Catalogue


class ActionModule(ControllerAction):
    """See library/slipway_preflight_report.py."""

    name = "slipway_preflight_report"

    def answer(self, arguments, task_vars):
        judgement = deployment.judge_readiness(
            arguments["application"],
            Catalogue(Path(arguments["catalogue"])),
            Path(arguments["trust_policy"]),
            arguments["answers"],
            requested=arguments["release_id"],
            now=int(time.time()),
            fetched=arguments["fetched"],
        )
        answer = judgement.as_dict()
        is_json = arguments["format"] == "json"
        answer["msg"] = json.dumps(answer, indent=2) if is_json else judgement.report(arguments["application"])
        return answer if judgement.is_ready else {**answer, "failed": True, "reason": "not_ready"}
