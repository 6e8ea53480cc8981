# SPDX-License-Identifier: GPL-3.0-or-later
"""The emergency access to a real Vault: two halves open it, once and for minutes, everybody is told, and it is shut and proven to be."""

from __future__ import annotations

import json
import stat

import hvac
import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets import halves
from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.break_glass import BreakGlass, opened_from
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.secret_settings import SecretSettings
from ansible.module_utils.slipway.secrets.vault import Vault
from safes import CANARY
from test_vault_access import access_of, apply, outcome

WHY = "the deployer is locked out, INC-7"
EMERGENCY = {"description": "e", "may": {"read": ["*"], "list": ["*"]}, "token_minutes": 15, "secret_id_minutes": 60}


class Scene:
    """An administrator, two holders' files in memory, and whoever opens; ``said`` is what the run says."""

    def __init__(self, real_vault, memory, tmp_path, **emergency):
        self.vault, self.memory, self.said = real_vault, memory, []
        self.access = access_of(real_vault, {"emergency": {**EMERGENCY, **emergency}}, owner="t3")
        self.log = AccessLog(tmp_path / "state/access.jsonl")
        self.first, self.second, self.directory = memory / "first.json", memory / "second.json", memory / "open"
        self.glass = self.of(Vault("vault", real_vault.settings(), Logins(None, SystemClock())))

    def of(self, vault):
        return BreakGlass(vault, self.log, Caller("ann", "run-1", "prod", "prod-1"), SystemClock(), self.said.append)

    def seal(self):
        return self.glass.seal(self.access, self.first, self.second, "the quarterly renewal")

    def open(self, **changes):
        given = {"first": self.first, "second": self.second, "directory": self.directory, "reason": WHY, **changes}
        return self.glass.open(**given)

    def shut(self):
        return self.of(opened_from(self.directory, SystemClock())).shut(self.directory)

    def lines(self):
        return [(each["operation"], each["outcome"], each["reason"]) for each in self.log.records()]

    def client(self, token):
        return hvac.Client(url=self.vault.url, token=token, verify=str(self.vault.ca), timeout=30)


@pytest.fixture
def scene(real_vault, memory, tmp_path):
    scene = Scene(real_vault, memory, tmp_path)
    apply(scene.access)
    return scene


def refused(call, *unsaid):
    with pytest.raises(Refusal) as refusal:
        call()
    assert [word for word in unsaid if word in str(refusal.value)] == []
    return refusal.value.reason


def test_it_is_sealed_opened_used_shut_and_proven_to_be(scene, real_vault):
    real_vault.put("database/main", password=CANARY)
    seal = scene.seal()
    secret_id = halves.joined(halves.read(scene.first), halves.read(scene.second))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (scene.first, scene.second)] == [0o600, 0o600]

    opened = scene.open()
    assert (opened.seal, opened.minutes) == (seal, 15)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in scene.directory.iterdir()} == {
        "token": 0o600, "variables.json": 0o600, "opening.json": 0o600,
    }  # fmt: skip
    assert stat.S_IMODE(scene.directory.stat().st_mode) == 0o700
    variables = json.loads(opened.variables.read_text())
    token = (scene.directory / "token").read_text()
    assert token not in opened.variables.read_text()
    chain = SecretSettings.parse(variables).chain
    assert Vault("emergency", chain[0].vault, Logins(None, SystemClock())).read("database/main").value() == CANARY
    assert outcome(scene.client(token).sys.list_policies) == 403
    assert outcome(lambda: scene.client(token).secrets.kv.v2.create_or_update_secret("shop/a", {"b": "c"})) == 403

    assert scene.shut() == seal
    assert not scene.directory.exists()
    assert outcome(scene.client(token).lookup_token) == 403
    assert refused(scene.open, secret_id) == "break_glass_refused"
    assert not scene.directory.exists()
    assert scene.lines() == [
        ("seal", "begun", "the quarterly renewal"), ("seal", "sealed", "the quarterly renewal"),
        ("open", "begun", WHY), ("open", "opened", WHY), ("shut", "begun", None), ("shut", "shut", None),
        ("open", "begun", WHY), ("open", "refused", "break_glass_refused"),
    ]  # fmt: skip
    assert {each["version"] for each in scene.log.records()} == {seal}
    assert [
        f"BREAK GLASS: ann opens the emergency access of vault (seal {seal}): {WHY}" in line for line in scene.said[:1]
    ] == [True]
    assert "for 15 minutes" in scene.said[1]
    everything = scene.log.path.read_text() + " ".join(scene.said)
    assert [word for word in (secret_id, token, CANARY) if word in everything] == []


