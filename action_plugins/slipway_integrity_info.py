# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the host, and judges its histories by what this controller keeps."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import WitnessedAction, deployer


class ActionModule(WitnessedAction):
    """See library/slipway_integrity_info.py."""

    name = "slipway_integrity_info"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _validation, arguments = self._validated(self._task.args)
        witness, name = self.witness(task_vars), task_vars["inventory_hostname"]
        memories = {each: witness.recall(name, each) for each in arguments["applications"]}
        answer = self._verified(arguments, memories, task_vars)
        host_id = (answer.get("host") or {}).get("id")
        if host_id and any(memory.pinned is None or memory.pinned.id != host_id for memory in memories.values()):
            memories = {each: witness.recall(name, each, host_id) for each in memories}
            if any(memory.newest for memory in memories.values()):
                answer = self._verified(arguments, memories, task_vars)
        accepted_by = deployer(task_vars) if arguments["accept"] and not self._task.check_mode else None
        for each, found in (answer.get("applications") or {}).items():
            found.update(witness.verified(memories[each], found, name, accepted_by=accepted_by, now=int(time.time())))
        result.update(answer)
        return result

    def _verified(self, arguments, memories, task_vars):
        witnessed = {
            each: {**memory.witnessed(), "sizes": memory.sizes()} for each, memory in memories.items() if memory.newest
        }
        return self.ask({**arguments, "witnessed": witnessed}, task_vars)
