# SPDX-License-Identifier: GPL-3.0-or-later
"""A recipe with community.general.deploy_helper, as its documentation has it, and rsync (ansible.posix.synchronize) for the files."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..hosts import Target, encoded
from . import USUAL, Tool
from .environment import collections

HELPER = "community.general.deploy_helper"
BASE, RELEASE = {"path": "{{ base }}"}, "{{ deploy_helper.new_release_path }}"
BEFORE = "{{ [deploy_helper.previous_release_path] if deploy_helper.previous_release_path else omit }}"
SERVE = [
    {"name": "Restart", "ansible.builtin.systemd_service": {"name": "{{ unit }}", "state": "restarted"},
     "become": True, "when": "finalized is changed"},
    {"name": "Ask", "ansible.builtin.command": "{{ asked }}"},
]  # fmt: skip
FINALIZE = {
    "name": "Finalize",
    HELPER: BASE | {"release": "{{ release }}", "state": "finalize"},
    "register": "finalized",
}
DEPLOY = [
    {"name": "Initialize", HELPER: BASE | {"release": "{{ release }}"}},
    {"name": "Make the new release's directory", "ansible.builtin.file": {"path": RELEASE, "state": "directory", "mode": "0755"}},
    {"name": "Mark it as unfinished", "ansible.builtin.file": {
        "path": f"{RELEASE}/{{{{ deploy_helper.unfinished_filename }}}}", "state": "touch", "mode": "0644"}},
    {"name": "Bring the files", "ansible.posix.synchronize": {
        "src": "{{ source }}/", "dest": f"{RELEASE}/", "checksum": True, "delete": True, "use_ssh_args": True,
        "link_dest": BEFORE, "rsync_opts": ["--exclude={{ deploy_helper.unfinished_filename }}"]}},
    FINALIZE,
]  # fmt: skip


class DeployHelper(Tool):
    name = "deploy_helper"
    port = 18103

    def version(self) -> str:
        about = json.loads((collections() / "ansible_collections/community/general/MANIFEST.json").read_text())
        return f"community.general {about['collection_info']['version']}"

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        self._play(hosts, release, DEPLOY)

    def rollback(self, hosts: Sequence[Target]) -> None:
        self._play(hosts, "one", [FINALIZE])

    def _play(self, hosts: Sequence[Target], release: str, tasks: Sequence[object]) -> None:
        values = {
            "base": self.base,
            "release": release,
            "source": str(self.bench.source(release)),
            "unit": self.unit,
            "asked": self.asked(release),
        }
        play = {
            "name": "Deploy",
            "hosts": "all",
            "become": False,
            "gather_facts": False,
            "tasks": tasks,
            "vars": values,
        }
        path = self.place / "play.yml"
        path.write_text(encoded([play]))
        self.bench.ansible(str(path), hosts=hosts, **USUAL, ANSIBLE_COLLECTIONS_PATH=str(collections()))