def test_vaults_own_audit_log_has_the_login_with_its_seal_and_every_read(scene, real_vault):
    real_vault.put("pager", key="x")
    seal = scene.seal()
    scene.open()
    before = len(real_vault.asked("secret/data/shop/pager", "read"))
    scene.client((scene.directory / "token").read_text()).secrets.kv.v2.read_secret_version(
        "shop/pager", raise_on_deleted_version=True
    )
    lines = [json.loads(line) for line in (real_vault.directory / "audit.jsonl").read_text().splitlines()]
    reads = [
        each for each in lines if each["type"] == "request" and each["request"]["path"] == "secret/data/shop/pager"
    ]
    assert len(real_vault.asked("secret/data/shop/pager", "read")) == before + 1
    assert reads[-1]["auth"]["metadata"] == {"role_name": "t3-emergency", "seal": seal}
    scene.shut()


def test_one_half_is_not_enough(scene):
    scene.seal()
    for first, second in (
        (scene.first, scene.first),
        (scene.second, scene.second),
        (scene.first, scene.memory / "none"),
    ):
        reason = refused(lambda first=first, second=second: scene.open(first=first, second=second))
        assert reason in ("break_glass_halves_unlike", "break_glass_half_invalid")
    assert [line[:2] for line in scene.lines()] == [("seal", "begun"), ("seal", "sealed")]
    assert not scene.directory.exists()


def test_a_new_seal_makes_the_old_one_and_what_is_open_worthless(scene, real_vault):
    scene.seal()
    old = {path.name: path.read_bytes() for path in (scene.first, scene.second)}
    scene.open()
    token = (scene.directory / "token").read_text()
    assert outcome(scene.client(token).lookup_token) == "allowed"
    scene.seal()
    assert outcome(scene.client(token).lookup_token) == 403
    scene.shut()
    accessors = real_vault.root.auth.approle.list_secret_id_accessors("t3-emergency")["data"]["keys"]
    assert len(accessors) == 1
    new = {path.name: path.read_bytes() for path in (scene.first, scene.second)}
    scene.first.write_bytes(old["first.json"])
    assert refused(scene.open) == "break_glass_halves_unlike"
    scene.second.write_bytes(old["second.json"])
    assert refused(scene.open) == "break_glass_refused"
    for name, data in new.items():
        (scene.memory / name).write_bytes(data)
    scene.open()
    scene.shut()


def test_one_whose_secret_id_still_opens_is_never_called_shut(scene, real_vault):
    """As if somebody had made the secret id for more than one login: what that opened is ended too."""
    scene.seal()
    scene.open()
    made = real_vault.root.auth.approle
    made.create_or_update_approle("t3-emergency", secret_id_num_uses=2, token_policies=["t3-emergency"])
    opening = scene.directory / "opening.json"
    about = json.loads(opening.read_text())
    spare = made.generate_secret_id("t3-emergency")["data"]["secret_id"]
    opening.write_text(json.dumps({**about, "secret_id": spare}))
    assert refused(scene.shut, spare) == "break_glass_open"
    opening.write_text(json.dumps(about))
    scene.shut()


