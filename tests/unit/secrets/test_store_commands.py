# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators do to the encrypted store: made once, filled all or none, rekeyed with both keys at hand until the end."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets import store_key
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.env_file import Declared
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.store_commands import StoreCommands
from ansible.module_utils.slipway.secrets.store_key import make_key, read_key
from safes import CANARY

ENV = f"DATABASE_MAIN_PASSWORD={CANARY}\nTOKEN={CANARY}\n"
DECLARED = (Declared("database/main", None, "d", {"password": "DATABASE_MAIN_PASSWORD"}),)


@pytest.fixture
def commands(tmp_path, clock, monkeypatch):
    """A function that makes the commands of a store, with the key path of its settings or none, and one that was given."""
    monkeypatch.delenv("SECRETS_KEY_PATH", raising=False)
    log = AccessLog(tmp_path / "access.jsonl")
    caller = Caller("ann", "ansible-1", "prod", "")

    def make(*, key="key", check=False, given=None):
        settings_key = tmp_path / key if key else None
        return StoreCommands("local", tmp_path / "s/secrets.enc", settings_key, log, caller, clock, given, check)

    return make


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "old.env"
    path.write_text(ENV)
    return path


def store(commands):
    return LocalStore("local", commands().path, lambda: read_key(commands().key_path))


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def files(tmp_path):
    return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "access" not in path.name}


def test_a_key_and_a_store_are_made_once(commands, tmp_path):
    assert commands(check=True).make() is True
    assert files(tmp_path) == {}
    assert commands().make() is True
    before = files(tmp_path)
    assert commands(check=True).make() is False
    assert commands().make() is False
    assert files(tmp_path) == before


def test_no_new_key_is_made_for_a_store_whose_key_is_gone(commands, tmp_path):
    commands().make()
    commands().key_path.unlink()
    before = files(tmp_path)
    for check in (True, False):
        assert refused(commands(check=check).make) == "secrets_key_missing"
    assert files(tmp_path) == before


@pytest.mark.parametrize("key", ["key", None])
@pytest.mark.parametrize("variable", ["SECRETS_KEY_PATH", "SECRETS_KEY"])
def test_a_key_that_the_environment_has_makes_a_store_too_and_no_other_key(
    commands, tmp_path, monkeypatch, key, variable
):
    another = make_key(tmp_path / "another")
    monkeypatch.setattr(store_key, "_taken", [])
    value = str(tmp_path / "another") if variable == "SECRETS_KEY_PATH" else (tmp_path / "another").read_text()
    monkeypatch.setenv(variable, value)
    assert commands(key=key).make() is True
    assert not (tmp_path / "key").exists()
    assert LocalStore("local", commands().path, lambda: another).entries() == []


def test_a_key_that_was_given_comes_before_what_the_environment_has(commands, tmp_path, monkeypatch):
    make_key(tmp_path / "another")
    monkeypatch.setenv("SECRETS_KEY_PATH", str(tmp_path / "another"))
    assert commands(given=tmp_path / "given").make() is True
    assert LocalStore("local", commands().path, lambda: read_key(tmp_path / "given")).entries() == []
    assert refused(lambda: commands().encrypt(tmp_path / "another", DECLARED)) == "env_file_invalid"
    assert refused(commands().make) == "secrets_key_wrong"


def test_a_file_is_taken_in_once(commands, source):
    assert commands(check=True).encrypt(source, DECLARED) == ["database/main", "token"]
    assert not commands().path.exists()
    assert commands().encrypt(source, DECLARED) == ["database/main", "token"]
    assert store(commands).read("database/main").value() == CANARY
    assert commands().encrypt(source, DECLARED) == []
    source.write_text(ENV.replace("TOKEN=", "TOKEN=new-"))
    assert commands(check=True).encrypt(source, DECLARED) == ["token"]
    assert commands().encrypt(source, DECLARED) == ["token"]
    assert store(commands).read("token").version == "2"
    assert source.read_text() != ENV
    assert [(each["name"], each["outcome"], each["version"]) for each in commands().log.records()] == [
        ("database/main", "begun", None), ("token", "begun", None), ("database/main", "written", "1"), ("token", "written", "1"),
        ("token", "begun", None), ("token", "written", "2"),
    ]  # fmt: skip
    assert CANARY.encode() not in commands().log.path.read_bytes()


def test_a_malformed_file_changes_nothing_and_makes_nothing(commands, source, tmp_path):
    source.write_text(f"{ENV}noise {CANARY}\n")
    before = files(tmp_path)
    assert refused(lambda: commands().encrypt(source, DECLARED)) == "env_file_invalid"
    assert refused(lambda: commands().encrypt(tmp_path / "none", DECLARED)) == "env_file_missing"
    assert files(tmp_path) == before


def test_another_key_opens_the_store_afterwards_and_the_old_one_does_not(commands, source, tmp_path):
    commands().encrypt(source, DECLARED)
    assert commands(check=True).rekey(tmp_path / "new") is True
    assert not (tmp_path / "new").exists()
    assert commands().rekey(tmp_path / "new") is True
    assert refused(store(commands).entries) == "secrets_key_wrong"
    assert LocalStore("local", commands().path, lambda: read_key(tmp_path / "new")).read("token").value() == CANARY
    assert commands(key="new").rekey(tmp_path / "new") is False
    assert commands(key="new").rekey(tmp_path / "key") is True
    assert [each["outcome"] for each in commands().log.records()][4:] == ["begun", "rekeyed"] * 2


def test_whoever_cannot_read_the_store_gives_it_no_other_key(commands, source, tmp_path):
    commands().encrypt(source, DECLARED)
    make_key(tmp_path / "wrong")
    before = files(tmp_path)
    assert refused(lambda: commands(key="wrong").rekey(tmp_path / "new")) == "secrets_key_wrong"
    assert files(tmp_path) == before


def test_a_rekeying_that_is_cut_off_leaves_the_store_to_the_old_key(commands, source, tmp_path, syscalls):
    commands().encrypt(source, DECLARED)
    make_key(tmp_path / "new")
    syscalls.fail("rename", 28)
    assert refused(lambda: commands().rekey(tmp_path / "new")) == "disk_full"
    assert store(commands).read("token").value() == CANARY
    assert commands().rekey(tmp_path / "new") is True
