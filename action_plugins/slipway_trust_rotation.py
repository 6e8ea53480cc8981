# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the chain of trust policies that the controller keeps, then asks the host to go through it."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import HostAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.trust_chain import TrustChain


class ActionModule(HostAction):
    """See library/slipway_trust_rotation.py."""

    name = "slipway_trust_rotation"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        try:
            chain = TrustChain(Path(self._task.args["trust_policy"])).envelopes()
        except Refusal as refusal:
            result.update(failed=True, changed=False, msg=str(refusal), **refusal.as_dict())
            return result
        arguments = {**self._task.args, "policies": [envelope.decode() for envelope in chain]}
        result.update(self.ask(arguments, task_vars))
        return result
