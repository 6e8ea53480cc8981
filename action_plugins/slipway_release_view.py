# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the page of a release on the controller."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.manifest_view import ManifestView


class ActionModule(ControllerAction):
    """See library/slipway_release_view.py."""

    name = "slipway_release_view"

    def answer(self, arguments, task_vars):
        catalogue = Catalogue(Path(arguments["catalogue"]))
        manifest = catalogue.manifest(arguments["application"], arguments["release_id"])
        page = ManifestView(Path(arguments["directory"]), manifest)
        return {"changed": page.write({}, check=self._task.check_mode), "page": str(page.path)}
