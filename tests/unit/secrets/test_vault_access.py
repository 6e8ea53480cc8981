# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies and AppRoles at a real Vault: brought there once, what was changed by hand found, what is left over kept until asked, and each role let do its own and nothing else."""

from __future__ import annotations

from pathlib import Path

import hvac
import pytest
import yaml
from ansible.module_utils.slipway.base.clock import SystemClock
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.login import Logins
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.module_utils.slipway.secrets.vault import Vault
from ansible.module_utils.slipway.secrets.vault_access import VaultAccess
from ansible.module_utils.slipway.secrets.vault_roles import Roles

ROLES = {
    "builder": {"description": "b", "may": {"read": ["build/*"]}},
    "deployer": {"description": "d", "may": {"read": ["database/main", "pager"]}},
    "rotator": {"description": "r", "may": {"read": ["pager"], "write": ["pager"], "retire": ["pager"]}},
    "host": {"description": "h", "each": ["prod-1", "prod-2"], "may": {"read": ["hosts/{each}/*"]}},
    "lister": {"description": "l", "may": {"list": ["*"]}},
}
NAMES = ("build/registry", "database/main", "database/other", "pager", "hosts/prod-1/agent", "hosts/prod-2/agent")


def access_of(real_vault, roles=ROLES, owner="t1", auth_mount="approle", **about):
    token_path = real_vault.secret("admin-token", real_vault.token)
    administrator = Vault(
        "vault", real_vault.settings(auth="token", token_path=token_path), Logins(None, SystemClock())
    )
    return VaultAccess(administrator, real_vault.settings(auth_mount=auth_mount, **about), Roles.parse(owner, roles))


def apply(access, *, remove=False):
    plan = access.plan()
    access.apply(plan, remove=remove)
    return [(each.action, each.kind, each.name) for each in (*plan.changes, *(plan.leftovers if remove else ()))]


def client_of(real_vault, name, auth_mount="approle"):
    """Logged in as an AppRole."""
    approle = real_vault.root.auth.approle
    role_id = approle.read_role_id(name, mount_point=auth_mount)["data"]["role_id"]
    secret_id = approle.generate_secret_id(name, mount_point=auth_mount)["data"]["secret_id"]
    client = hvac.Client(url=real_vault.url, verify=str(real_vault.ca), timeout=30)
    client.auth.approle.login(role_id, secret_id, mount_point=auth_mount)
    return client, role_id, secret_id


def outcome(call):
    """What Vault says: allowed, 403, or another answer."""
    try:
        call()
    except hvac.exceptions.Forbidden:
        return 403
    except hvac.exceptions.VaultError as error:
        return type(error).__name__
    return "allowed"


@pytest.fixture
def applied(real_vault):
    for name in NAMES:
        real_vault.put(name, value="x")
    access = access_of(real_vault)
    apply(access, remove=True)
    return access


def test_what_the_data_say_is_brought_there_once(real_vault):
    access = access_of(real_vault, owner="once", auth_mount="machines")
    done = apply(access)
    names = ["once-builder", "once-deployer", "once-host-prod-1", "once-host-prod-2", "once-lister", "once-rotator"]
    assert done == [
        ("create", "auth method", "machines"), *(("create", "policy", name) for name in names), *(("create", "approle", name) for name in names),
    ]  # fmt: skip
    assert apply(access) == []
    assert real_vault.root.sys.list_auth_methods()["data"]["machines/"]["type"] == "approle"


def test_where_there_is_no_role_at_all_there_is_nothing_left_over(real_vault):
    real_vault.root.sys.enable_auth_method("approle", path="empty")
    assert access_of(real_vault, {}, owner="none", auth_mount="empty").plan().leftovers == ()


def test_a_plan_changes_nothing(real_vault):
    before = real_vault.root.sys.list_policies()["data"]["policies"]
    assert access_of(real_vault, owner="planned").plan().changes
    assert real_vault.root.sys.list_policies()["data"]["policies"] == before


