# SPDX-License-Identifier: GPL-3.0-or-later
"""What a process hands out, the one that prints learns: of this run, from its own user, and only what nobody may see."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible.module_utils.slipway.secrets import known_values
from ansible.module_utils.slipway.secrets.known_values import Listener, confidential, tell
from ansible.module_utils.slipway.secrets.redaction import MASK, Redactor
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.volatile import open_volatile
from safes import CANARY, RUN, secret

DATABASE = {"host": "db-1.internal", "username": "shop-of-ours", "password": CANARY, "database": "shop-of-ours"}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    """Another process, as it were."""
    monkeypatch.setattr(known_values, "HERE", Redactor())


def forget(monkeypatch):
    monkeypatch.setattr(known_values, "HERE", Redactor())


def test_what_another_process_handed_out_is_known_here(place, memory, monkeypatch):
    listener = Listener({}, RUN, memory)
    assert len(listener.redactor()) == 0
    tell(place, secret(), None)
    forget(monkeypatch)
    assert listener.redactor().text(f"a {CANARY} b") == f"a {MASK} b"
    tell(place, Secret("other", {"value": "another-one-of-these"}), None)
    forget(monkeypatch)
    known_values.HERE.add([CANARY])
    assert listener.redactor().text(f"{CANARY} another-one-of-these") == f"{MASK} {MASK}"
    [file] = memory.glob(f"*/{RUN}/handed-out")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_it_is_found_where_the_runtime_directory_is_too(memory, monkeypatch):
    place = open_volatile({"XDG_RUNTIME_DIR": str(memory)}, RUN, swap_accepted=True)
    tell(place, secret(), None)
    forget(monkeypatch)
    assert Listener({"XDG_RUNTIME_DIR": str(memory)}, RUN).redactor().finds(CANARY)


def test_another_run_knows_nothing_of_it(place, memory, monkeypatch):
    tell(place, secret(), None)
    forget(monkeypatch)
    assert not Listener({}, "run-1-2-4", memory).redactor().finds(CANARY)


def test_half_a_line_is_waited_for_and_what_is_none_is_passed_over(place, memory, monkeypatch):
    file = place.directory / RUN / known_values.FILE
    listener = Listener({}, RUN, memory)
    line = json.dumps([CANARY])
    file.write_text(f"no JSON\n7\n{{}}\n[7]\n{line[:9]}")
    assert not listener.redactor().finds(CANARY)
    file.write_text(f"no JSON\n7\n{{}}\n[7]\n{line}\n")
    assert listener.redactor().finds(CANARY)


def test_what_another_user_put_there_is_not_read(place, memory, monkeypatch):
    file = place.directory / RUN / known_values.FILE
    file.write_text(json.dumps([CANARY]) + "\n")
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    listener = Listener({}, RUN, memory)
    listener._files = {file: 0}
    assert not listener.redactor().finds(CANARY)


def test_without_memory_a_process_knows_its_own():
    tell(None, secret(), None)
    assert known_values.HERE.finds(CANARY)


@pytest.mark.parametrize(("kind", "fields", "expected"), [
    ("database", DATABASE, [CANARY]), (None, DATABASE, list(DATABASE.values())), ("unknown", {"url": "https://hook.example/T0KEN"}, ["https://hook.example/T0KEN"]),
    ("s3", {"access_key_id": "AKIA", "secret_access_key": CANARY, "bucket": "pictures"}, [CANARY]),
    ("broker", {"username": "u", "api_key": "k", "api_secret": "s", "host": "h"}, ["k", "s"]), ("jwt", {"secret": CANARY, "issuer": "i"}, [CANARY]),
])  # fmt: skip
def test_of_a_kind_only_what_nobody_may_see_is_masked(kind, fields, expected):
    assert confidential(kind, fields) == expected


def test_where_all_is_public_nothing_is_told(place):
    tell(place, Secret("a", {"host": "h"}), "database")
    assert not (place.directory / RUN / known_values.FILE).exists()
