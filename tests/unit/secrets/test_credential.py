# SPDX-License-Identifier: GPL-3.0-or-later
"""The files by which a provider knows this machine."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.credential import read_credential
from safes import CANARY


def read(path, **options):
    return read_credential(path, label="vault", what="secret id", **options)


def refused(path):
    with pytest.raises(Refusal) as refusal:
        read(path)
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_the_word_in_a_file_of_its_owners_alone(tmp_path):
    path = tmp_path / "secret-id"
    path.touch(0o600)
    path.write_text(f"{CANARY}\n")
    assert read(path) == CANARY
    path.chmod(0o644)
    assert refused(path) == "secret_credential_exposed"
    assert read(path, private=False) == CANARY


@pytest.mark.parametrize("text", ["", "\n", f"{CANARY} {CANARY}", f"{CANARY}\0"])
def test_what_is_not_one_word_is_refused(tmp_path, text):
    path = tmp_path / "secret-id"
    path.touch(0o600)
    path.write_text(text)
    assert refused(path) == "secret_credential_empty"


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert refused(tmp_path / "none") == "secret_credential_missing"
