# SPDX-License-Identifier: GPL-3.0-or-later
"""One secret in a file: read strictly, written for its owner alone."""

from __future__ import annotations

import stat

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.secret_file import export, exposed, fields_in
from safes import CANARY


def test_fields_are_read_from_json(tmp_path):
    path = tmp_path / "secret.json"
    path.write_text(f'{{"password": "{CANARY}", "port": 5432}}')
    assert fields_in(path, "a") == {"password": CANARY, "port": "5432"}


@pytest.mark.parametrize(("text", "reason"), [
    (None, "secret_file_missing"), ("", "secret_file_invalid"), (f'"{CANARY}"', "secret_file_invalid"), (f'["{CANARY}"]', "secret_file_invalid"),
    (f'{{"a": "{CANARY}"', "secret_file_invalid"), (f'{{"a": "{CANARY}", "a": "x"}}', "secret_file_invalid"), ("{}", "secret_unreadable"),
    (f'{{"a": ["{CANARY}"]}}', "secret_unreadable"),
])  # fmt: skip
def test_a_file_that_has_none_is_refused_and_not_shown(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "x").write_text(text)
    with pytest.raises(Refusal) as refusal:
        fields_in(tmp_path / "x", "a")
    assert refusal.value.reason == reason
    assert CANARY not in str(refusal.value)


def test_a_value_is_written_once_and_for_its_owner_alone(tmp_path):
    path = tmp_path / "value"
    assert export(path, CANARY, check=True) is True
    assert not path.exists()
    assert export(path, CANARY, check=False) is True
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (CANARY, 0o600)
    assert export(path, CANARY, check=False) is False
    assert export(path, "x" * len(CANARY), check=True) is True
    path.chmod(0o644)
    assert export(path, CANARY, check=False) is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("x")
    (tmp_path / "value").symlink_to(tmp_path / "target")
    assert export(tmp_path / "value", CANARY, check=False) is True
    assert (tmp_path / "target").read_text() == "x"
    assert not (tmp_path / "value").is_symlink()


@pytest.mark.parametrize(("mode", "is_said"), [
    (0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o620, True), (0o601, True), (0o644, True),
])  # fmt: skip
def test_a_file_that_others_may_use_is_said(tmp_path, mode, is_said):
    path = tmp_path / "a file.json"
    path.write_text("{}")
    path.chmod(mode)
    said = exposed(path)
    assert bool(said) == is_said
    if is_said:
        assert f"(mode {mode:04o}): chmod 600 '{path}'" in said


def test_of_a_file_that_is_not_there_nothing_is_said(tmp_path):
    assert exposed(tmp_path / "none") == ""
