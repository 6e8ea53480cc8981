# SPDX-License-Identifier: GPL-3.0-or-later
"""Issues a wrapped secret id of an AppRole, or receives one."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._secret_action import SecretAction
from ansible.module_utils.slipway._secrets import caller_of
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.wrapped_secret_id import issue, receive


class ActionModule(SecretAction):
    """See library/slipway_vault_credential.py."""

    name = "slipway_vault_credential"

    def answer(self, arguments, task_vars):
        access, check = self.administration(arguments, task_vars), self._task.check_mode
        log, caller = self.log(task_vars), caller_of(task_vars, self._templar.template)

        def note(role, outcome):
            operation = {"issued": "issue", "received": "receive"}[arguments["state"]]
            log.note(
                caller,
                SystemClock(),
                operation=operation,
                name=f"approle/{role}",
                provider=access.vault.label,
                outcome=outcome,
            )

        if arguments["state"] == "issued":
            output = Path(_given(arguments, "output"))
            role = access.roles.role(_given(arguments, "role"))
            if not check:
                issue(access, role, arguments["wrap_seconds"], output, note)
            return {"changed": True, "role": role.name, "path": str(output)}
        source = Path(_given(arguments, "source"))
        about = access.about
        if not about.secret_id_path:
            raise Refusal(
                "vault_secret_id_path_missing",
                expected=f"secret_id_path and auth: approle of {access.vault.label}",
                found=f"auth: {about.auth}",
                remedy="Say in secrets_providers where the secret id is to be.",
            )
        role = None if check else receive(access, source, about.role_id_path, about.secret_id_path, note)
        return {"changed": True, "role": role, "path": str(about.secret_id_path)}


def _given(arguments, option):
    if not arguments[option]:
        raise Refusal(
            "vault_option_missing",
            expected=f"{option}, since state is {arguments['state']}",
            found="none",
            remedy="Say it: ROLE=, OUTPUT= or FILE= of make; docs/howto/vault-access.md has examples.",
        )
    return arguments[option]
