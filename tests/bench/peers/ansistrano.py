# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles ansistrano.deploy and ansistrano.rollback, by rsync, where they are installed (`ansible-galaxy role install`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from ..hosts import Target, encoded
from . import CACHE, USUAL, Tool, Unavailable
from .environment import collections

ROLES = (CACHE / "roles", Path.home() / ".ansible/roles", Path("/usr/share/ansible/roles"), Path("/etc/ansible/roles"))


class Ansistrano(Tool):
    name = "ansistrano"
    port = 18104

    def version(self) -> str:
        found = [
            place for place in ROLES if all((place / f"ansistrano.{role}").is_dir() for role in ("deploy", "rollback"))
        ]
        if not found:
            raise Unavailable(
                "the roles ansistrano.deploy and ansistrano.rollback are on none of Ansible's usual paths"
            )
        collections()
        about = found[0] / "ansistrano.deploy" / "meta" / ".galaxy_install_info"
        return str(yaml.safe_load(about.read_text())["version"]) if about.exists() else "a copy without a version"

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        values = {
            "ansistrano_deploy_from": f"{self.bench.source(release)}/",
            "ansistrano_rsync_use_ssh_args": True,
            "ansistrano_rsync_extra_params": ["-c"],
            "ansistrano_keep_releases": 5,
            "ansistrano_after_symlink_tasks_file": str(self._after(release)),
        }
        self._play(hosts, "ansistrano.deploy", values)

    def rollback(self, hosts: Sequence[Target]) -> None:
        self._play(
            hosts, "ansistrano.rollback", {"ansistrano_rollback_after_symlink_tasks_file": str(self._after("one"))}
        )

    def _after(self, release: str) -> Path:
        tasks = [{"name": "Serve it", "ansible.builtin.shell": self.served(release)}]
        path = self.place / "after.yml"
        path.write_text(encoded(tasks))
        return path

    def _play(self, hosts: Sequence[Target], role: str, values: dict[str, object]) -> None:
        common = {"ansistrano_deploy_to": self.base, "ansistrano_allow_anonymous_stats": False}
        play = {"name": "Deploy", "hosts": "all", "become": False, "gather_facts": False, "roles": [{"role": role}]}
        path = self.place / "play.yml"
        path.write_text(encoded([play | {"vars": common | values}]))
        self.bench.ansible(
            str(path),
            hosts=hosts,
            ANSIBLE_COLLECTIONS_PATH=str(collections()),
            **USUAL,
            ANSIBLE_ROLES_PATH=":".join(map(str, ROLES)),
        )
