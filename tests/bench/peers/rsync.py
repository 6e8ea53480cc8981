# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: what the network and the disks cost.

rsync with checksums and hardlinks over open connections, the bytes checked with sha256sum, synced, switched, on all hosts in
parallel. It verifies no signature, keeps no history and cannot go back by itself.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..hosts import Target, on_all, wait
from . import Tool, Unavailable

BLOCK = 1 << 20


class Rsync(Tool):
    name = "rsync"
    port = 18101

    def version(self) -> str:
        try:
            done = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True)
        except OSError:
            raise Unavailable("rsync is not installed: python3 -m lab install rsync") from None
        return done.stdout.split()[2]

    def prepare(self, hosts: Sequence[Target]) -> None:
        super().prepare(hosts)
        for release in ("one", "two"):
            self.sums(release)

    def sums(self, release: str) -> Path:
        """The digests that the hosts check, made once as a release is."""
        path = self.place / f"{self.bench.bundle.name}-{release}" / "sums"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            lines = [f"{_digest(self.bench.source(release) / each)}  {each}\n" for each in self.bench.bundle.paths()]
            path.write_text("".join(lines))
        return path

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        on_all(hosts, f"mkdir -p {self.base}/releases")
        before = ["--link-dest", f"{self.base}/current/"] if release == "two" else []
        wait([self._copy(host, release, before) for host in hosts])
        check = f"cd {self.base}/releases/{release} && sha256sum --quiet -c sums && sync -f ."
        on_all(hosts, f"{check} && {self.switched(release)}")

    def _copy(self, host: Target, release: str, before: Sequence[str]) -> subprocess.Popen[bytes]:
        shell = ["-e", shlex.join(host.ssh)]
        target = f"{host.login}:{self.base}/releases/{release}/"
        return subprocess.Popen(
            ["rsync", "-a", "-c", *before, *shell, f"{self.bench.source(release)}/", str(self.sums(release)), target]
        )

    def rollback(self, hosts: Sequence[Target]) -> None:
        on_all(hosts, self.switched("one"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
