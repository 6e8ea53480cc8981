# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which secrets there are and which are needed."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway._secrets import main_process
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.gate import Terminal
from ansible.module_utils.slipway.secrets.env_file import example
from ansible.module_utils.slipway.secrets.secret_kind import required_fields
from ansible.module_utils.slipway.secrets.secret_report import listed, secrets_table


class ActionModule(SecretAction):
    """See library/slipway_secret_info.py."""

    name = "slipway_secret_info"

    def answer(self, arguments, task_vars):
        keeper = self.keeper(task_vars)
        name, found, fields = arguments["name"], [], []
        if name and arguments["is_typed"]:
            _require_terminal(name)
        if name:
            declared = keeper.declared(name)
            fields = required_fields(arguments["type"]) if arguments["type"] else declared.fields()
        else:
            found = keeper.listed(ask=not arguments["declared_only"])
        return {
            "secrets": listed(found), "table": secrets_table(found), "example": example(keeper.settings.declared), "fields": fields,
        }  # fmt: skip


def _require_terminal(name):
    """Somebody can be asked for values; else they would be empty."""
    terminal = Terminal.of(main_process(), SystemClock())
    if terminal is None:
        raise Refusal(
            "nobody_to_ask",
            expected=f"a terminal at which the fields of {name} are typed, or a file that has them",
            found="neither",
            remedy='Say FILE= (secret_file): a JSON file of mode 0600, such as {"password": "…"}. Nothing was set.',
        )
    terminal.close()