def test_what_is_over_by_itself_is_shut_all_the_same(scene, real_vault):
    scene.seal()
    opened = scene.open()
    real_vault.root.auth.token.revoke_accessor(opened.accessor)
    scene.shut()


def test_one_that_still_opens_is_never_called_shut(scene, monkeypatch):
    """As if Vault had said yes to the revocation and not done it."""
    scene.seal()
    scene.open()
    monkeypatch.setattr(hvac.api.auth_methods.Token, "revoke_self", lambda self: None)
    assert refused(scene.shut) == "break_glass_open"
    assert scene.directory.exists()
    assert scene.lines()[-1] == ("shut", "refused", "break_glass_open")
    monkeypatch.undo()
    scene.shut()


def test_nothing_is_proven_by_one_that_does_not_answer(scene, real_vault):
    scene.seal()
    scene.open()
    real_vault.seal()
    assert refused(scene.shut) == "vault_unavailable"
    assert scene.directory.exists()
    real_vault.unseal()
    scene.shut()


def test_an_opening_that_cannot_be_noted_does_not_happen(scene, real_vault):
    scene.seal()
    before = len(real_vault.asked("auth/approle/login"))
    scene.log.path.write_bytes(b"{}\n")
    assert refused(scene.open) == "access_log_altered"
    assert len(real_vault.asked("auth/approle/login")) == before
    assert not scene.directory.exists()


@pytest.mark.parametrize("reason", ["", "short", "x" * 400, "two lines of a\nreason that is long", " " * 40])
def test_without_a_reason_nothing_is_opened_or_sealed(scene, reason):
    scene.seal()
    assert refused(lambda: scene.open(reason=reason)) == "break_glass_reason_missing"
    assert (
        refused(lambda: scene.glass.seal(scene.access, scene.first, scene.second, reason))
        == "break_glass_reason_missing"
    )


def test_halves_on_one_disk_are_refused_and_so_is_a_token_on_a_disk(scene, tmp_path):
    reason = refused(lambda: scene.glass.seal(scene.access, tmp_path / "a", tmp_path / "b", WHY))
    assert reason == "break_glass_halves_together"
    assert (
        refused(lambda: scene.glass.seal(scene.access, scene.first, scene.first, WHY)) == "break_glass_halves_together"
    )
    scene.seal()
    assert refused(lambda: scene.open(directory=tmp_path / "open")) == "break_glass_on_disk"
    assert refused(lambda: scene.open(directory=scene.memory / "none/open")) == "secret_output_directory_missing"
    missing = scene.memory / "none/a"
    assert (
        refused(lambda: scene.glass.seal(scene.access, missing, scene.second, WHY)) == "secret_output_directory_missing"
    )
    scene.open()
    assert refused(scene.open) == "break_glass_open_already"
    (scene.directory / "own").touch()
    scene.shut()
    assert [path.name for path in scene.directory.iterdir()] == ["own"]
    assert refused(scene.shut) == "break_glass_not_open"


def test_what_is_not_audited_is_not_sealed(scene, real_vault):
    root = real_vault.root
    options = {"file_path": str(real_vault.directory / "audit.jsonl"), "mode": "0600"}
    root.sys.disable_audit_device("file")
    try:
        assert refused(scene.seal) == "vault_unaudited"
    finally:
        root.sys.enable_audit_device("file", path="file", options=options)
    assert scene.lines() == []


@pytest.mark.parametrize("change", [{"secret_id_uses": 0}, {"secret_id_uses": 2}, {"token_minutes": 61}])
def test_a_role_that_is_not_bounded_is_not_sealed(real_vault, memory, tmp_path, change):
    assert refused(Scene(real_vault, memory, tmp_path, **change).seal) == "break_glass_unbounded"


def test_a_role_that_vault_has_otherwise_is_not_sealed(real_vault, scene, memory, tmp_path):
    assert refused(Scene(real_vault, memory, tmp_path, token_minutes=10).seal) == "vault_role_unapplied"
