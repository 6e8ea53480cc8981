# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a run on the controller until somebody says how to go on, or says it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction, deployer
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.controller import gate
from ansible.module_utils.slipway.controller.job import require_run_group
from ansible.module_utils.slipway.controller.memory import Gate, needed_memory


class ActionModule(ControllerAction):
    """See library/slipway_gate.py."""

    name = "slipway_gate"

    def answer(self, arguments, task_vars):
        place, now = self.place(arguments, task_vars), int(time.time())
        memory = needed_memory(place, "what is decided on a run", is_there=bool(arguments["decision"]))
        if not arguments["decision"]:
            return self._described(self._hold(memory, arguments, deployer(task_vars), now))
        meant = gate.Meant(
            run_id=arguments["run_id"],
            application=arguments["application"],
            release_id=arguments["release_id"],
            environment=arguments["environment"],
            run_group=require_run_group(arguments["run_group"]),
        )
        decision = {"promote": "promoted", "abort": "aborted"}[arguments["decision"]]
        if self._task.check_mode:
            return {"changed": True, "decision": decision, "run_id": gate.held_run(memory, meant, now=now).run_id}
        decided = gate.decide(memory, meant, decision, decided_by=deployer(task_vars), now=now)
        gate.await_heard(memory, decided, clock=SystemClock())
        return {**self._described(decided), "changed": True}

    def _hold(self, memory, arguments, typed_by, now):
        held = Gate(arguments["run_id"], arguments["wave"], arguments["why"], now, now + arguments["seconds"])
        clock = SystemClock()
        terminal = gate.Terminal.of(os.getppid(), clock)
        self._display.display(gate.instructions(held, is_terminal=terminal is not None))
        try:
            typist = terminal or gate.Nobody(clock)
            return gate.wait(memory, held, clock=clock, typist=typist, typed_by=typed_by, say=self._display.display)
        finally:
            if terminal:
                terminal.close()

    def _described(self, decided):
        who = "nobody has said how to go on" if decided.decision == "expired" else f"by {decided.decided_by}"
        return {
            "decision": decided.decision,
            "decided_by": decided.decided_by,
            "run_id": decided.run_id,
            "wave": decided.wave,
            "msg": f"{decided.decision}: {who}",
        }
