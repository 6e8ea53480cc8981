# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted store: whole or refused, and of no use without its key."""

from __future__ import annotations

import json
import os
import stat
import threading
import time

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets import local_store
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.provider import Standing, Unknown
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.store_key import StoreKey
from safes import CANARY, secret

KEY, OTHER = StoreKey(bytes(range(32))), StoreKey(bytes(32))


@pytest.fixture
def store(tmp_path, clock):
    made = LocalStore("local", tmp_path / "safe/secrets.enc", lambda: KEY, clock)
    assert made.make() is True
    return made


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def again(store, key=KEY):
    return LocalStore("local", store.path, lambda: key)


def test_what_is_written_is_read_back_by_whoever_has_the_key(store):
    assert store.write(secret(kind=None, description="the shop's")) == "1"
    read = again(store).read("database/main")
    assert read == secret(description="the shop's")
    assert [entry.name for entry in again(store).entries()] == ["database/main"]
    assert store.make() is False
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert not store.origin


def test_nothing_of_a_secret_is_in_the_file_not_even_its_name(store):
    store.write(secret())
    data = store.path.read_bytes()
    assert CANARY.encode() not in data
    assert b"database" not in data
    assert json.loads(data.splitlines()[0])["cipher"] == "AES-256-GCM"
    assert CANARY not in repr(store)


def test_versions_are_kept_but_not_for_ever(store):
    for number in range(1, 8):
        assert store.write(secret(value=f"v{number}")) == str(number)
    assert store.read("database/main").value("password") == "v7"
    assert store.read("database/main", "3").value("password") == "v3"
    for version in ("2", "8", "x"):
        with pytest.raises(Unknown):
            store.read("database/main", version)
    with pytest.raises(Unknown):
        store.read("database/other")


def test_the_same_content_is_never_encrypted_to_the_same_bytes(store):
    seen = {store.path.read_bytes()}
    for _ in range(5):
        store.rekey(KEY)
        seen.add(store.path.read_bytes())
    assert len(seen) == 6


@pytest.mark.parametrize("length", [1, 2, 3])  # so that base64 ends in each of its ways
def test_every_altered_byte_is_refused(store, length):
    store.write(Secret("a", {"value": CANARY + "x" * length}))
    data = store.path.read_bytes()
    reasons = set()
    for at in range(len(data)):
        for change in (1, 0x20):
            store.path.write_bytes(data[:at] + bytes([data[at] ^ change]) + data[at + 1 :])
            reasons.add(refused(lambda: again(store).read("a")))
    assert reasons == {"secret_store_altered", "secrets_key_wrong"}


@pytest.mark.parametrize("cut", [0, 1, 50, -1, -2, -30, None])
def test_a_file_that_was_cut_or_continued_is_refused(store, cut):
    store.write(secret())
    data = store.path.read_bytes()
    store.path.write_bytes(data + b"AAAA" if cut is None else data[:cut])
    assert refused(lambda: again(store).read("database/main")) == "secret_store_altered"


def test_another_key_opens_nothing_and_changes_nothing(store):
    store.write(secret())
    before = store.path.read_bytes()
    for call in (
        lambda each: each.read("database/main"),
        lambda each: each.write(secret()),
        lambda each: each.rekey(OTHER),
        LocalStore.make,
    ):
        assert refused(lambda call=call: call(again(store, OTHER))) == "secrets_key_wrong"
    assert store.path.read_bytes() == before


def test_a_store_that_is_not_there_says_how_it_is_made(tmp_path):
    with pytest.raises(Refusal, match="make secrets-encrypt") as refusal:
        LocalStore("local", tmp_path / "none", lambda: KEY).read("a")
    assert refusal.value.reason == "secret_store_missing"


def test_a_store_that_goes_while_it_is_opened_is_not_there(store, monkeypatch):
    monkeypatch.setattr(local_store, "read_if_there", lambda *_a, **_o: None)
    assert refused(lambda: again(store).read("a")) == "secret_store_missing"


