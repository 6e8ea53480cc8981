# SPDX-License-Identifier: GPL-3.0-or-later
"""Vault, the real one: what it answers sealed, stopped, cut off, to whom it does not know, and how often it is asked."""

from __future__ import annotations

import base64
import http.server
import json
import os
import socket
import threading
import time
from collections import UserDict
from contextlib import suppress

import hvac
import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.process import Process
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.keeper import Keeper
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.provider import Unavailable, Unknown
from ansible.module_utils.slipway.secrets.rotation_policy import DAY, Recipe, RotationPolicy
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.secret_rotation import Rotations
from ansible.module_utils.slipway.secrets.secret_settings import ProviderSettings, SecretSettings
from ansible.module_utils.slipway.secrets.vault import Vault, VaultSettings
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from safes import CANARY, FakeProvider, secret
from vaults import certificates, free_port

FIELDS = {"password": CANARY, "username": "shop"}


@pytest.fixture
def logins(place):
    return Logins(place, SystemClock())


@pytest.fixture
def vault(real_vault, logins):
    return Vault("vault", real_vault.settings(), logins)


@pytest.fixture
def retiring(real_vault, logins, tmp_path):
    """As somebody who may retire versions too."""
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text(real_vault.token)
    return Vault("vault", real_vault.settings(auth="token", token_path=token), logins)


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def unavailable(call):
    with pytest.raises(Unavailable) as error:
        call()
    return error.value.why, error.value.passing


def test_what_is_written_is_read_back_with_its_kind_and_version(vault, real_vault):
    assert vault.write(Secret("kinds/main", FIELDS, "database", "d")) == "1"
    assert vault.read("kinds/main") == Secret("kinds/main", FIELDS, "database", "d", "1")
    assert vault.write(Secret("kinds/main", {"password": "new"}, "database", "d")) == "2"
    assert vault.read("kinds/main").value() == "new"
    assert vault.read("kinds/main", "1").value("password") == CANARY
    assert real_vault.root.secrets.kv.v2.read_secret_version("shop/kinds/main", raise_on_deleted_version=True)["data"][
        "data"
    ] == {"password": "new"}


def test_what_a_secret_is_for_may_change_and_need_not_be_said(vault):
    for kind, description in (("database", "d"), (None, "e"), (None, ""), ("jwt", "")):
        vault.write(Secret("about", FIELDS, kind, description))
        read = vault.read("about")
        assert (read.kind, read.description) == (kind, description)


def test_a_list_has_all_names_below_the_prefix_and_no_values(vault, real_vault):
    for name in ("list/b", "list/a/deep", "list/a"):
        vault.write(Secret(name, FIELDS, None, name))
    real_vault.put("list/NO NAME", value="x")
    real_vault.put("list/0/1/2/3/4/5/6/7/8/9", value="x")
    found = [entry for entry in vault.entries() if entry.name.startswith("list/")]
    assert [(entry.name, entry.description, entry.version) for entry in found] == [
        ("list/a", "list/a", "1"), ("list/a/deep", "list/a/deep", "1"), ("list/b", "list/b", "1"),
    ]  # fmt: skip


def test_an_empty_prefix_lists_nothing(real_vault, logins):
    assert Vault("vault", real_vault.settings(prefix="shop/empty"), logins).entries() == []


def test_a_name_a_version_and_a_deleted_version_that_are_not_there(vault, real_vault):
    real_vault.put("gone", value=CANARY)
    real_vault.root.secrets.kv.v2.delete_latest_version_of_secret("shop/gone")
    for name, version in (("none", None), ("gone", None), ("gone", "7"), ("gone", "x")):
        with pytest.raises(Unknown):
            vault.read(name, version)


def test_what_has_no_plain_fields_is_refused(vault, real_vault):
    real_vault.put("nested", value={"a": CANARY})
    assert refused(lambda: vault.read("nested")) == "secret_unreadable"


def test_permission_denied_is_a_no_and_no_reason_to_log_in_again(vault, real_vault):
    real_vault.put("a", value=CANARY)
    vault.read("a")
    before = len(real_vault.asked("auth/approle/login"))
    assert refused(lambda: vault.read("forbidden/a")) == "secret_denied"
    assert refused(lambda: vault.write(Secret("forbidden/a", FIELDS))) == "secret_denied"
    assert len(real_vault.asked("auth/approle/login")) == before


