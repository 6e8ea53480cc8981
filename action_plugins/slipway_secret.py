# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets a secret, writes its value to a file, or forgets what is cached."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.secret_file import export, fields_in


class ActionModule(SecretAction):
    """See library/slipway_secret.py."""

    name = "slipway_secret"

    def answer(self, arguments, task_vars):
        keeper, check = self.keeper(task_vars), self._task.check_mode
        if arguments["state"] == "flushed":
            changed = keeper.cached() > 0 if check else keeper.flush() > 0
            return {"changed": changed, "name": "*", "provider": None}
        name = _given(arguments, "name")
        if arguments["state"] == "exported":
            output = Path(_given(arguments, "output")).absolute()  # of a link, the link
            value = keeper.read(name, arguments["field"])
            return {"changed": export(output, value, check=check), "name": name, "provider": None}
        fields = arguments["fields"]
        if fields is None:
            fields = fields_in(self.source(_given(arguments, "source")), name)
        changed = keeper.write(name, fields, arguments["type"], arguments["description"], check=check)
        return {"changed": changed, "name": name, "provider": keeper.providers[0].label}


def _given(arguments, option):
    if not arguments[option]:
        raise Refusal(
            "secret_option_missing",
            expected=f"{option}, since state is {arguments['state']}",
            found="none",
            remedy="Say it: NAME=, FILE= or OUTPUT= of make; docs/howto/secrets.md has examples.",
        )
    return arguments[option]
