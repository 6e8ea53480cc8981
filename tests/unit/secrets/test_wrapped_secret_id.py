# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret id on its way, at a real Vault: opened once, by whom it is for, and refused where somebody else was quicker or put another one there."""

from __future__ import annotations

import json
import stat

import pytest
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.vault import Vault
from ansible.module_utils.slipway.secrets.wrapped_secret_id import issue, receive
from test_vault_access import access_of, apply

ROLES = {
    "deployer": {"description": "d", "may": {"read": ["database/main"]}},
    "absent": {"description": "a", "may": {}},
    "emergency": {"description": "e", "may": {"read": ["*"]}},
}


class Noted:
    """What the access log would have."""

    def __init__(self):
        self.lines = []

    def note(self, role, outcome):
        self.lines.append((role, outcome))


NOTED = Noted()


@pytest.fixture(autouse=True)
def _nothing_noted():
    NOTED.lines.clear()


@pytest.fixture
def access(real_vault):
    access = access_of(real_vault, {"deployer": ROLES["deployer"]}, owner="t2")
    apply(access, remove=True)
    return access_of(real_vault, ROLES, owner="t2")


@pytest.fixture
def parcel(access, tmp_path):
    path = tmp_path / "parcel.json"
    issue(access, access.roles.role("deployer"), 60, path, NOTED.note)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path


def places(tmp_path):
    return tmp_path / "own/role-id", tmp_path / "own/secret-id"


def refused(call, *unsaid):
    with pytest.raises(Refusal) as refusal:
        call()
    assert [word for word in unsaid if word in str(refusal.value)] == []
    return refusal.value.reason


def test_it_is_opened_put_in_its_place_and_lets_its_receiver_log_in(real_vault, access, parcel, tmp_path):
    real_vault.put("database/main", password="x")
    role_id, secret_id = places(tmp_path)
    travelled = parcel.read_text()
    assert receive(access, parcel, role_id, secret_id, NOTED.note) == "deployer"
    assert not parcel.exists()
    assert NOTED.lines == [
        ("deployer", "begun"),
        ("deployer", "issued"),
        ("deployer", "begun"),
        ("deployer", "received"),
    ]
    assert secret_id.read_text().strip() not in travelled
    assert [stat.S_IMODE(path.stat().st_mode) for path in (role_id, secret_id)] == [0o600, 0o600]
    settings = real_vault.settings(role_id_path=role_id, secret_id_path=secret_id)
    assert Vault("vault", settings, Logins(None, SystemClock())).read("database/main").value() == "x"
    # One use: the next one who has it gets nowhere.
    assert (
        refused(lambda: Vault("vault", settings, Logins(None, SystemClock())).read("database/main"))
        == "secret_login_refused"
    )


def test_one_that_somebody_opened_on_the_way_is_refused(real_vault, access, parcel, tmp_path):
    token = json.loads(parcel.read_text())["wrapping_token"]
    real_vault.root.sys.unwrap(token)
    assert refused(lambda: receive(access, parcel, *places(tmp_path), NOTED.note), token) == "vault_wrapping_spent"
    assert NOTED.lines[2:] == [("deployer", "begun")]
    assert not places(tmp_path)[1].exists()


def test_one_that_somebody_made_is_refused_unopened(real_vault, access, parcel, tmp_path):
    wrapped = real_vault.root.sys.wrap({"secret_id": "mine"}, ttl=60)["wrap_info"]["token"]
    parcel.write_text(json.dumps({**json.loads(parcel.read_text()), "wrapping_token": wrapped}))
    assert refused(lambda: receive(access, parcel, *places(tmp_path), NOTED.note), wrapped) == "vault_wrapping_swapped"
    assert not places(tmp_path)[1].exists()
    assert real_vault.root.sys.unwrap(wrapped)["data"] == {"secret_id": "mine"}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{}",
        "[]",
        '{"format": 2}',
        '{"format": 1, "role": "deployer"}',
        '{"format": 1, "role": "../x", "role_id": "a", "wrapping_token": "b"}',
    ],
)
def test_what_is_no_parcel_is_refused(access, tmp_path, content):
    path = tmp_path / "parcel.json"
    if content is not None:
        path.write_text(content)
    assert refused(lambda: receive(access, path, *places(tmp_path), NOTED.note)) == "vault_parcel_invalid"


def test_a_parcel_is_not_opened_for_a_place_that_cannot_be_written(access, parcel, tmp_path):
    role_id, secret_id = places(tmp_path)
    secret_id.mkdir(parents=True)
    assert refused(lambda: receive(access, parcel, role_id, secret_id, NOTED.note)) == "vault_secret_id_place_unfit"
    (tmp_path / "file").touch()
    inside = tmp_path / "file/secret-id"
    assert refused(lambda: receive(access, parcel, role_id, inside, NOTED.note)) == "vault_secret_id_place_unfit"
    secret_id.rmdir()
    assert receive(access, parcel, role_id, secret_id, NOTED.note) == "deployer"


def test_nobody_gets_the_emergency_access_alone(access, tmp_path):
    path = tmp_path / "parcel"
    assert (
        refused(lambda: issue(access, access.roles.role("emergency"), 60, path, NOTED.note))
        == "break_glass_role_issued"
    )
    assert not path.exists()
    path.write_text(json.dumps({"format": 1, "role": "emergency", "role_id": "a", "wrapping_token": "b"}))
    assert refused(lambda: receive(access, path, *places(tmp_path), NOTED.note)) == "break_glass_role_issued"
    assert NOTED.lines == []


def test_what_cannot_be_noted_is_not_done(access, tmp_path):
    def note(role, outcome):
        raise OSError(outcome)

    path = tmp_path / "parcel"
    with pytest.raises(OSError, match="begun"):
        issue(access, access.roles.role("deployer"), 60, path, note)
    assert not path.exists()


def test_a_role_that_vault_does_not_have_is_refused(access, tmp_path):
    assert (
        refused(lambda: issue(access, access.roles.role("absent"), 60, tmp_path / "parcel", NOTED.note))
        == "vault_role_unapplied"
    )
    assert not (tmp_path / "parcel").exists()
