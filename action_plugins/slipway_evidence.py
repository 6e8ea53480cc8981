# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the evidence of a run on the controller."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.controller import run_evidence
from ansible.module_utils.slipway.controller.holders import Holders


class ActionModule(ControllerAction):
    """See library/slipway_evidence.py."""

    name = "slipway_evidence"

    def answer(self, arguments, task_vars):
        application, run_id = arguments["application"], arguments["run_id"]
        places = {name: Path(arguments[name]) for name in ("catalogue", "trust_policy", "audits", "readme", "script")}
        sources = run_evidence.sources_of(self.place(arguments, task_vars), application, run_id, **places)
        evidence = run_evidence.gather(run_id, application, arguments["answers"], sources)
        archive, path, check = evidence.archive(), Path(arguments["path"]), self._task.check_mode
        changed, names_path = run_evidence.write(path, archive, mode=0o644, check=check), None
        if arguments["holders"] is not None:
            names_path = path.with_name(f"{run_id}.holders.json")
            names = evidence.names(Holders.parse(arguments["holders"]))
            text = json.dumps(names, indent=2, ensure_ascii=False) + "\n"
            changed |= run_evidence.write(names_path, text.encode(), mode=0o600, check=check)
        answer = {
            "changed": changed,
            "path": str(path),
            "sha256": hashlib.sha256(archive).hexdigest(),
            "hosts": list(evidence.hosts),
            "missing": list(evidence.missing),
            "notes": list(evidence.notes),
            "anchors": evidence.anchors,
            "names_path": str(names_path) if names_path else None,
        }
        return {**answer, "failed": True, "reason": "evidence_incomplete"} if evidence.missing else answer
