# SPDX-License-Identifier: GPL-3.0-or-later
"""pyinfra with a bare script: hardlinks of the release before, rsync, one link, a restart, a question. It verifies nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from ..hosts import Target
from . import Tool
from .environment import ENVIRONMENT, python_environment

SCRIPT = '''"""Deploys a release that lies on this machine."""
from pyinfra import host
from pyinfra.operations import files, server

data = host.data
server.shell(
    name="Copy the release before by hardlinks",
    commands=[
        f"mkdir -p {data.base}/releases && cd {data.base} && "
        f"if [ ! -e releases/{data.release} ] && [ -e current ]; then cp -al $(readlink -f current) releases/{data.release}; fi"
    ],
)
files.rsync(
    name="Bring what differs", src=f"{data.source}/", dest=f"{data.base}/releases/{data.release}/", flags=["-a", "-c", "--delete"]
)
server.shell(name="Switch", commands=[data.switch])
'''
BACK = '''"""Goes back to the release before."""
from pyinfra import host
from pyinfra.operations import server

server.shell(name="Switch", commands=[host.data.switch])
'''


class Pyinfra(Tool):
    name = "pyinfra"
    port = 18102

    def version(self) -> str:
        python_environment()
        command = [str(ENVIRONMENT / "bin/pyinfra"), "--version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1].removeprefix("v")

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        self._run(hosts, SCRIPT, release)

    def rollback(self, hosts: Sequence[Target]) -> None:
        self._run(hosts, BACK, "one")

    def _run(self, hosts: Sequence[Target], script: str, release: str) -> None:
        data = {
            "base": self.base,
            "release": release,
            "source": str(self.bench.source(release)),
            "switch": self.switched(release),
        }
        listed = [(host.address, _reached(host) | data) for host in hosts]
        inventory, deploy = self.place / "inventory.py", self.place / "deploy.py"
        inventory.write_text(f"hosts = {listed!r}\n")
        deploy.write_text(script)
        self.bench.run([ENVIRONMENT / "bin/pyinfra", "-y", inventory, deploy], directory=self.place)


def _reached(host: Target) -> dict[str, str]:
    return {
        "ssh_user": host.user,
        "ssh_key": host.key,
        "ssh_known_hosts_file": host.known_hosts,
        "ssh_strict_host_key_checking": "yes",
    }
