# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends what an artifact store lacks of the catalogue's releases, and runs the module of the same name where the store is."""

from __future__ import annotations

import os
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import HostAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import deployment, publication
from ansible.module_utils.slipway.controller.catalogue import Catalogue


class ActionModule(HostAction):
    """See library/slipway_artifact_store.py."""

    name = "slipway_artifact_store"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        run_id = f"publish-{os.getpid()}"
        try:
            result.update(self._publish(dict(self._task.args), run_id, task_vars))
        except Refusal as refusal:
            result.update(failed=True, changed=False, msg=str(refusal), **refusal.as_dict())
        finally:
            deployment.sweep_packs(self.state_directory(task_vars), [run_id])
        return result

    def _publish(self, arguments, run_id, task_vars):
        catalogue, application = Catalogue(Path(arguments["catalogue"])), arguments["application"]
        requested = arguments.pop("release_id", None) or ""
        answer = self._execute_module(module_args=arguments, task_vars=task_vars)
        if answer.get("failed"):
            return answer
        verified = bool(arguments.get("verified"))
        todo = publication.unpublished(catalogue, application, requested, answer["published"], again=verified)
        sent = publication.Sent()
        for release in todo:
            objects = frozenset()
            while True:
                shipment = deployment.Shipment(release.release_id, run_id, objects)
                path = deployment.make_pack(self.state_directory(task_vars), catalogue, application, shipment, None)
                about = {"release_id": release.release_id, "tree": release.tree_digest}
                answer = self._send({**arguments, **about}, path, task_vars)
                if answer.get("failed"):
                    return answer
                objects = publication.still_missing(release, answer, objects)
                if not objects:
                    break
            sent.add(release, answer)
        return {**answer, **sent.as_dict()}

    def _send(self, arguments, path, task_vars):
        self._make_tmp_path()
        there = self._connection._shell.join_path(self._connection._shell.tmpdir, "release.pack")
        self._transfer_file(str(path), there)
        try:
            return self._execute_module(module_args={**arguments, "pack": there}, task_vars=task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
