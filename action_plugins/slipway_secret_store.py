# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the encrypted store, fills it from a file, or gives it another key."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway.base.errors import Refusal


class ActionModule(SecretAction):
    """See library/slipway_secret_store.py."""

    name = "slipway_secret_store"

    def answer(self, arguments, task_vars):
        commands, settings = self.store(task_vars, arguments["key_path"])
        state, names, key_path = arguments["state"], [], commands.key_file()
        if state == "present":
            changed = commands.make()
        elif state == "filled":
            names = commands.encrypt(self.source(_given(arguments, "source")), settings.declared)
            changed = bool(names)
        else:
            key_path = Path(_given(arguments, "new_key_path"))
            changed = commands.rekey(key_path)
        return {
            "changed": changed, "path": str(commands.path), "key_path": str(key_path) if key_path else None, "names": names,
        }  # fmt: skip


def _given(arguments, option):
    if not arguments[option]:
        raise Refusal(
            "secret_option_missing",
            expected=f"{option}, since state is {arguments['state']}",
            found="none",
            remedy="Say it: FILE= or KEY= of make; docs/howto/secrets.md has examples.",
        )
    return arguments[option]
