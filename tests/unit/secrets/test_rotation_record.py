# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps of rotations: whole, private, refused where it was changed."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.secrets.rotation_record import CLOSED, STATES, Rotation, RotationRecords
from safes import is_locked

ROTATION = Rotation(
    "rotation_1", "database/main", "vault", "made", "3", "4", "ann", "ansible-1", Process.of(os.getpid()), "2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z",
    {"role": "shop_b"}, {"role": "shop_a"}, {"shop": "", "worker": "run_1"},
)  # fmt: skip


@pytest.fixture
def records(tmp_path):
    return RotationRecords(tmp_path, "prod")


def test_what_is_kept_is_read_back(records):
    assert (records.read("database/main"), records.all()) == (None, [])
    records.save(ROTATION)
    records.save(replace(ROTATION, name="a"))
    records.save(replace(ROTATION, state="handed_out"))
    assert records.read("database/main") == replace(ROTATION, state="handed_out")
    assert [each.name for each in records.all()] == ["a", "database/main"]
    assert RotationRecords(records.state, "staging").all() == []


def test_it_is_the_operators_own(records):
    records.save(ROTATION)
    (path,) = records.directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(records.directory.stat().st_mode) == 0o700


def test_what_is_closed_is_not_open():
    assert [state for state in STATES if not replace(ROTATION, state=state).is_open] == list(CLOSED)
    assert ROTATION.waits_for == ["shop"]


@pytest.mark.parametrize("change", [
    {"format": 2}, {"name": "other"}, {"state": "lost"}, {"more": 1}, {"process": {"pid": 1}}, {"process": None},
])  # fmt: skip
def test_one_that_was_altered_is_refused(records, change):
    records.save(ROTATION)
    path = records.directory / "database.main.json"
    path.write_bytes(canonical.encode({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(Refusal) as refusal:
        records.read("database/main")
    assert refusal.value.reason == "rotation_record_altered"


def test_what_is_no_record_is_refused(records):
    records.save(ROTATION)
    (records.directory / "database.main.json").write_text("{}")
    with pytest.raises(Refusal):
        records.all()
    (records.directory / "database.main.json").write_text("no JSON")
    with pytest.raises(Refusal) as refusal:
        records.read("database/main")
    assert refusal.value.reason == "rotation_record_altered"


def test_one_process_at_a_time_says_whose_a_rotation_is(records):
    with records.locked():
        assert is_locked(records.directory / ".lock")
    assert not is_locked(records.directory / ".lock")


@pytest.mark.parametrize("environment", ["", "../prod", "Prod"])
def test_an_environment_is_a_word(tmp_path, environment):
    with pytest.raises(Refusal) as refusal:
        RotationRecords(tmp_path, environment)
    assert refusal.value.reason == "rotation_environment_invalid"