def test_what_somebody_changed_by_hand_is_found_shown_and_put_right(real_vault, applied):
    root = real_vault.root
    root.sys.create_or_update_policy("t1-deployer", 'path "*" { capabilities = ["sudo", "read"] }')
    root.auth.approle.create_or_update_approle("t1-builder", token_policies=["root-like"], secret_id_num_uses=0)
    plan = applied.plan()
    assert [(each.action, each.kind, each.name) for each in plan.changes] == [
        ("update", "policy", "t1-deployer"), ("update", "approle", "t1-builder"),
    ]  # fmt: skip
    assert "sudo" in plan.changes[0].before
    assert "sudo" not in plan.changes[0].after
    assert plan.changes[1].before["token_policies"] == ["root-like"]
    assert applied.differs(applied.roles.role("builder"))
    assert not applied.differs(applied.roles.role("lister"))
    apply(applied)
    assert applied.plan().changes == ()


def test_what_the_data_have_no_more_is_named_and_removed_only_when_asked(real_vault, applied):
    real_vault.root.sys.create_or_update_policy("t1x-foreign", 'path "a" { capabilities = ["read"] }')
    fewer = access_of(real_vault, {name: ROLES[name] for name in ("builder", "deployer")})
    assert apply(fewer) == []
    left = [
        ("remove", kind, f"t1-{name}")
        for kind in ("approle", "policy")
        for name in ("host-prod-1", "host-prod-2", "lister", "rotator")
    ]
    assert [(each.action, each.kind, each.name) for each in fewer.plan().leftovers] == left
    assert client_of(real_vault, "t1-rotator")
    assert apply(fewer, remove=True) == left
    assert fewer.plan().leftovers == ()
    assert "t1x-foreign" in real_vault.root.sys.list_policies()["data"]["policies"]


@pytest.mark.parametrize(("role", "readable"), [
    ("builder", {"build/registry"}), ("deployer", {"database/main", "pager"}), ("rotator", {"pager"}), ("host-prod-1", {"hosts/prod-1/agent"}),
    ("host-prod-2", {"hosts/prod-2/agent"}), ("lister", set()),
])  # fmt: skip
def test_a_role_can_read_what_it_must_and_nothing_else(real_vault, applied, role, readable):
    client, _role_id, secret_id = client_of(real_vault, f"t1-{role}")
    kv = client.secrets.kv.v2

    def read(name):
        return lambda: kv.read_secret_version(f"shop/{name}", raise_on_deleted_version=True)

    def write(name):
        return lambda: kv.create_or_update_secret(f"shop/{name}", {"value": "y"})

    assert {name: outcome(read(name)) for name in NAMES} == {
        name: "allowed" if name in readable else 403 for name in NAMES
    }
    writable = {"pager"} if role == "rotator" else set()
    assert {name: outcome(write(name)) for name in NAMES} == {
        name: "allowed" if name in writable else 403 for name in NAMES
    }
    retired = outcome(lambda: kv.destroy_secret_versions("shop/pager", [1]))
    assert retired == ("allowed" if role == "rotator" else 403)
    listed = outcome(lambda: kv.list_secrets("shop"))
    assert listed == ("allowed" if role == "lister" else 403)
    others = {
        "another application's": lambda: kv.read_secret_version("other/x", raise_on_deleted_version=True),
        "what is above the prefix": lambda: kv.list_secrets(""),
        "policies": client.sys.list_policies,
        "a policy of its own": lambda: client.sys.create_or_update_policy(
            f"t1-{role}", 'path "*" { capabilities = ["read"] }'
        ),
        "another secret id": lambda: client.auth.approle.generate_secret_id(f"t1-{role}"),
        "its role": lambda: client.auth.approle.read_role(f"t1-{role}"),
        "mounts": client.sys.list_mounted_secrets_engines,
        "audit devices": client.sys.list_enabled_audit_devices,
        "the end of auditing": lambda: client.sys.disable_audit_device("file"),
        "sealing": client.sys.seal,
        "a token of its own making": client.auth.token.create,
        "a wrapping": lambda: client.sys.wrap({"a": "b"}),
        "a locker": lambda: client.write("cubbyhole/a", b="c"),
        "everything destroyed": lambda: kv.delete_metadata_and_all_versions("shop/pager"),
    }
    assert {what: outcome(call) for what, call in others.items()} == dict.fromkeys(others, 403)
    assert client.lookup_token()["data"]["policies"] == [f"t1-{role}"]
    again = outcome(lambda: client.auth.approle.login(_role_id, secret_id, use_token=False))
    assert again == "InvalidRequest", "a secret id is for one login"
    client.auth.token.revoke_self()
    assert outcome(client.lookup_token) == 403


