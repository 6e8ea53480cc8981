# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends what a host lacks, with what people signed for the release, and asks the host to stage, switch, keep or go back."""

from __future__ import annotations

import time
from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).resolve().parent.parent / "module_utils"))

from ansible.module_utils.slipway._action import WitnessedAction
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.frame import REQUEST_LIMIT
from ansible.module_utils.slipway.controller import deployment, permission
from ansible.module_utils.slipway.controller.catalogue import Catalogue
from ansible.module_utils.slipway.controller.progress import Board, Progress
from ansible.utils.display import Display

ATTEMPTS = 2
ATTACHMENT_LIMIT = REQUEST_LIMIT - (1 << 20)  # what is longer travels as a file; the rest is for the request itself
HERE_ONLY = ("catalogue", "present", "resident_digest", "balancers")  # options that this plugin reads, and no host


def _of_host(arguments):
    """The options that a host needs."""
    return {option: value for option, value in arguments.items() if option not in HERE_ONLY}


class ActionModule(WitnessedAction):
    """For ``staged``, pack and send; for ``active`` too, add what was signed for the release."""

    name = "slipway_release"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            if arguments.get("state") == "staged" and arguments.get("credentials"):
                arguments |= self._credentials(arguments, task_vars)
            if arguments.get("state") in ("staged", "active") and arguments.get("catalogue"):
                arguments |= self._signed(arguments)
            if arguments.get("state") == "staged":
                deployment.balancers_seconds(arguments.get("balancers", []))  # refuses what is none
                with self._progress(arguments, task_vars) as self.progress:
                    result.update(self._stage(arguments, task_vars))
            else:
                result.update(self.exchange(_of_host(arguments), task_vars))
        except Refusal as refusal:
            result.update(failed=True, changed=False, msg=str(refusal), **refusal.as_dict())
        return result

    def _stage(self, arguments, task_vars):
        """Send what the host lacks as far as we know; if it then names more, send that too."""
        catalogue, application = Catalogue(Path(arguments["catalogue"])), arguments["application"]
        present, release_id = arguments.get("present") or [], arguments["release_id"]
        manifest = catalogue.manifest(application, release_id)
        package = deployment.outdated_resident(arguments.get("resident_digest"))
        self.has_resident = package is None
        known = any(release["manifest_digest"] == manifest.digest for release in present)
        objects = set()  # the host has them, or fetches them
        if not known and not arguments.get("source"):
            objects = deployment.missing_objects(catalogue, application, manifest.tree_digest, present)
        for _attempt in range(ATTEMPTS):
            shipment = deployment.Shipment(
                release_id, arguments["run"]["run_id"], frozenset(objects), with_objects=not self._task.check_mode
            )
            needed = package is not None or not known or bool(objects)
            path = (
                deployment.make_pack(
                    self.state_directory(task_vars),
                    catalogue,
                    application,
                    shipment,
                    package,
                    packing=self.progress.packing,
                )
                if needed
                else None
            )
            answer = self._exchange(_of_host(arguments), path, task_vars)
            objects = set(answer.get("missing") or ())
            if not objects:
                return answer
        raise Refusal(
            "objects_missing",
            expected=f"every object of {release_id} to arrive",
            found=f"{len(objects)} still missing, the first is {min(objects)}",
            remedy="Run the same command again; if it comes again, look at the host's disk.",
        )

    def _progress(self, arguments, task_vars):
        """Lines go to standard error: what programs read of Ansible's output stays as it is."""
        board = Board(deployment.packs_of(self.state_directory(task_vars), arguments["run"]["run_id"]) / "progress")
        hosts = task_vars.get("ansible_play_hosts") or [task_vars["inventory_hostname"]]
        return Progress(
            board, task_vars["inventory_hostname"], len(hosts), lambda line: Display().display(line, stderr=True)
        )

    def _signed(self, arguments):
        """Approvals and authorizations for the release by the digest that the host has it under; the host judges them."""
        catalogue, release_id = Catalogue(Path(arguments["catalogue"])), arguments["release_id"]
        known = {release["release_id"]: release["manifest_digest"] for release in arguments.get("present") or []}
        digest = known.get(release_id) or catalogue.manifest(arguments["application"], release_id).digest
        return permission.signed_for(
            catalogue, arguments["application"], digest, arguments["environment"], int(time.time())
        )

    def _credentials(self, arguments, task_vars):
        """What the service is to get, as this run has read it. It travels within the exchange alone, never as a file."""
        from ansible.module_utils.slipway._secrets import release_credentials

        if not self._is_pipelining_enabled("new"):
            raise Refusal(
                "credentials_need_pipelining",
                expected="a connection that hands what is sent to the host's memory (pipelining)",
                found="one that makes files of it",
                remedy="Set pipelining = true for the connection, and leave out ANSIBLE_KEEP_REMOTE_FILES.",
            )
        chain = release_credentials(arguments["credentials"], task_vars, self._templar.template, self._loader)
        return chain.take(arguments["run"]["run_id"]).options()

    def _exchange(self, arguments, path, task_vars):
        """A pack travels within the request, or as a file where it is too long for that or the module has to run."""
        self.progress.working()
        if path is None:
            return self.ask(arguments, task_vars)
        if path.stat().st_size <= ATTACHMENT_LIMIT:
            answer = self.ask_resident(arguments, task_vars, ("pack", path.read_bytes()))
            if answer is not None:
                return answer
        self._make_tmp_path()
        there = self._connection._shell.join_path(self._connection._shell.tmpdir, "release.pack")
        self.progress.sending(path)
        self._transfer_file(str(path), there)
        self.progress.working()
        try:
            return self.ask({**arguments, "pack": there}, task_vars)
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)
