# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers with one database: what one knows the other knows, what one began the other leaves alone, and a database that is down."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from databases import Postgres
from deployments import Application, Operator, Running


@dataclass(frozen=True)
class Sharing(Operator):
    """A controller whose memory is in a database that another one has too."""

    url: str
    passwords: Path
    key: Path

    def start(
        self, *words: str, program: str = "ansible-playbook", environment: Mapping[str, str] = MappingProxyType({})
    ) -> Running:
        about = f"slipway_state_url={self.url} slipway_witness_key={self.key}"
        given = {"PGPASSFILE": str(self.passwords), **environment}
        return super().start(*words, "-e", about, program=program, environment=given)

    def on(self, application: Application) -> Application:
        """The application as this controller sees it."""
        seen = replace(application, operator=self)
        seen.describe()
        return seen


@pytest.fixture
def controllers(operator: Operator, postgres: Postgres, tmp_path: Path) -> list[Sharing]:
    """Return two with the same keys, trust policy and catalogue, and directories of their own."""
    passwords = tmp_path / "passwords"
    passwords.touch(0o600)
    passwords.write_text(f"127.0.0.1:{postgres.port}:*:slipway:{postgres.password}\n", encoding="ascii")
    operator.catalogue.mkdir(exist_ok=True)
    url, found = postgres.url(postgres.new()), []
    for name in ("one", "other"):
        state = tmp_path / name
        for kept in ("keys", "trust"):
            shutil.copytree(operator.state / kept, state / kept)
        (state / "catalogue").symlink_to(operator.catalogue)
        found.append(Sharing(operator.fleet, state, url, passwords, tmp_path / "one/witness.pem"))
    return found


def report(controller: Sharing, tmp_path: Path) -> dict[str, object]:
    """What a controller without an inventory says of deliveries."""
    answer = tmp_path / "report.json"
    words = ("-i", "localhost,", "-e", f"release_status_format=json release_status_path={answer}")
    controller.play("playbooks/report.yml", *words)
    return json.loads(answer.read_text(encoding="utf-8"))


def test_two_controllers_with_one_database(
    operator: Operator, controllers: list[Sharing], postgres: Postgres, tmp_path: Path
) -> None:
    one, other = (controller.on(operator.application("shared")) for controller in controllers)
    for version in ("v1", "v2", "v3", "v4"):
        one.make(version)
    one.deploy("v1", limit="prod-1")
    other.deploy("v2", limit="prod-1")
    verified = other.operator.play(*other.words("playbooks/verify.yml", "prod-1", ["-e", f"application={one.name}"]))
    assert "first_seen" not in verified.text, "the other one knew this history"

    one.order("prod-1", "hold")
    run = one.start_deploy("-e", "release_id=v3")
    run.await_asked(one, "prod-1")
    run.signal(signal.SIGKILL)
    run.end()
    before = one.open_transaction("prod-1")
    refused = other.deploy("v3", code=2)
    assert refused.says("locked: expected no other run", "nothing was changed anywhere")
    assert one.open_transaction("prod-1") == before, "a run of another controller is never dead here"
    one.relieve("prod-1")
    one.deploy("v3", "-e", "release_retry=true")  # its own is
    assert one.active("prod-1") == "v3"

    told = report(controllers[1], tmp_path)
    ended = [(each["release_id"], each["failed"], [host["name"] for host in each["hosts"]]) for each in told["changes"]]
    cut_off = ("v3", True, [])  # which its next run has settled
    assert sorted(ended) == sorted([cut_off, *((version, False, ["prod-1"]) for version in ("v1", "v2", "v3"))])
    assert told["unended"] == []
    assert [each["changes"] for each in told["measures"] if (each["week"], each["release_type"]) == ("all", "all")] == [
        4
    ]

    postgres.stop()
    before = one.snapshot("prod-1")
    down = one.deploy("v4", code=2)
    assert down.says("controller_memory_unusable", "slipway_state_required=false")
    assert postgres.password not in down.output
    assert one.snapshot("prod-1") == before
    gone_on = one.deploy("v4", "-e", "slipway_state_required=false")
    assert gone_on.says("not noted in this controller's memory: controller_memory_unusable")
    assert gone_on.says("history of prod-1: unwitnessed")
    back = one.rollback()
    assert back.says("not noted in this controller's memory")
    assert one.active("prod-1") == "v3"
    postgres.start()
    assert len(report(controllers[0], tmp_path)["changes"]) == 4
