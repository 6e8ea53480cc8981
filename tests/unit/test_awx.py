# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions of AWX share; how they use it is in tests/modules/test_slipway_awx_plan.py."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway._awx import AwxAction
from ansible.module_utils.slipway.base.errors import Refusal


@pytest.fixture
def action(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("CONTROLLER_HOST", "TOWER_HOST"):
        monkeypatch.delenv(name, raising=False)
    return AwxAction.__new__(AwxAction)


@pytest.mark.parametrize(
    ("variable", "given", "address"),
    [
        ("CONTROLLER_HOST", "https://awx.example", "https://awx.example"),
        ("CONTROLLER_HOST", "awx.example", "https://awx.example"),
        ("TOWER_HOST", "https://awx.example:8443/path?token=canary", "https://awx.example:8443"),
        ("CONTROLLER_HOST", "http://127.0.0.1:8052", "http://127.0.0.1:8052"),
    ],
)
def test_an_address_is_told_without_what_else_stands_there(action, monkeypatch, variable, given, address):
    monkeypatch.setenv(variable, given)
    assert action.address() == address


@pytest.mark.parametrize(
    ("given", "reason"), [("", "awx_address_missing"), ("http://awx.example", "awx_address_insecure")]
)
def test_an_address_that_is_none_or_without_encryption_is_refused(action, monkeypatch, given, reason):
    monkeypatch.setenv("CONTROLLER_HOST", given)
    with pytest.raises(Refusal) as caught:
        action.address()
    assert caught.value.reason == reason


def test_the_collections_own_file_is_an_address_too(action, tmp_path):
    (tmp_path / "tower_cli.cfg").write_text("[general]\nhost = https://awx.example\n")
    assert action.address() == "the AWX of tower_cli.cfg"


def test_a_module_that_is_not_there_is_named(action):
    with pytest.raises(Refusal) as caught:
        action.module("ansible.none", "team")
    assert (caught.value.reason, caught.value.expected) == (
        "awx_collection_missing",
        "ansible.none.team in a collection that is installed",
    )
