# SPDX-License-Identifier: GPL-3.0-or-later
"""Says how often, how fast and how well is delivered."""

from __future__ import annotations

import json
import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import delivery_measures, delivery_report
from ansible.module_utils.slipway.controller.memory import ControllerState


class ActionModule(ControllerAction):
    """See library/slipway_delivery_info.py."""

    name = "slipway_delivery_info"

    def answer(self, arguments, task_vars):
        since, until = delivery_measures.window(arguments["weeks"], int(time.time()))
        memory = ControllerState(self.place(arguments, task_vars), is_there=True)
        runs = memory.runs(application=arguments["application"], environment=arguments["environment"])
        if not runs and (arguments["application"] or arguments["environment"]):
            delivery_measures.refuse_unknown(arguments["application"], arguments["environment"], memory.runs())
        history = delivery_measures.measured(runs, since=since, until=until).as_dict()
        text = delivery_report.told(history) if arguments["format"] == "table" else json.dumps(history, indent=4)
        is_written = False
        if arguments["page"]:
            path = Path(arguments["page"]).expanduser()
            is_written = delivery_report.write_page(path, history, check=self._task.check_mode)
        return {"changed": is_written, "history": history, "text": text}
