# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to backups of a controller's state."""

from __future__ import annotations

import doors
import plugins
import pytest
from ansible.module_utils.slipway.controller.memory import ControllerState, KnownHost

PLUGIN = "slipway_state_backup"


@pytest.fixture
def ask(tmp_path):
    """Ask about the state of a controller that knows one host."""
    ControllerState(tmp_path / "state").pin(KnownHost("id-1", "prod-1", "aa" * 32), now=1)

    def asked(state, *, directory="state", **options):
        where = {"state_directory": str(tmp_path / directory), "path": str(tmp_path / "backup")}
        return plugins.run(PLUGIN, state=state, **{**where, **options})

    return asked


def test_what_is_written_can_be_put_back(ask, tmp_path):
    written = ask("written")
    assert (written["hosts"], written["runs"], written["changed"]) == (1, 0, True)
    assert "No key is in it" in written["msg"]
    restored = ask("restored", directory="other")
    assert (restored["controller_id"], restored["hosts"]) == (written["controller_id"], 1)
    assert [host.name for host in ControllerState(tmp_path / "other").hosts()] == ["prod-1"]
    for answer in (written, restored):
        assert doors.undocumented(PLUGIN, answer) == set()


def test_check_mode_writes_nothing(ask, tmp_path):
    assert "would be written to" in ask("written", check=True)["msg"]
    assert not (tmp_path / "backup").exists()
    ask("written")
    assert "would be put back from" in ask("restored", directory="other", check=True)["msg"]
    assert ControllerState(tmp_path / "other").hosts() == []


def test_what_is_there_is_lost_only_to_a_yes(ask):
    ask("written")
    refused = ask("restored")
    assert (refused["failed"], refused["reason"]) == (True, "state_not_empty")
    assert doors.undocumented(PLUGIN, refused) == set()
    assert ask("restored", confirmed=True)["hosts"] == 1
