# SPDX-License-Identifier: GPL-3.0-or-later
"""Says on the controller how a run ended on every host, and fails when it did not end as asked."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import ControllerAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller import deployment, regions, report, witness
from ansible.module_utils.slipway.controller.catalogue import Catalogue


class ActionModule(ControllerAction):
    """See library/slipway_run_report.py."""

    name = "slipway_run_report"

    def answer(self, arguments, task_vars):
        endings = report.endings_of(arguments["results"], arguments["unreachable"])
        as_asked = all(ending.is_as_asked for ending in endings)
        records = report.records_of(arguments["results"])
        settled = self._settled(arguments, endings, task_vars)
        as_asked = as_asked and all(settled.values())
        watch = report.Watch.of(records.values(), arguments["monitoring"])
        text = report.run_report(
            arguments["title"],
            endings,
            check=self._task.check_mode,
            candidate=arguments["candidate"],
            rollback=arguments["rollback"],
            watch=watch,
            rollout=arguments["rollout"],
            untrusted=witness.untrusted(report.newest_answers(arguments["results"])),
            secrets=settled,
            regions={region["region"]: region["hosts"] for region in arguments["regions"]},
        )
        if trouble := self._write_views(arguments, records):
            text = f"the page of the release was not written: {trouble}\n{text}"
        unrecorded, is_needed = self._noted(arguments, task_vars, endings, records, as_asked=as_asked)
        if unrecorded:
            text = report.with_unrecorded(text, unrecorded)
        hosts = {ending.host: {"outcome": ending.outcome, "serves": ending.serves} for ending in endings}
        answer = {"as_asked": as_asked, "hosts": hosts, "msg": text}
        if not as_asked:
            return {**answer, "failed": True, "reason": "not_as_asked"}
        return {**answer, "failed": True, "reason": "not_recorded"} if is_needed else answer

    def _noted(self, arguments, task_vars, endings, records, *, as_asked):
        """Note how the run ended: why that could not be, "" if it could, and whether the run fails for it."""
        place = self.place(arguments, task_vars)
        reached = []
        if not self._task.check_mode:
            outcomes = {ending.host: ending.outcome for ending in endings}
            inspections = arguments["results"].get("inspection", {})
            reached = deployment.reached_hosts(inspections, outcomes, records, self._regions(task_vars))
        if arguments["unrecorded"]:
            deployment.sweep_packs(place.directory, [arguments["run"]["run_id"]])
            return arguments["unrecorded"], False
        try:
            deployment.end_run(place, arguments["run"], "as asked" if as_asked else "not as asked", reached)
        except Refusal as refusal:  # what hosts serve is told all the same
            return str(refusal), place.is_required and not arguments["rollback"]
        return "", False

    def _regions(self, task_vars):
        """The region of each host that is in one."""
        hostvars = task_vars.get("hostvars", {})
        orders = {str(host): hostvars[host].get("release_region_order") for host in hostvars}
        return regions.regions_of(orders, task_vars.get("groups", {}))

    def _settled(self, arguments, endings, task_vars):
        """How the rotations of this run stand now that it has ended on every host, and whether nothing is left to do: {words: bool}."""
        names = arguments["rotation"].get("names", [])
        if not names or self._task.check_mode:
            return {}
        from ansible.module_utils.slipway._secret_action import rotations_of

        outcomes = {ending.host: ending.outcome for ending in endings}
        try:
            rotations = rotations_of(arguments["application"], task_vars, self._templar.template, self._loader)
            settled = rotations.settle(names, arguments["run"]["run_id"], outcomes)
        except Refusal as refusal:  # how the hosts ended is told all the same
            return {f"{', '.join(names)}: not settled: {refusal}": False}
        return {each.said: each.is_as_asked for each in settled}

    def _write_views(self, arguments, records):
        return deployment.write_views(
            Catalogue(Path(arguments["catalogue"])),
            arguments["application"],
            Path(arguments["view_directory"]),
            records,
            holders=arguments["holders"],
            check=self._task.check_mode,
        )
