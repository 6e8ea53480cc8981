# SPDX-License-Identifier: GPL-3.0-or-later
"""The key of the store: from the first place that has one, whole, and in nobody's environment."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import repository
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets import store_key
from ansible.module_utils.slipway.secrets.store_key import (
    StoreKey,
    load_key,
    make_key,
    read_key,
    take_from_environment,
    written_by_runner,
)

TEXT = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(autouse=True)
def nothing_taken(monkeypatch):
    monkeypatch.setattr(store_key, "_taken", [])


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert TEXT not in str(refusal.value)
    return refusal.value.reason


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "keys/secrets.key"
    key = make_key(path)
    assert read_key(path) == key
    assert len(key.material) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert refused(lambda: make_key(path)) == "secrets_key_exists"
    assert path.read_bytes() == before


def test_a_key_does_not_show_itself_and_its_name_says_nothing_of_it():
    key = StoreKey(bytes(range(32)))
    assert repr(key) == "StoreKey()"
    assert len(key.id) == 16
    assert key.id != StoreKey(bytes(32)).id


def test_the_file_of_the_environment_comes_first_then_that_of_the_settings_then_the_variable(tmp_path):
    first, second = make_key(tmp_path / "first"), make_key(tmp_path / "second")
    environment = {"SECRETS_KEY_PATH": str(tmp_path / "first"), "SECRETS_KEY": TEXT}
    assert load_key(tmp_path / "second", environment) == first
    assert "SECRETS_KEY" not in environment
    assert load_key(tmp_path / "second", {}) == second
    assert load_key(None, {}).material == bytes(range(32))
    assert load_key(tmp_path / "none", {}).material == bytes(range(32))


@pytest.mark.parametrize("text", [TEXT, f" {TEXT}\n", base64.urlsafe_b64encode(bytes(range(224, 256))).decode()])
def test_both_alphabets_of_base64_are_read(text):
    assert len(load_key(None, {"SECRETS_KEY": text}).material) == 32


@pytest.mark.parametrize("text", ["", "abc", TEXT[:-4], TEXT + "AAAA", "ä" * 44, TEXT[:10] + "\n" + TEXT[10:]])
def test_what_is_no_key_is_refused(text, tmp_path):
    assert refused(lambda: load_key(None, {"SECRETS_KEY": text})) == "secrets_key_invalid"
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")
    assert refused(lambda: read_key(path)) == "secrets_key_invalid"


def test_no_key_anywhere_says_how_to_make_one(tmp_path):
    with pytest.raises(Refusal, match="make secrets-key") as refusal:
        load_key(None, {})
    assert refusal.value.reason == "secrets_key_missing"
    assert refused(lambda: load_key(tmp_path / "none", {})) == "secrets_key_missing"


def test_a_key_that_others_can_read_is_refused(tmp_path):
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    assert refused(lambda: read_key(tmp_path / "key")) == "secrets_key_exposed"


def test_the_variable_is_in_no_environment_afterwards():
    """Neither that of children nor that of the process itself, as others see it in /proc."""
    program = f"""
import os, subprocess, sys
sys.path.insert(0, {str(repository.DOMAIN.parent)!r})
from slipway.secrets import store_key
own = open("/proc/self/environ").read()
assert {TEXT!r} in own
assert store_key.take_from_environment()
assert not store_key.take_from_environment()
after = open("/proc/self/environ").read()
assert {TEXT!r} not in after and "BEFORE=1" in after and "SECRETS_OTHER=2" in after, after
assert {TEXT!r} not in subprocess.run(["env"], capture_output=True, text=True).stdout
pid = os.fork()
if pid == 0:
    os._exit({TEXT!r} in open("/proc/self/environ").read() or store_key.load_key(None).material != bytes(range(32)))
print(os.waitpid(pid, 0)[1])
"""
    environment = {"PATH": os.environ["PATH"], "BEFORE": "1", "SECRETS_KEY": TEXT, "SECRETS_OTHER": "2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_without_the_variable_nothing_is_taken():
    assert not take_from_environment({})


def test_the_environment_of_this_process_is_emptied_of_it(monkeypatch):
    monkeypatch.setenv("SECRETS_KEY", TEXT)
    assert take_from_environment()
    assert "SECRETS_KEY" not in os.environ
    assert load_key(None).material == bytes(range(32))


def test_what_ansible_runner_wrote_is_found_if_the_key_stands_in_it(tmp_path):
    environment = {"SECRETS_KEY": TEXT, "AWX_ISOLATED_DATA_DIR": str(tmp_path)}
    assert take_from_environment(environment)
    assert written_by_runner(environment) is None  # it wrote nothing
    (tmp_path / "command").write_text('{"env": {}}')
    assert written_by_runner(environment) is None
    (tmp_path / "command").write_text(f'{{"env": {{"SECRETS_KEY": "{TEXT}"}}}}')
    assert written_by_runner(environment) == tmp_path / "command"
    assert written_by_runner({}) is None


def test_nothing_but_the_value_is_overwritten(monkeypatch):
    before = Path("/proc/self/environ").read_bytes().split(b"\0")
    name, _, value = before[0].partition(b"=")
    monkeypatch.setenv(name.decode(), value.decode())  # for children, who would get what is overwritten
    store_key._wipe(name)
    after = Path("/proc/self/environ").read_bytes().split(b"\0")
    assert after == [name + b"=" + b"x" * len(value), *before[1:]]
