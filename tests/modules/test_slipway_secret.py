# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to one secret: set, exported, forgotten."""

from __future__ import annotations

import stat

import doors
import pytest
from ansible.module_utils.slipway import _secrets
from safes import CANARY

MODULE = "slipway_secret"
FIELDS = {"host": "db-1", "username": "shop", "password": CANARY, "database": "shop"}


@pytest.fixture
def house(safehouse):
    safehouse.ask("slipway_secret_store")
    return safehouse


def test_a_secret_is_set_once_and_written_to_a_file(house, tmp_path):
    assert house.ask(MODULE, check=True, name="database/main", fields=FIELDS)["changed"] is True
    made = house.ask(MODULE, name="database/main", fields=FIELDS)
    assert (made["changed"], made["name"], made["provider"]) == (True, "database/main", "local")
    assert house.ask(MODULE, name="database/main", fields=FIELDS)["changed"] is False
    asked = {"name": "database/main", "state": "exported", "field": "password", "output": tmp_path / "value"}
    assert house.ask(MODULE, check=True, **asked)["changed"] is True
    written = house.ask(MODULE, **asked)
    assert (tmp_path / "value").read_text() == CANARY
    assert stat.S_IMODE((tmp_path / "value").stat().st_mode) == 0o600
    assert house.ask(MODULE, **asked)["changed"] is False
    assert CANARY not in str((made, written))
    assert doors.undocumented(MODULE, {**made, **written}) == set()


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_secret_is_set_from_a_file_and_that_others_may_read_it_is_said(house, tmp_path, mode, monkeypatch):
    said = []
    monkeypatch.setattr(_secrets.display, "warning", said.append)
    (tmp_path / "pager.json").write_text(f'{{"key": "{CANARY}"}}')
    (tmp_path / "pager.json").chmod(mode)
    assert house.ask(MODULE, name="pager", source=tmp_path / "pager.json")["changed"] is True
    assert [f"chmod 600 {tmp_path}/pager.json" in each for each in said] == [True] * (mode == 0o644)
    assert CANARY not in str(said)


@pytest.mark.parametrize("options", [
    {"name": "pager", "fields": {"key": "a b"}}, {"name": "pager", "fields": {"pin": CANARY}}, {"name": "database/main", "fields": {"password": CANARY}},
    {"name": "other", "type": "jwt", "fields": {"secret": "short"}}, {"name": "other", "fields": {"value": ""}},
])  # fmt: skip
def test_a_malformed_secret_is_refused_and_nothing_is_written(house, options):
    before = house.store.read_bytes()
    for check in (True, False):
        refused = house.ask(MODULE, check=check, **options)
        assert refused["reason"] == "secret_malformed"
        assert CANARY not in str(refused)
    assert house.store.read_bytes() == before


def test_what_is_needed_is_asked_for(house):
    for options in ({}, {"name": "a"}, {"name": "a", "state": "exported"}):
        assert house.ask(MODULE, **options)["reason"] == "secret_option_missing"


def test_what_is_cached_is_forgotten(house):
    for check in (True, False):
        assert house.ask(MODULE, check=check, state="flushed")["changed"] is False
