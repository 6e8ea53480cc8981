# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuses extra variables that Ansible would evaluate, and arguments for ssh that would believe any host, before a task or a worker has them: nothing else of
a project is loaded so early.

It has no variables. What a play's own keywords need of what is given, they ask for with the lookup of the same name, which comes earlier still.
"""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway_given
short_description: Refuse extra variables that are templates, and an environment that leaves the keys of hosts unchecked
description:
  - Ansible evaluates extra variables when a task uses them, on the controller. Answers of a survey and values of a launch are extra variables too.
  - A run with one that has C({{), C({%) or C({#) in it ends here, before its first task. It gives no variables.
  - So does one with C(StrictHostKeyChecking=no) or the like in C(ANSIBLE_SSH_ARGS), C(ANSIBLE_SSH_COMMON_ARGS) or their kin.
version_added: 0.1.0
author: The Slipway founders
options: {}
"""

import os
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.errors import AnsibleError
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.given import require_host_keys_checked, require_plain
from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import load_extra_vars


class VarsModule(BaseVarsPlugin):
    """What Ansible asks for variables; there are none."""

    def get_vars(self, loader, path, entities, cache=True):
        try:
            require_plain(load_extra_vars(loader))
            require_host_keys_checked(os.environ)
        except Refusal as refusal:
            raise AnsibleError(str(refusal)) from None
        return {}
