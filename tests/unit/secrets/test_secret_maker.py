# SPDX-License-Identifier: GPL-3.0-or-later
"""Who makes a new version: this controller, somebody, or Vault's database engine, answering as its API documents it."""

from __future__ import annotations

import base64
import http.server
import json
import threading

import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.rotation_policy import ALPHABETS, Recipe, RotationPolicy
from ansible.module_utils.slipway.secrets.secret_maker import Maker, generated
from ansible.module_utils.slipway.secrets.vault import Vault, VaultSettings
from safes import CANARY, secret

DAY = 86400


class Engine:
    """A database engine: two static roles, and one that gives out leases. ``asked`` are the requests, ``valid`` the leases that hold."""

    def __init__(self):
        self.ttl, self.lease_duration, self.missing = 0, 30 * DAY, False
        self.passwords = {"shop_a": "a-0", "shop_b": "b-0"}
        self.valid, self.asked = [], []

    def answer(self, method, path, body):
        self.asked.append((method, path))
        if path == "auth/token/lookup-self":
            return 200, {"data": {"ttl": self.ttl}}
        if self.missing:
            return 404, {"errors": []}
        if path == "database/creds/reports":
            self.valid.append(f"{path}/{len(self.asked)}")
            data = {"username": "v-reports-1", "password": CANARY}
            return 200, {"lease_id": self.valid[-1], "lease_duration": self.lease_duration, "data": data}
        if path == "sys/leases/revoke":
            assert body["sync"] is True
            self.valid = [lease for lease in self.valid if lease != body["lease_id"]]
            return 204, None
        kind, role = path.removeprefix("database/").split("/")
        if kind == "rotate-role":
            name, _, number = self.passwords[role].partition("-")
            self.passwords[role] = f"{name}-{int(number) + 1}"
            return 204, None
        return 200, {"data": {"username": f"{role}_user", "password": self.passwords[role]}}


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def vault(engine, place, tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = engine.answer(self.command, self.path.removeprefix("/v1/"), json.loads(data or b"{}"))
            text = b"" if said is None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_POST

        def log_message(self, *_words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("a-token")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    yield Vault("vault", VaultSettings(url, "token", token_path=token), Logins(place, SystemClock()))
    server.shutdown()
    server.server_close()


def maker(vault, made_by="database_static", roles=("shop_a", "shop_b"), **about):
    return Maker(RotationPolicy("database/main", 7 * DAY, made_by, roles=roles, **about), vault)


def dynamic(vault):
    return maker(vault, "database_dynamic", ("reports",))


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_a_generated_value_is_of_its_alphabet_and_length_and_never_the_same():
    for name, characters in ALPHABETS.items():
        values = {generated(Recipe(40, name)) for _ in range(50)}
        assert len(values) == 50
        assert {len(value) for value in values} == {40}
        assert set("".join(values)) <= set(characters)
    keys = {generated(Recipe(size=32)) for _ in range(50)}
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {32}
    assert len(keys) == 50


def test_only_the_fields_of_the_policy_are_made_anew():
    made = maker(None, "generated", (), recipes={"password": Recipe(40)}).make(secret())
    assert (made.fields["username"], len(made.fields["password"]), made.origin) == ("shop", 40, {})
    assert made.fields["password"] not in repr(made)


def test_what_is_brought_replaces_what_it_names():
    by_hand = maker(None, "hand", ())
    assert dict(by_hand.make(secret(), {"password": "new"}).fields) == {"password": "new", "username": "shop"}
    assert refused(lambda: by_hand.make(secret())) == "rotation_fields_missing"


def test_what_would_change_is_known_before_it_is_made(vault, engine):
    generated_ = maker(None, "generated", (), recipes={"password": Recipe()})
    assert generated_.changes(secret(), None) == {"password"}
    by_hand = maker(None, "hand", ())
    assert by_hand.changes(secret(), None, {"password": CANARY, "username": "new"}) == {"username"}
    assert maker(vault).changes(secret(), None) == dynamic(vault).changes(secret(), None) == {"username", "password"}
    assert engine.asked == []


def test_only_fields_that_the_secret_has_or_its_kind_may_have_are_made():
    by_hand = maker(None, "hand", ())
    assert by_hand.changes(secret(), "database", {"port": "5432"}) == {"port"}
    assert refused(lambda: by_hand.changes(secret(), "unknown", {"port": "5432"})) == "rotation_fields_unknown"
    with pytest.raises(Refusal) as refusal:
        by_hand.changes(secret(), None, {"port": "5432", CANARY: "x"})
    assert (refusal.value.expected, refusal.value.found) == (
        "fields that database/main has: password, username", "another name, port",
    )  # fmt: skip


@pytest.mark.parametrize("made_by", ["generated", "database_static", "database_dynamic"])
def test_a_file_is_for_who_makes_it_by_hand(vault, made_by):
    given = maker(vault, made_by)
    given.require_file_used(None)
    assert refused(lambda: given.require_file_used({"password": CANARY})) == "rotation_file_unused"
    maker(vault, "hand").require_file_used({"password": CANARY})


def test_of_what_nobody_issued_it_is_said_that_it_is_not_revoked():
    assert "not revoked anywhere" in maker(None, "generated", ()).revoke({})
    assert maker(None, "generated", ()).origin_of(secret(), {}) == {}


def test_a_database_is_one_of_a_vault():
    assert refused(lambda: maker(None)) == "rotation_maker_elsewhere"


def test_the_static_role_that_is_not_in_use_gets_a_new_password(vault, engine):
    static = maker(vault)
    first = static.make(secret())
    assert (first.origin, first.fields["username"], first.fields["password"]) == (
        {"role": "shop_a"},
        "shop_a_user",
        "a-1",
    )
    in_use = secret(value="a-1")
    in_use.fields["username"] = "shop_a_user"
    assert static.origin_of(in_use, {"role": "wrong"}) == {"role": "shop_a"}
    second = static.make(in_use)
    assert (second.origin, second.fields["password"]) == ({"role": "shop_b"}, "b-1")
    assert engine.passwords["shop_a"] == "a-1"  # valid until it is retired
    assert static.revoke(static.origin_of(in_use, {})) == ""
    assert engine.passwords == {"shop_a": "a-2", "shop_b": "b-1"}


def test_a_version_that_no_role_has_made_is_not_revoked_and_that_is_said(vault, engine):
    static = maker(vault)
    assert static.origin_of(secret(), {}) == {}
    assert "not revoked anywhere" in static.revoke({})
    assert engine.passwords == {"shop_a": "a-0", "shop_b": "b-0"}


def test_a_lease_is_issued_beside_the_one_before_and_revoked_by_its_name(vault, engine):
    maker_ = dynamic(vault)
    first, second = maker_.make(secret()), maker_.make(secret())
    assert (first.fields["username"], first.fields["password"], first.origin["role"]) == (
        "v-reports-1",
        CANARY,
        "reports",
    )
    assert engine.valid == [first.origin["lease"], second.origin["lease"]]
    assert maker_.origin_of(secret(), first.origin) == first.origin
    for _ in range(2):
        assert maker_.revoke(first.origin) == ""
    assert engine.valid == [second.origin["lease"]]
    assert "valid until that ends by itself" in maker_.revoke({})


def test_a_lease_that_ends_before_the_next_rotation_is_given_back(vault, engine):
    engine.lease_duration = 3600
    assert refused(lambda: dynamic(vault).make(secret())) == "rotation_lease_too_short"
    assert engine.valid == []


def test_a_token_that_ends_before_the_next_rotation_asks_for_nothing(vault, engine):
    """What it asked for would end with it."""
    engine.ttl = 3600
    assert refused(lambda: dynamic(vault).make(secret())) == "rotation_token_too_short"
    assert engine.asked == [("GET", "auth/token/lookup-self")]
    engine.ttl = 7 * DAY
    assert dynamic(vault).make(secret())


def test_a_role_that_is_not_there_is_named(vault, engine):
    engine.missing = True
    for made in (lambda: dynamic(vault).make(secret()), lambda: maker(vault).make(secret())):
        assert refused(made) == "rotation_role_unknown"
