# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes pages of releases on the controller."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.holders import Holders
from ansible.module_utils.slipway.controller.manifest_view import ManifestView
from ansible.module_utils.slipway.trust.verify import parse_manifest


class ActionModule(ControllerAction):
    """See library/slipway_release_view.py."""

    name = "slipway_release_view"

    def answer(self, arguments, task_vars):
        catalogue, application = Catalogue(Path(arguments["catalogue"])), arguments["application"]
        holders = Holders.parse(arguments["holders"])
        release_ids = [arguments["release_id"]] if arguments["release_id"] else catalogue.release_ids(application)
        pages = [
            ManifestView(Path(arguments["directory"]), parse_manifest(envelope), holders, envelope)
            for envelope in (catalogue.manifest_bytes(application, release_id) for release_id in release_ids)
        ]
        changed = [page.write({}, check=self._task.check_mode) for page in pages]
        return {"changed": any(changed), "pages": [str(page.path) for page in pages]}
