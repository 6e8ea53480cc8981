# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugin that writes the evidence of a run: an archive, and apart from it who the holders are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import doors
import plugins
import proofs
import pytest
from ansible.module_utils.slipway.controller.memory import KnownHost
from ansible.module_utils.slipway.controller.witness import Witness
from ansible.module_utils.slipway.trust.keys import PublicKey

NAME = "slipway_evidence"
PEOPLE = {
    "lead": {"name": "Ada Example", "email": "ada@example.org"},
    "gone": {"name": "No One", "email": "no@example.org"},
}


@pytest.fixture
def run(tmp_path):
    return proofs.Run(tmp_path)


@pytest.fixture
def export(run, tmp_path):
    """Write the evidence as the playbook asks, by a controller that witnessed both hosts."""
    given = proofs.options(run, tmp_path)

    def written(check=False, **options):
        return plugins.run(NAME, check=check, **{**given, **options})

    return written


def test_the_archive_is_written_once_and_verifies(export, run, tmp_path):
    first, second = export(), export()
    assert (first["changed"], second["changed"]) == (True, False)
    assert (first["hosts"], first["missing"], first["notes"]) == (["prod-1", "prod-2"], [], [])
    assert first["sha256"] == hashlib.sha256(Path(first["path"]).read_bytes()).hexdigest()
    assert doors.undocumented(NAME, first) == set()
    unpacked = proofs.unpack(Path(first["path"]), tmp_path / "unpacked")
    anchors = (proofs.digest_of(run.policies[0]), PublicKey.of(Witness(tmp_path / "state").key()).hex)
    assert tuple(first["anchors"].values()) == anchors
    done = proofs.verify(unpacked, proofs.tools(tmp_path / "bin"), *anchors)
    assert done.returncode == 0, done.stdout


def test_a_memory_in_a_database_is_asked_for_cosignatures_and_hosts(run, tmp_path, postgres, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    place = postgres.place(tmp_path / "state", postgres.new())
    given = proofs.options(run, tmp_path, place)
    memory = Witness(place).memory()
    monkeypatch.setattr("ansible.module_utils.slipway.controller.memory.new_run_id", lambda _now: proofs.RUN_ID)
    memory.begin_run(operation="deploy", application="hello", environment="prod", deployed_by="ann", now=1)
    memory.pin(KnownHost("id-3", "prod-3", "aa" * 32), now=1)
    memory.note_host_of_run(proofs.RUN_ID, host_id="id-3", outcome="confirmed", recorded=True, now=2)
    answer = plugins.run(NAME, task_vars={"slipway_state_url": place.url}, **given)
    assert [each for each in answer["missing"] if "prod-3" in each] == answer["missing"] != []
    assert answer["anchors"]["witness"] == PublicKey.of(Witness(place).key()).hex
    unpacked = proofs.unpack(Path(answer["path"]), tmp_path / "unpacked")
    notes = [path.read_text() for path in unpacked.rglob("*") if path.is_file() and "checkpoint" in path.name]
    assert any(f"slipway/witness/{memory.controller_id()}" in note for note in notes)


def test_check_mode_writes_nothing(export):
    answer = export(check=True, holders=PEOPLE)
    assert answer["changed"]
    assert not Path(answer["path"]).parent.exists()


def test_names_are_apart_and_erasing_one_leaves_the_archive_as_it_is(export):
    first = export(holders=PEOPLE)
    names = Path(first["names_path"])
    assert names.name == f"{proofs.RUN_ID}.holders.json"
    assert json.loads(names.read_text()) == {"lead": PEOPLE["lead"]}
    assert names.stat().st_mode & 0o777 == 0o600
    assert not export(holders=PEOPLE)["changed"]
    second = export(holders={})
    assert (second["changed"], second["sha256"]) == (True, first["sha256"])
    assert json.loads(names.read_text()) == {}


def test_what_is_missing_is_told_and_a_failure_once_the_archive_is_written(export, run):
    answer = export(answers={**run.answers(), "prod-2": {}})
    assert (answer["failed"], answer["reason"], answer["changed"]) == (True, "evidence_incomplete", True)
    assert Path(answer["path"]).exists()
    assert doors.undocumented(NAME, answer) == set()
    assert answer["missing"] == ["the records of prod-2: no answer"]


def test_a_run_that_nobody_knows_is_refused(export):
    answer = export(answers={"prod-1": {"failed": True, "reason": "record_unknown"}})
    assert (answer["failed"], answer["reason"]) == (True, "run_unknown")
    assert doors.undocumented(NAME, answer) == set()