def test_rekeying_is_one_rename_between_the_old_key_and_the_new(store, syscalls):
    store.write(secret())
    syscalls.calls.clear()
    store.rekey(OTHER)
    assert [call for call, _ in syscalls.calls] == ["write", "fchmod", "fsync", "rename", "fsync"]
    assert refused(lambda: again(store).read("database/main")) == "secrets_key_wrong"
    assert again(store, OTHER).read("database/main").value("password") == CANARY


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_failed_write_leaves_the_store_as_it_was(store, syscalls, call):
    store.write(secret())
    before = store.path.read_bytes()
    syscalls.fail(call, 28)
    assert refused(lambda: store.write(secret(value="other"))) == "disk_full"
    assert store.path.read_bytes() == before
    assert os.listdir(store.path.parent) == ["secrets.enc"]


def test_many_secrets_are_added_at_once_or_not_at_all(store, syscalls):
    syscalls.calls.clear()
    assert store.write_all([secret("a"), secret("b"), secret("a")]) == ["1", "1", "2"]
    assert [call for call, _ in syscalls.calls].count("rename") == 1


def test_writers_at_the_same_time_lose_nothing(store):
    writers = [threading.Thread(target=lambda n=n: again(store).write(secret(f"name-{n}"))) for n in range(12)]
    [each.start() for each in writers]
    [each.join() for each in writers]
    assert len(store.entries()) == 12


def test_a_store_that_outgrows_its_limit_is_refused_before_it_is_written(store, monkeypatch):
    monkeypatch.setattr(local_store, "STORE_LIMIT", 1000)
    before = store.path.read_bytes()
    assert refused(lambda: store.write(secret(value="x" * 1000))) == "secret_store_full"
    assert store.path.read_bytes() == before


def test_what_another_process_wrote_is_read(store):
    reader = again(store)
    assert reader.entries() == []
    store.write(secret())
    assert reader.read("database/main").version == "1"


def test_a_read_costs_next_to_nothing_once_the_store_is_open(store, say):
    store.write_all([secret(f"name-{number}") for number in range(100)])
    store.read("name-1")
    began = time.perf_counter()
    for number in range(1000):
        store.read(f"name-{number % 100}")
    say(f"a read of the local store: {time.perf_counter() - began:.4f} ms")


def test_a_version_is_replaced_only_while_it_is_the_newest(store, clock):
    store.write(secret())
    assert store.standing("database/main") == Standing("1", clock.now())
    assert store.version_after("1") == "2"
    clock.advance(60)
    store.replace(secret(value="new", version="2"), "1")
    assert (store.read("database/main").version, store.standing("database/main").written) == ("2", clock.now())
    for before, version in (("1", "2"), ("2", "9")):
        assert (
            refused(lambda before=before, version=version: store.replace(secret(version=version), before))
            == "secret_overtaken"
        )
    assert again(store).read("database/main").value("password") == "new"


def test_the_first_version_is_made_only_where_there_is_none(store):
    store.replace(secret(version="9"), "")
    assert store.read("database/main").version == "1"
    for before in ("", "2"):
        assert (
            refused(lambda before=before: store.replace(secret(value="new", version="2"), before)) == "secret_overtaken"
        )
    assert store.read("database/main").value("password") == CANARY


def test_an_old_version_is_retired_and_the_newest_never(store):
    store.write_all([secret(), secret(value="new")])
    for version in ("2", "1", "1"):
        store.retire("database/main", version, destroyed=False)
    assert store.read("database/main").version == "2"
    assert len(store._content()["database/main"]["versions"]) == 1
    with pytest.raises(Unknown):
        store.read("database/main", "1")


def test_a_secret_is_removed_with_all_of_its_versions(store):
    store.write_all([secret(), secret(value="new")])
    for _ in range(2):
        store.remove("database/main")
    for question in (store.read, store.standing, lambda name: store.retire(name, "1", destroyed=True)):
        with pytest.raises(Unknown):
            question("database/main")
