# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the resident package, sends it, then runs the module of the same name on the host; pins the host's history key."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import NamedTemporaryFile

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import HostAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import resident


class ActionModule(HostAction):
    """See library/slipway_host.py: there is no resident package to ask yet, so the module runs."""

    name = "slipway_host"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._make_tmp_path()
        there = self._connection._shell.join_path(self._connection._shell.tmpdir, "slipway.pyz")
        with NamedTemporaryFile() as package:
            package.write(resident.build())
            package.flush()
            self._transfer_file(package.name, there)
        try:
            arguments = {**self._task.args, "resident": there}
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        if not self._task.check_mode:
            self._pin(result, task_vars)
        return result

    def _pin(self, result, task_vars):
        try:
            self.witness(task_vars).pin(result, task_vars["inventory_hostname"], now=int(time.time()))
        except Refusal as refusal:
            result.update(failed=True, msg=str(refusal), **refusal.as_dict())
