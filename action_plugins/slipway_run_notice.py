# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people on behalf of the controller that a run begins or how it ended."""

from __future__ import annotations

import os
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.controller import notice
from ansible.module_utils.slipway.watch.events import Trace
from ansible.utils.display import Display

display = Display()


class ActionModule(SecretAction):
    """See library/slipway_run_notice.py."""

    name = "slipway_run_notice"

    def answer(self, arguments, task_vars):
        channels = notice.channels_of(arguments["channels"], arguments["secrets"])
        alert = self._alert(arguments)
        if alert is None or not channels or self._task.check_mode:
            return {"told": [], "msg": notice.summary([])}
        names = {name: str(value) for name, value in arguments["secrets"].items()}
        secrets = notice.NamedSecrets(names, lambda name, field: self.keeper(task_vars).read(name, field))
        trace = Trace.begin(os.environ.get("TRACEPARENT"), alert.run_id)
        told = notice.send(alert, channels, secrets, trace.traceparent)
        for each in told:
            if not each["accepted"]:
                display.warning(f"{each['channel']} did not take that {alert.rule}: {each['detail']}")
        return {"told": told, "msg": notice.summary(told)}

    def _alert(self, arguments):
        run = notice.Run(
            run_id=str(arguments["run"]["run_id"]),
            application=arguments["application"],
            environment=arguments["environment"],
            deployed_by=str(arguments["run"]["deployed_by"]),
            releases=tuple(sorted({str(each) for each in arguments["targets"].values()})) or (arguments["release_id"],),
            is_rollback=bool(arguments["targets"]),
        )
        now, runbooks = SystemClock().now(), arguments["runbooks_url"]
        if arguments["moment"] == "started":
            return notice.started(run, now, runbooks)
        if arguments["moment"] == "staged":
            return notice.not_staged(run, arguments["staged"], now, runbooks)
        return notice.ended(run, arguments["hosts"], arguments["report"], now, runbooks)
