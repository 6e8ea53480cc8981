# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the new versions of secrets that a run is to hand out, or lets it bring the old ones back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction, rotations_of
from ansible.module_utils.slipway.application.description import Application
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.deployment import Target, require_deployable
from ansible.module_utils.slipway.controller.memory import ControllerState
from ansible.module_utils.slipway.controller.secret_run import require_all_hosts, require_one_release, require_restarted
from ansible.module_utils.slipway.secrets.release_credentials import handed_out
from ansible.module_utils.slipway.secrets.secret_file import fields_in


class ActionModule(SecretAction):
    """See library/slipway_secret_rotation.py."""

    name = "slipway_secret_rotation"

    def answer(self, arguments, task_vars):
        rotations = rotations_of(arguments["application"], task_vars, self._templar.template, self._loader)
        wanted = handed_out(arguments["credentials"])
        names = sorted(set(arguments["names"])) or rotations.due(wanted)
        if not names:
            return {"is_idle": True, "release_id": "", "names": [], "rotating": {}, "msg": "no secret is due"}
        require_restarted(Application.parse(arguments["application"], arguments["description"]))
        release_id = require_one_release(arguments["answers"], arguments["release_id"])
        known = ControllerState(self.place(arguments, task_vars)).hosts_of(
            arguments["application"], rotations.records.environment
        )
        require_all_hosts(known, task_vars["groups"]["all"], arguments["answers"])
        target = Target(arguments["application"], rotations.records.environment, rotations.keeper.clock.now())
        if arguments["state"] == "begun":  # the way back is open; its deployment says what is in its way
            catalogue, policy = Catalogue(Path(arguments["catalogue"])), Path(arguments["trust_policy"])
            require_deployable(target, catalogue, policy, arguments["answers"], release_id)
        check = self._task.check_mode
        begun = rotations.begin(
            names,
            wanted,
            fields_in(self.source(arguments["source"]), ", ".join(names)) if arguments["source"] else None,
            back=arguments["state"] == "taken_back",
            check=check,
        )
        return {
            "changed": bool(begun.names), "is_idle": check or not begun.names, "release_id": release_id,
            "names": list(begun.names), "rotating": {name: asdict(each) for name, each in begun.rotating.items()}, "msg": "\n".join(begun.said),
        }  # fmt: skip
