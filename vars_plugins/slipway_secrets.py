# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes SECRETS_KEY out of the environment and masks values in what a run says, before Ansible starts its workers: the one thing that it loads early enough.

It has no variables. Without it the key would be in the environment of every ssh, hook and command of the run.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway_secrets
short_description: Keep the key of the encrypted store out of the environment, and values of secrets out of the output
description:
  - Keeps C(SECRETS_KEY) in the memory of Ansible and removes it from the environment. It gives no variables.
  - Masks values of secrets that the run has handed out in what Ansible displays and logs and in what callbacks are given, whatever their encoding. That is
    the last line of defence; tasks need C(no_log) all the same.
version_added: 0.1.0
author: The Slipway founders
options: {}
"""

import os
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway.secrets.store_key import take_from_environment, written_by_runner
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.display import Display

if take_from_environment() and (file := written_by_runner()):
    Display().warning(
        f"SECRETS_KEY stands in {file}, where ansible-runner keeps its environment. Remove that file, and make another key (make secrets-rekey). "
        "With ansible-runner, name the key's file in SECRETS_KEY_PATH."
    )
try:
    from ansible.module_utils.slipway import _masking

    _masking.install(os.getpid())
except (ImportError, AttributeError) as error:
    Display().warning(f"values of secrets are not masked in the output, since this Ansible is another one: {error}")


class VarsModule(BaseVarsPlugin):
    """What Ansible asks for variables; there are none."""

    def get_vars(self, loader, path, entities, cache=True):
        return {}