def test_a_sealed_one_does_not_answer_and_asking_again_is_of_no_use(vault, real_vault):
    real_vault.put("sealed", value=CANARY)
    assert vault.read("sealed").value() == CANARY
    real_vault.seal()
    assert unavailable(lambda: vault.read("sealed")) == ("sealed", False)
    real_vault.unseal()
    assert vault.read("sealed").value() == CANARY


def test_one_that_is_cut_off_costs_its_time_out(real_vault, vault, logins):
    real_vault.put("cut", value=CANARY)
    assert vault.read("cut").value() == CANARY
    real_vault.cut_off()
    impatient = Vault("vault", real_vault.settings(timeout_seconds=0.3), logins)
    assert unavailable(lambda: impatient.read("cut")) == ("timed out", False)
    real_vault.go_on()
    assert vault.read("cut").value() == CANARY


def test_one_that_answers_byte_by_byte_is_too_late_and_the_next_one_answers(dripping, place, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    said, clock = [], SystemClock()
    vault = Vault("vault", VaultSettings(dripping, "token", token_path=path, timeout_seconds=0.3), Logins(place, clock))
    local = FakeProvider("local", {"pager": secret("pager")}, origin=())
    settings = SecretSettings(chain=(ProviderSettings("vault", "vault"), ProviderSettings("local", "local")))
    caller = Caller("ann", "ansible-1", "prod", "prod-1")
    keeper = Keeper(settings, [vault, local], place, AccessLog(tmp_path / "access.jsonl"), caller, clock, said.append)
    assert keeper.read("pager", "password") == CANARY
    assert said == ["FALLBACK: vault is timed out; secrets come from local instead"]
    assert unavailable(vault.entries) == ("timed out", False)


def test_one_that_is_stopped_is_not_reached(real_vault, logins):
    about = real_vault.settings()
    stopped = VaultSettings(
        f"https://127.0.0.1:{free_port()}", **{key: value for key, value in vars(about).items() if key != "url"}
    )
    assert unavailable(lambda: Vault("vault", stopped, logins).read("a")) == ("unreachable", True)


def test_a_connection_that_is_cut_while_it_is_made_is_no_wrong_certificate(real_vault, logins):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            connection, _ = server.accept()
            connection.recv(16)
            connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        about = {**vars(real_vault.settings()), "url": f"https://127.0.0.1:{server.getsockname()[1]}"}
        assert unavailable(lambda: Vault("vault", VaultSettings(**about), logins).read("a"))[0] == "unreachable"


def test_another_authoritys_certificate_is_refused_and_the_secret_id_stays_here(real_vault, logins, tmp_path):
    certificates(tmp_path)
    about = {**vars(real_vault.settings()), "ca_path": tmp_path / "ca.pem"}
    before = len(real_vault.asked("auth/approle/login"))
    assert refused(lambda: Vault("vault", VaultSettings(**about), logins).read("a")) == "secret_provider_untrusted"
    assert len(real_vault.asked("auth/approle/login")) == before


def test_an_authority_that_is_no_file_is_said(real_vault, logins, tmp_path):
    about = {**vars(real_vault.settings()), "ca_path": tmp_path / "none.pem"}
    assert refused(lambda: Vault("vault", VaultSettings(**about), logins).read("a")) == "secret_provider_failed"


def test_wrong_credentials_are_a_no(real_vault, logins, tmp_path):
    wrong = real_vault.secret("wrong-id", "00000000-0000-0000-0000-000000000000")
    about = real_vault.settings(secret_id_path=wrong)
    assert refused(lambda: Vault("vault", about, logins).read("a")) == "secret_login_refused"
    assert (
        refused(lambda: Vault("vault", real_vault.settings(auth_mount="none"), logins).read("a"))
        == "secret_login_refused"
    )


def test_a_token_that_ends_in_the_middle_is_replaced_by_one_login(vault, real_vault, logins):
    real_vault.put("expired", value=CANARY)
    vault.read("expired")
    token = logins.token(vault.origin, lambda: pytest.fail("there is a login"))
    real_vault.root.auth.token.revoke(token)
    before = len(real_vault.asked("auth/approle/login"))
    assert [vault.read("expired").value() for _ in range(3)] == [CANARY] * 3
    assert len(real_vault.asked("auth/approle/login")) == before + 1


def test_a_new_login_does_not_turn_a_no_into_a_yes(vault, real_vault, logins):
    real_vault.put("a", value=CANARY)
    vault.read("a")
    real_vault.root.auth.token.revoke(logins.token(vault.origin, lambda: pytest.fail("there is a login")))
    assert refused(lambda: vault.read("forbidden/a")) == "secret_denied"


def test_a_token_of_a_file(real_vault, logins):
    real_vault.put("token", value=CANARY)
    made = real_vault.root.auth.token.create(policies=["shop"])["auth"]["client_token"]
    path = real_vault.secret("token", made)
    vault = Vault("vault", real_vault.settings(auth="token", token_path=path), logins)
    assert vault.read("token").value() == CANARY
    assert made not in repr(vault.origin)
    real_vault.root.auth.token.revoke(made)
    assert refused(lambda: vault.read("token")) == "secret_token_expired"
    path.chmod(0o644)
    assert refused(lambda: vault.read("token")) == "secret_credential_exposed"


@pytest.mark.parametrize("policy", ["shop", "nothing"])
def test_a_token_that_may_not_look_at_itself_is_denied_and_not_over(real_vault, logins, policy):
    """Without Vault's policy ``default``: also one that has no right at the mount at all."""
    real_vault.root.sys.create_or_update_policy("nothing", 'path "other/*" { capabilities = ["read"] }')
    made = real_vault.root.auth.token.create(policies=[policy], no_default_policy=True)["auth"]["client_token"]
    path = real_vault.secret("bare-token", made)
    vault = Vault("vault", real_vault.settings(auth="token", token_path=path), logins)
    assert refused(lambda: vault.read("forbidden/a")) == "secret_denied"
    real_vault.root.auth.token.revoke(made)
    assert refused(lambda: vault.read("forbidden/a")) == "secret_token_expired"


def test_an_approle_that_may_not_look_at_itself_does_not_log_in_again_for_a_no(real_vault, logins):
    root = real_vault.root
    root.auth.approle.create_or_update_approle("bare", token_policies=["shop"], token_no_default_policy=True)
    role_id = real_vault.secret("bare-role-id", root.auth.approle.read_role_id("bare")["data"]["role_id"])
    secret_id = real_vault.secret("bare-id", root.auth.approle.generate_secret_id("bare")["data"]["secret_id"])
    vault = Vault("vault", real_vault.settings(role_id_path=role_id, secret_id_path=secret_id), logins)
    before = len(real_vault.asked("auth/approle/login"))
    for _ in range(2):
        assert refused(lambda: vault.read("forbidden/a")) == "secret_denied"
    assert len(real_vault.asked("auth/approle/login")) == before + 1


def signed_jwt(private, claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    body = part(json.dumps({"alg": "RS256", "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    return (body + b"." + part(private.sign(body, padding.PKCS1v15(), SHA256()))).decode()


def test_a_jwt(real_vault, logins):
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    root = real_vault.root
    if "jwt/" not in root.sys.list_auth_methods()["data"]:
        root.sys.enable_auth_method("jwt")
    root.write_data("auth/jwt/config", data={"jwt_validation_pubkeys": [public.decode()]})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["slipway"],
        "token_policies": ["shop"],
        "token_ttl": "1h",
    }
    root.write_data("auth/jwt/role/ci", data=role)
    claims = {"sub": "job-1", "aud": "slipway", "exp": int(time.time()) + 600, "nbf": int(time.time()) - 60}
    real_vault.put("jwt", value=CANARY)
    path = real_vault.secret("jwt", signed_jwt(private, claims))
    about = real_vault.settings(auth="jwt", jwt_path=path, role="ci")
    assert Vault("vault", about, logins).read("jwt").value() == CANARY
    real_vault.secret("jwt", signed_jwt(private, {**claims, "aud": "another"}))
    assert refused(lambda: Vault("vault", about, logins).read("jwt")) == "secret_login_refused"


def test_a_fleet_reads_each_secret_once_and_logs_in_once(real_vault, place, tmp_path, say):
    """Eight hosts and ten secrets, as many processes at once as Ansible has workers."""
    log = AccessLog(tmp_path / "access.jsonl")
    for number in range(10):
        real_vault.put(f"fleet/name-{number}", value=f"{CANARY}-{number}")
    logins_before = len(real_vault.asked("auth/approle/login"))

    def host(number):
        clock = SystemClock()
        settings = SecretSettings(chain=(ProviderSettings("vault", "vault"),))
        caller = Caller("ann", "ansible-1", "prod", f"prod-{number}")
        provider = Vault("vault", real_vault.settings(), Logins(place, clock))
        keeper = Keeper(settings, [provider], place, log, caller, clock, pytest.fail)
        for each in range(10):
            assert keeper.read(f"fleet/name-{each}") == f"{CANARY}-{each}"

    threads = [threading.Thread(target=host, args=(number,)) for number in range(8)]
    [each.start() for each in threads]
    [each.join() for each in threads]
    reads = [len(real_vault.asked(f"secret/data/shop/fleet/name-{number}", "read")) for number in range(10)]
    records = log.records()
    hits = sum(record["cached"] for record in records)
    say(f"{len(records)} lookups: {sum(reads)} reads at Vault, {hits / len(records):.1%} from the cache")
    assert reads == [1] * 10
    assert len(real_vault.asked("auth/approle/login")) == logins_before + 1
    assert len(records) == 80


@pytest.mark.parametrize(("how", "why", "seconds"), [("seal", "sealed", 30), ("cut_off", "timed out", 0.5)])
def test_the_next_provider_answers_meanwhile_and_the_time_out_is_paid_once(
    real_vault, place, tmp_path, how, why, seconds
):
    said, asked, log, clock = [], [], AccessLog(tmp_path / "access.jsonl"), SystemClock()
    local = FakeProvider("local", {"database/main": secret(), "pager": secret("pager")}, origin=())
    settings = SecretSettings(chain=(ProviderSettings("vault", "vault"), ProviderSettings("local", "local")))

    class Counted(Vault):
        def read(self, name, version=None):
            asked.append(name)
            return super().read(name, version)

    def read(name):
        about = real_vault.settings(timeout_seconds=seconds, prefix="shop/fallback")
        provider = Counted("vault", about, Logins(place, clock))
        caller = Caller("ann", "ansible-1", "prod", "prod-1")
        return Keeper(settings, [provider, local], place, log, caller, clock, said.append).read(name, "password")

    getattr(real_vault, how)()
    assert [read(name) for name in ("database/main", "pager") * 5] == [CANARY] * 10
    assert asked == ["database/main"]
    assert set(said) == {f"FALLBACK: vault is {why}; secrets come from local instead"}


def test_a_login_that_may_have_arrived_is_not_tried_again(answering, logins, real_vault):
    """It may have used up a secret id; one that met a closed port has not."""
    about = {**vars(real_vault.settings()), "url": answering(502, "{}")}
    assert unavailable(lambda: Vault("vault", VaultSettings(**about), logins).read("a")) == ("unreachable", False)
    about["url"] = f"http://127.0.0.1:{free_port()}"
    assert unavailable(lambda: Vault("vault", VaultSettings(**about), logins).read("a")) == ("unreachable", True)


@pytest.mark.parametrize(("status", "body"), [
    (200, "<html></html>"), (200, "{}"), (200, "[]"), (200, '{"auth": null}'), (200, '{"auth": {"client_token": ""}}'), (307, ""),
    (200, '{"auth": {"client_token": "a", "lease_duration": "an hour"}}'), (200, '{"auth": {"client_token": "", "lease_duration": 60}}'),
])  # fmt: skip
def test_an_answer_to_a_login_that_is_none_is_refused(answering, logins, real_vault, status, body):
    about = {**vars(real_vault.settings()), "url": answering(status, body)}
    assert refused(lambda: Vault("vault", VaultSettings(**about), logins).read("a")) == "secret_provider_failed"


@pytest.mark.parametrize(("status", "found"), [
    (502, ("unreachable", True)), (503, ("unreachable", True)), (504, ("timed out", False)), (500, "secret_provider_failed"), (429, "secret_provider_failed"), (400, "secret_provider_failed"),
    (401, "secret_provider_failed"), (200, "secret_provider_failed"), (307, "secret_provider_failed"), (418, "secret_provider_failed"),
])  # fmt: skip
def test_every_other_answer_is_sorted(answering, logins, tmp_path, status, found):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    vault = Vault(
        "vault", VaultSettings(answering(status, json.dumps({"errors": [CANARY]})), "token", token_path=path), logins
    )
    call = unavailable if isinstance(found, tuple) else refused
    for name in ("a", "a/login"):
        assert call(lambda name=name: vault.read(name)) == found


def test_a_token_does_not_follow_a_redirect(logins, tmp_path):
    asked = []

    class Thief(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            body = b'{"data": {"data": {"a": "b"}, "metadata": {"version": 1}}}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words):
            pass

    class Redirecting(Thief):
        def do_GET(self):
            self.send_response(307)
            self.send_header("Location", f"http://localhost:{thief.server_address[1]}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

    thief, first = (http.server.ThreadingHTTPServer(("127.0.0.1", 0), each) for each in (Thief, Redirecting))
    for server in (thief, first):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(CANARY)
    try:
        vault = Vault(
            "vault", VaultSettings(f"http://127.0.0.1:{first.server_address[1]}", "token", token_path=path), logins
        )
        assert refused(lambda: vault.read("a")) == "secret_provider_failed"
    finally:
        for server in (thief, first):
            server.shutdown()
            server.server_close()
    assert asked == []


def test_nothing_of_the_environment_decides_who_is_asked_as_whom(real_vault, logins, monkeypatch):
    for name, value in {
        "VAULT_ADDR": "https://127.0.0.1:1", "VAULT_TOKEN": "wrong", "VAULT_CACERT": "/none", "VAULT_NAMESPACE": "wrong",
        "HTTPS_PROXY": "http://127.0.0.1:1", "REQUESTS_CA_BUNDLE": "/none", "CURL_CA_BUNDLE": "/none",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    vault = Vault("vault", real_vault.settings(), logins)
    vault.write(Secret("environment", {"value": CANARY}))
    assert vault.read("environment").value() == CANARY


def test_an_address_that_is_none_is_refused(logins, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    vault = Vault("vault", VaultSettings("https://127.0.0.1:99999", "token", token_path=path), logins)
    assert refused(lambda: vault.read("a")) == "secret_provider_failed"


def test_who_asks_where_is_in_the_origin_and_no_credential(real_vault, logins):
    first = Vault("vault", real_vault.settings(), logins)
    others = [
        Vault("vault", real_vault.settings(**about), logins)
        for about in (
            {"namespace": "a"},
            {"mount": "b"},
            {"prefix": "c"},
            {"role_id_path": real_vault.secret("other", "x")},
        )
    ]
    assert len({tuple(each.origin) for each in (first, *others)}) == 5
    assert (real_vault.directory / "role-id").read_text() not in repr((first, first.origin))


def test_a_version_is_replaced_only_while_it_is_the_newest(vault):
    vault.write(Secret("replaced/main", FIELDS, "database", "d"))
    standing = vault.standing("replaced/main")
    assert standing.version == "1"
    assert abs(standing.written - time.time()) < 3600
    vault.replace(Secret("replaced/main", {"password": "new"}, version=vault.version_after("1")), "1")
    assert vault.read("replaced/main") == Secret("replaced/main", {"password": "new"}, "database", "d", "2")
    assert refused(lambda: vault.replace(Secret("replaced/main", FIELDS, version="2"), "1")) == "secret_overtaken"
    assert vault.read("replaced/main").value() == "new"


def test_the_first_version_is_made_only_where_there_is_none(vault):
    vault.replace(Secret("first/main", FIELDS), "")
    assert vault.read("first/main") == Secret("first/main", FIELDS, version="1")
    assert refused(lambda: vault.replace(Secret("first/main", {"password": "new"}), "")) == "secret_overtaken"
    assert vault.read("first/main").fields == FIELDS


@pytest.fixture
def careful(real_vault, logins):
    """At a mount that takes nothing without the version that it replaces, as somebody who may do anything there."""
    root = real_vault.root
    root.sys.enable_secrets_engine("kv", path="careful", options={"version": "2"})
    end = time.monotonic() + 60
    while True:  # an upgrade of the mount goes on for a moment
        try:
            root.secrets.kv.v2.configure(cas_required=True, mount_point="careful")
            break
        except hvac.exceptions.InvalidRequest:
            assert time.monotonic() < end
    token = real_vault.secret("careful-token", real_vault.token)
    yield Vault("vault", real_vault.settings(auth="token", token_path=token, mount="careful"), logins)
    root.sys.disable_secrets_engine("careful")


def test_where_a_version_has_to_be_named_it_is_set_over_the_one_that_is_there(careful):
    assert careful.write(Secret("main", FIELDS, "database", "d")) == "1"
    assert careful.write(Secret("main", {"password": "new"}, "database", "e")) == "2"
    assert careful.read("main") == Secret("main", {"password": "new"}, "database", "e", "2")
    careful.retire("main", "2", destroyed=False)
    assert careful.write(Secret("main", FIELDS)) == "3"  # also over one that was deleted


def test_where_a_version_has_to_be_named_nothing_is_set_over_what_came_meanwhile(careful, real_vault):
    careful.write(Secret("raced", FIELDS))

    class Meanwhile(UserDict):
        """The fields of a secret, which somebody else sets too before they are sent with the version that was there."""

        sent = 0

        def keys(self):
            self.sent += 1
            if self.sent == 2:
                keys = real_vault.root.secrets.kv.v2
                keys.create_or_update_secret("shop/raced", {"password": "theirs"}, cas=1, mount_point="careful")
            return super().keys()

    assert refused(lambda: careful.write(Secret("raced", Meanwhile(FIELDS)))) == "secret_overtaken"
    assert careful.read("raced").value() == "theirs"


def test_where_a_version_has_to_be_named_a_rotation_goes_from_its_claim_to_its_end(careful, place, tmp_path, clock):
    name = "database/main"
    careful.write(Secret(name, FIELDS))
    settings = SecretSettings(
        (ProviderSettings("vault", "vault"),),
        rotation=(RotationPolicy(name, 30 * DAY, recipes={"password": Recipe()}),),
    )
    caller = Caller("ann", "ansible-1", "prod", "prod-1")
    keeper = Keeper(settings, [careful], place, AccessLog(tmp_path / "access.jsonl"), caller, clock, pytest.fail)
    rotations = Rotations(keeper, tmp_path, "shop", Process.of(os.getpid()))
    begun = rotations.begin([name], {name: {"password"}})
    (settled,) = rotations.settle(begun.names, "run_1", {"prod-1": "confirmed"})
    assert (settled.state, careful.read(name).version) == ("retired", "2")
    with pytest.raises(Unknown):
        careful.read(name, "1")


def test_another_bad_request_is_no_overtaking(vault, real_vault):
    vault.write(Secret("bad/main", FIELDS))
    real_vault.root.secrets.kv.v2.update_metadata("shop/bad/main", max_versions=1, cas_required=True)
    assert (
        refused(lambda: vault.replace(Secret("bad/main", {"p" * 2_000_000: CANARY}, version="2"), "1"))
        != "secret_overtaken"
    )


def test_an_old_version_is_retired_for_a_while_or_for_ever(vault, real_vault, retiring):
    for value in ("one", "two", "three"):
        vault.write(Secret("retired/main", {"password": value}))
    for _ in range(2):
        retiring.retire("retired/main", "1", destroyed=False)
    retiring.retire("retired/main", "2", destroyed=True)
    for version in ("1", "2"):
        with pytest.raises(Unknown):
            vault.read("retired/main", version)
    keys = real_vault.root.secrets.kv.v2
    keys.undelete_secret_versions("shop/retired/main", [1, 2])
    assert vault.read("retired/main", "1").value() == "one"
    with pytest.raises(Unknown):
        vault.read("retired/main", "2")
    assert vault.standing("retired/main").version == "3"


def test_a_newest_version_that_was_deleted_is_none(vault, real_vault, retiring):
    vault.write(Secret("gone/main", FIELDS))
    retiring.retire("gone/main", "1", destroyed=False)
    for name in ("gone/main", "never/main"):
        with pytest.raises(Unknown):
            vault.standing(name)


def test_a_secret_is_removed_with_all_of_its_versions(vault, retiring):
    vault.write(Secret("removed/main", FIELDS))
    for _ in range(2):
        retiring.remove("removed/main")
    with pytest.raises(Unknown):
        vault.read("removed/main")
    assert vault.write(Secret("removed/main", FIELDS)) == "1"


def test_who_may_not_retire_is_told(vault):
    vault.write(Secret("kept/main", FIELDS))
    assert refused(lambda: vault.retire("kept/main", "1", destroyed=False)) == "secret_denied"
    assert refused(lambda: vault.remove("kept/main")) == "secret_denied"


@pytest.fixture
def mounts(real_vault, tmp_path, logins):
    """Who may do anything at a mount; ``first`` and ``other`` are key/value of version 1, ``transit`` is another engine."""
    root = real_vault.root
    kinds = {"first": ("kv", {"version": "1"}), "other/deep": ("kv", {"version": "1"}), "transit": ("transit", None)}
    for path, (kind, options) in kinds.items():
        root.sys.enable_secrets_engine(kind, path=path, options=options)
    token = real_vault.secret("mounts-token", real_vault.token)
    yield lambda mount, **about: Vault(
        "vault", real_vault.settings(auth="token", token_path=token, mount=mount, **about), logins
    )
    for path in kinds:
        root.sys.disable_secrets_engine(path)


@pytest.mark.parametrize(("mount", "found"), [
    ("none", "no mount"), ("first", "kv, version 1"), ("other/deep", "kv, version 1"), ("transit", "no mount"), ("secret/shop", "a part of the mount secret"),
])  # fmt: skip
def test_a_mount_that_has_no_secrets_of_version_2_is_no_mount_without_that_name(mounts, mount, found):
    vault = mounts(mount)
    for call in (
        lambda: vault.read("a"),
        lambda: vault.read("a", "1"),
        vault.entries,
        lambda: vault.standing("a"),
    ):
        with pytest.raises(Refusal) as refusal:
            call()
        assert (refusal.value.reason, refusal.value.found) == ("vault_mount_missing", found)


def test_a_default_does_not_hold_where_the_mount_is_wrong(mounts, place, tmp_path):
    log = AccessLog(tmp_path / "access.jsonl")
    settings = SecretSettings(chain=(ProviderSettings("vault", "vault"),))
    for mount in ("none", "first"):
        keeper = Keeper(
            settings,
            [mounts(mount)],
            place,
            log,
            Caller("ann", "ansible-1", "prod", "prod-1"),
            SystemClock(),
            pytest.fail,
        )
        assert refused(lambda keeper=keeper: keeper.read("a", default="d")) == "vault_mount_missing"
        assert refused(lambda keeper=keeper: keeper.write("a", {"value": "x"})) == "vault_mount_missing"
        assert refused(keeper.listed) == "vault_mount_missing"


@pytest.mark.parametrize("has_place", [True, False])
def test_what_is_at_the_mount_is_looked_at_once_and_only_after_a_404(real_vault, place, has_place):
    logins = Logins(place if has_place else None, SystemClock())
    about = real_vault.settings()
    path = "sys/internal/ui/mounts/secret"
    before = len(real_vault.asked(path))
    one = Vault("vault", about, logins)
    vaults = [one, Vault("vault", about, logins) if has_place else one]
    real_vault.put("there", value=CANARY)
    assert one.read("there").value() == CANARY
    assert len(real_vault.asked(path)) == before
    for vault in vaults * 2:
        with pytest.raises(Unknown):
            vault.read("none")
    assert len(real_vault.asked(path)) == before + 1


def test_who_may_not_look_at_the_mount_is_told_of_the_name(answering, logins, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    for status in (403, 404):
        url = answering(404, '{"errors": []}', {"/v1/sys/": (status, '{"errors": []}')})
        with pytest.raises(Unknown):
            Vault("vault", VaultSettings(url, "token", token_path=path), logins).read("a")


def test_a_directory_that_is_emptied_while_it_is_listed_is_none(answering, logins, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    keys = {
        "/v1/secret/metadata/a": (404, '{"errors": []}'),
        "/v1/secret/metadata": (200, '{"data": {"keys": ["a/"]}}'),
    }
    url = answering(404, '{"errors": []}', keys)
    assert Vault("vault", VaultSettings(url, "token", token_path=path), logins).entries() == []


def test_where_nothing_is_below_the_prefix_the_list_is_empty(real_vault, logins):
    real_vault.put("ready", value="yes")
    about = real_vault.settings(
        prefix="shop/nobody", auth="token", token_path=real_vault.secret("root", real_vault.token)
    )
    assert Vault("vault", about, logins).entries() == []


@pytest.mark.parametrize("call", ["write", "replace"])
def test_a_request_that_vault_does_not_understand_is_no_race(answering, logins, tmp_path, call):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    url = answering(
        400, json.dumps({"errors": [CANARY]}), {"/v1/secret/metadata/": (200, '{"data": {"custom_metadata": null}}')}
    )
    vault = Vault("vault", VaultSettings(url, "token", token_path=path), logins)
    asked = {"write": lambda: vault.write(secret("a")), "replace": lambda: vault.replace(secret("a", version="2"), "1")}
    assert refused(asked[call]) == "secret_provider_failed"


def test_a_403_of_somebody_who_is_no_vault_is_a_no(answering, logins, tmp_path):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    url = answering(403, "{}", {"/v1/sys/": (404, "")})
    vault = Vault("vault", VaultSettings(url, "token", token_path=path), logins)
    assert refused(lambda: vault.read("a")) == "secret_denied"


@pytest.mark.parametrize(
    "body", ["<html>Not Found</html>", "", '{"detail": "Not Found"}', '{"errors": ["no handler for route"]}']
)
def test_a_404_of_somebody_who_has_no_secrets_is_no_answer_about_a_name(answering, logins, tmp_path, body):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    vault = Vault("vault", VaultSettings(answering(404, body), "token", token_path=path), logins)
    assert refused(lambda: vault.read("a")) == "vault_mount_missing"
    assert refused(vault.entries) == "vault_mount_missing"


def answer(custom=None, version=1, data=None, **about):
    metadata = {"version": version, "custom_metadata": custom}
    return json.dumps({"data": {"data": data or {"a": CANARY}, "metadata": metadata}, **about})


@pytest.mark.parametrize(("status", "body"), [
    (200, answer(custom=[CANARY])), (200, answer(custom={"type": [CANARY]})), (200, answer(custom={"description": 1})), (200, answer(version="x")),
    (200, answer(version=True)), (200, answer(lease_duration="an hour")), (200, answer(lease_duration=[])), (200, '{"data": null}'), (200, "[]"), (200, "7"),
    (200, '{"data": {"data": {}, "metadata": []}}'), (204, ""), (400, "[]"), (403, "7"), (404, "[]"), (500, '{"errors": [{"a": 1}]}'), (403, '{"errors": 7}'),
    (200, '{"data": {"keys": "ab", "versions": [], "current_version": 1}}'), (200, '{"data": {"keys": [7]}}'), (200, '{"data": {"versions": {"1": 7}, "current_version": 1}}'),
])  # fmt: skip
def test_an_answer_without_sense_is_refused(answering, logins, tmp_path, status, body):
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text("a-token")
    vault = Vault("vault", VaultSettings(answering(status, body), "token", token_path=path), logins)
    assert refused(lambda: vault.read("a")) in ("secret_provider_failed", "secret_unreadable")
    for call in (lambda: vault.standing("a"), vault.entries, lambda: vault.write(secret("a"))):
        with suppress(Refusal):  # nothing else, whatever it makes of it
            call()


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_who_lacks_the_role_id_is_told_in_the_words_of_its_caller(real_vault, logins, tmp_path, content):
    if content is not None:
        (tmp_path / "none").touch(0o600)
        (tmp_path / "none").write_text(content)

    def lacking(what):
        return Refusal("lacking", expected=what, found="none", remedy="Bring it.")

    about = real_vault.settings(role_id_path=tmp_path / "none", secret_id_path=tmp_path / "none")
    with pytest.raises(Refusal) as caught:
        Vault("vault", about, logins, lacking=lacking).read("database/main")
    assert caught.value.expected == f"the role id of vault in {tmp_path / 'none'}"