def test_the_rotator_can_do_what_a_rotation_does_and_nothing_else(real_vault, request, tmp_path):
    """As it stands in group_vars, by the very calls that a rotation makes."""
    said = yaml.safe_load((Path(request.config.rootpath) / "group_vars/all/vault.yml").read_text(encoding="utf-8"))[
        "vault_roles"
    ]["rotator"]
    declared = {"read": ["pager"], "write": ["pager", "slipway-rotation/*"], "retire": ["pager"]}
    assert {action: type(patterns) for action, patterns in said["may"].items()} == {
        "read": str,
        "write": str,
        "retire": str,
        "remove": list,
    }
    access = access_of(real_vault, {"rotator": {**said, "may": {**said["may"], **declared}}}, owner="t5")
    apply(access)
    role_id, secret_id = client_of(real_vault, "t5-rotator")[1:]
    approle = real_vault.root.auth.approle
    secret_id = approle.generate_secret_id("t5-rotator")["data"]["secret_id"]
    files = {
        "role_id_path": real_vault.secret("t5-role-id", role_id),
        "secret_id_path": real_vault.secret("t5-secret-id", secret_id),
    }
    vault = Vault("vault", real_vault.settings(**files), Logins(None, SystemClock()))
    real_vault.put("pager", key="one")
    before, candidate = vault.standing("pager").version, "slipway-rotation/pager"
    vault.write(Secret(candidate, {"key": "two"}))
    vault.replace(Secret("pager", vault.read(candidate).fields), before)
    vault.retire("pager", before, destroyed=False)
    vault.retire("pager", before, destroyed=True)
    vault.remove(candidate)
    assert vault.read("pager").value() == "two"
    for call in (
        lambda: vault.remove("pager"), lambda: vault.write(Secret("database/other", {"a": "b"})), lambda: vault.read("database/other"), vault.entries,
        lambda: vault.retire("database/other", "1", destroyed=True),
    ):  # fmt: skip
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.reason == "secret_denied"


def test_a_mount_that_is_none_is_refused(real_vault):
    for mount in ("none", "sys", "cubbyhole"):
        with pytest.raises(Refusal) as refusal:
            access_of(real_vault, mount=mount).plan()
        assert refusal.value.reason == "vault_mount_missing"


def test_who_is_no_administrator_changes_nothing(real_vault, applied):
    client, _role_id, _secret_id = client_of(real_vault, "t1-deployer")
    real_vault.secret("deployers-token", client.token)
    vault = Vault(
        "vault",
        real_vault.settings(auth="token", token_path=real_vault.directory / "deployers-token"),
        Logins(None, SystemClock()),
    )
    with pytest.raises(Refusal) as refusal:
        VaultAccess(vault, applied.about, applied.roles).plan()
    assert refusal.value.reason == "secret_denied"


def test_a_sealed_one_is_said_to_be(real_vault):
    access = access_of(real_vault)
    real_vault.seal()
    with pytest.raises(Refusal) as refusal:
        access.plan()
    assert (refusal.value.reason, refusal.value.found) == ("vault_unavailable", "sealed")
