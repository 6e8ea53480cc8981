# SPDX-License-Identifier: GPL-3.0-or-later
"""Slipway itself: deploys and rollbacks as an operator types them, of releases that two people approved."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..bundles import RELEASES
from ..hosts import Target, encoded, on_all
from . import REPOSITORY, Tool


class Slipway(Tool):
    name = "slipway"
    port = 18100
    unit = "bench"
    base = "/srv/bench"
    has_releases = False

    def version(self) -> str:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or "unknown"

    @property
    def catalogue(self) -> Path:
        return self.place / "catalogue" / self.bench.bundle.name

    def play(self, *arguments: str, hosts: Sequence[Target] = ()) -> None:
        path = self.place / "variables.json"
        served = {
            "unit": "bench.service",
            "health": [{"type": "unit"}, {"type": "http", "url": f"http://127.0.0.1:{self.port}/version"}],
        }
        values = {
            "slipway_applications": {"bench": served if self.bench.has_service else {"strategy": "none"}},
            "slipway_state_directory": str(self.place),
            "slipway_release_directory": str(self.place / "release"),
            "release_catalogue": str(self.catalogue),
            "release_waves": ["100%"],
        }
        path.write_text(encoded(values))
        self.bench.ansible(*arguments, "-e", f"@{path}", hosts=hosts)

    def prepare(self, hosts: Sequence[Target]) -> None:
        super().prepare(hosts)
        if not self.has_releases:
            shutil.rmtree(self.catalogue, ignore_errors=True)  # approvals of an earlier run may be too old
            self.play("playbooks/keys.yml")
            for release in RELEASES:
                self.release(release)
            self.has_releases = True

    def release(self, release: str) -> None:
        """Make a release and give what the trust policy asks for in prod."""
        source = self.bench.source(release)
        self.play("playbooks/release.yml", "-e", f"release_source={source}", "-e", f"release_id={release}")
        for role, key in (("engineering-lead", "lead"), ("risk-manager", "risk")):
            given = {
                "release_id": release,
                "approval_environment": "prod",
                "approval_role": role,
                "approval_key": str(self.place / "keys" / f"{key}.pem"),
                "approval_confirmed": "yes",
            }
            self.play("playbooks/approve.yml", "-e", encoded(given))

    def forget(self, hosts: Sequence[Target]) -> None:
        stop = "sudo systemctl stop bench; " if self.bench.has_service else ""
        on_all(hosts, f"{stop}sudo rm -rf /srv/bench /var/lib/slipway/bench")
        self.play("playbooks/bootstrap.yml", hosts=hosts)
        self.play("playbooks/verify.yml", "-e", "release_history_accepted=true", hosts=hosts)

    def deploy(self, hosts: Sequence[Target], release: str) -> None:
        self.play("deploy.yml", "-e", f"release_id={release}", hosts=hosts)

    def rollback(self, hosts: Sequence[Target]) -> None:
        self.play("rollback.yml", hosts=hosts)

    def promised_bytes(self) -> int:
        """What a change of one byte in a hundred may send to a host: 1.2 % of the bundle, the manifest and the file list."""
        catalogue = self.catalogue / "bench"
        manifest = (catalogue / "manifests/two.dsse.json").stat().st_size
        file_list = max(path.stat().st_size for path in (catalogue / "trees").iterdir())
        return self.bench.bundle.bytes * 12 // 1000 + manifest + file_list
