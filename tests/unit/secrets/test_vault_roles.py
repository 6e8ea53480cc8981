# SPDX-License-Identifier: GPL-3.0-or-later
"""What group_vars may say of roles at Vault, and which policy follows: names in, paths out, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.vault import VaultSettings
from ansible.module_utils.slipway.secrets.vault_roles import Roles

SETTINGS = VaultSettings("https://vault.example:8200", "token", mount="kv", prefix="shop")
OWN = {"auth/token/lookup-self": ["read"], "auth/token/revoke-self": ["update"]}
ROLE = {"description": "d", "may": {"read": ["database/main"]}}


def paths(may, settings=SETTINGS):
    roles = Roles.parse("slipway", {"one": {**ROLE, "may": may}})
    policy = json.loads(roles.role("one").policy(settings))
    assert list(policy) == ["path"]
    found = {path: about["capabilities"] for path, about in policy["path"].items()}
    assert {path: found.pop(path) for path in OWN} == OWN
    return found


@pytest.mark.parametrize(("may", "expected"), [
    ({}, {}),
    ({"read": ["database/main"]}, {"kv/data/shop/database/main": ["read"]}),
    ({"read": ["app/*"]}, {"kv/data/shop/app/*": ["read"]}),
    ({"read": ["*"], "list": ["*"]}, {"kv/data/shop/*": ["read"], "kv/metadata/shop/*": ["list", "read"]}),
    ({"write": ["a"]}, {"kv/data/shop/a": ["create", "read", "update"], "kv/metadata/shop/a": ["create", "read", "update"]}),
    ({"remove": ["a/*"]}, {"kv/metadata/shop/a/*": ["delete"]}),
    ({"retire": ["a"]}, {"kv/delete/shop/a": ["update"], "kv/destroy/shop/a": ["update"], "kv/metadata/shop/a": ["read"]}),
])  # fmt: skip
def test_an_action_on_names_is_what_key_value_needs_for_it_and_no_more(may, expected):
    assert paths(may) == expected


def test_what_another_engine_keeps_is_named_by_its_path():
    roles = Roles.parse(
        "slipway",
        {
            "one": {
                **ROLE,
                "paths": {
                    "database/static-creds/shop": ["read"],
                    "database/rotate-role/shop": ["update"],
                    "sys/leases/revoke": ["update"],
                },
            }
        },
    )
    said = json.loads(roles.role("one").policy(SETTINGS))["path"]
    assert said["database/static-creds/shop"] == {"capabilities": ["read"]}
    assert said["database/rotate-role/shop"] == {"capabilities": ["update"]}


def test_without_a_prefix_names_are_paths():
    assert paths({"read": ["a/*"]}, VaultSettings("https://vault.example:8200", "token")) == {
        "secret/data/a/*": ["read"]
    }


def test_the_same_role_is_the_same_text():
    one, other = (
        Roles.parse("slipway", {"one": {**ROLE, "may": {"read": names}}}).role("one")
        for names in (["a", "b"], ["b", "a", "a"])
    )
    assert one.policy(SETTINGS) == other.policy(SETTINGS)


def test_every_parameter_that_matters_is_said_and_the_default_is_short_and_once():
    roles = Roles.parse("slipway", {"one": {**ROLE, "cidrs": ["10.0.0.0/8"]}})
    said = roles.role("one").approle("slipway-one")
    assert said == {
        "bind_secret_id": True, "secret_id_num_uses": 1, "secret_id_ttl": 3600, "secret_id_bound_cidrs": ["10.0.0.0/8"],
        "token_bound_cidrs": ["10.0.0.0/8"], "token_policies": ["slipway-one"], "token_no_default_policy": True, "token_ttl": 1200,
        "token_max_ttl": 1200, "token_explicit_max_ttl": 1200, "token_num_uses": 0, "token_period": 0, "token_type": "service",
    }  # fmt: skip


def test_one_for_each_has_its_own_names():
    roles = Roles.parse(
        "slipway", {"host": {**ROLE, "each": ["prod-1", "prod-2"], "may": {"read": ["hosts/{each}/*"]}}}
    )
    assert [role.name for role in roles.roles] == ["host-prod-1", "host-prod-2"]
    assert roles.role("host-prod-2").may == {"read": ("hosts/prod-2/*",)}
    assert roles.named(roles.roles[0]) == "slipway-host-prod-1"


@pytest.mark.parametrize(("name", "is_ours"), [
    ("slipway-builder", True), ("slipway-host-prod-1", True), ("slipway", False), ("slipway_b-x", False), ("slipwayx-a", False), ("default", False), ("root", False),
])  # fmt: skip
def test_what_is_ours_says_its_name(name, is_ours):
    assert Roles.parse("slipway", {}).is_ours(name) is is_ours


def test_a_role_that_is_not_there_is_refused():
    with pytest.raises(Refusal) as refusal:
        Roles.parse("slipway", {"one": ROLE}).role("other")
    assert refusal.value.reason == "vault_role_unknown"


@pytest.mark.parametrize(("owner", "roles"), [
    ("Slipway", {}), ("", {}), ("a-b", {}), (None, {}), ("slipway", []), ("slipway", {"One": ROLE}), ("slipway", {"one": {"may": {}}}),
    ("slipway", {"one": {"description": "d"}}), ("slipway", {"one": {**ROLE, "token": "s.1"}}), ("slipway", {"one": {**ROLE, "may": {"sudo": ["*"]}}}),
    *(("slipway", {"one": {**ROLE, "may": {"read": [pattern]}}}) for pattern in (
        "", "/a", "a/", "a*", "*/a", "+/a", "../sys", "a/../b", "sys/policy\"", "a b", "A", "a\nb", "{each}", 7, None,
    )),
    ("slipway", {"one": {**ROLE, "may": {"read": "database/main"}}}),
    *(("slipway", {"one": {**ROLE, **change}}) for change in (
        {"token_minutes": 0}, {"token_minutes": True}, {"token_minutes": 1441}, {"token_uses": -1}, {"secret_id_uses": "1"}, {"cidrs": ["here"]},
        {"each": ["web1.example"]}, {"each": "prod"},
    )),
    ("slipway", {"host": {**ROLE, "each": ["prod-1"], "may": {"read": ["hosts/{other}/*"]}}}),
    *(("slipway", {"one": {**ROLE, "paths": paths}}) for paths in (
        {"sys/policy": ["read"]}, {"sys/leases/revoke-prefix/a": ["update"]}, {"sys/leases/revoke/x": ["update"]}, {"auth/token/create": ["update"]}, {"database/*": ["read"]}, {"a/b": ["sudo"]}, {"a/b": ["deny"]}, {"a/../sys/x": ["read"]}, {"a": ["read"]},
    )),
])  # fmt: skip
def test_what_is_no_role_is_refused(owner, roles):
    with pytest.raises(Refusal) as refusal:
        Roles.parse(owner, roles)
    assert refusal.value.reason == "vault_roles_invalid"


def test_the_roles_of_this_repository_are_some(request):
    """As they stand in group_vars, with what is a template there filled in."""
    said = yaml.safe_load((Path(request.config.rootpath) / "group_vars/all/vault.yml").read_text(encoding="utf-8"))
    given = {
        name: {**role, "may": {k: ["database/main"] if isinstance(v, str) else v for k, v in role["may"].items()}, **({"each": ["prod-1"]} if "each" in role else {})}
        for name, role in said["vault_roles"].items()
    }  # fmt: skip
    roles = Roles.parse(said["vault_owner"], given)
    assert [role.name for role in roles.roles] == ["builder", "deployer", "emergency", "host-prod-1", "rotator"]
    assert all(role.secret_id_uses == 1 for role in roles.roles)
    assert [role.name for role in roles.roles if "*" in str(role.may.get("read"))] == [
        "builder",
        "emergency",
        "host-prod-1",
    ]
