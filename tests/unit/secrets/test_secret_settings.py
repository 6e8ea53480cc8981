# SPDX-License-Identifier: GPL-3.0-or-later
"""What group_vars may say of secrets: every key is checked, and none of them takes a value of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.secret_settings import SecretSettings

VAULT = {
    "type": "vault",
    "url": "https://vault.example:8200/",
    "auth": "approle",
    "role_id_path": "/etc/role",
    "secret_id_path": "/etc/id",
}
AWS = {"type": "aws", "region": "eu-central-1", "prefix": "slipway/"}
LOCAL = {"type": "local", "path": "/srv/secrets.enc", "key_path": "~/secrets.key"}
ENV = {"type": "env", "path": "/srv/.env"}
FILES = {"type": "ansible_vault", "path": "/srv/vault.yml"}
GIVEN = {
    "secrets_providers": {"vault": VAULT, "aws": AWS, "local": LOCAL, "env": ENV, "files": FILES},
    "secrets_chain": ["aws", "vault", "local"],
    "secrets_declared": {"database/main": {"type": "database", "description": "d", "variables": {"password": "DB_PASSWORD"}}, "pager": {}},
}  # fmt: skip


def changed(**changes):
    return {**GIVEN, **changes}


def provider(**about):
    return changed(secrets_providers={**GIVEN["secrets_providers"], "x": about})


def test_what_is_said_is_what_is_taken():
    settings = SecretSettings.parse(GIVEN)
    aws, vault, local = settings.chain
    assert (aws.label, aws.aws.region, aws.aws.prefix) == ("aws", "eu-central-1", "slipway/")
    assert (vault.vault.url, vault.vault.mount, vault.vault.timeout_seconds) == (
        "https://vault.example:8200",
        "secret",
        5.0,
    )
    assert local.file.key_path == Path.home() / "secrets.key"
    assert (settings.cache_seconds, settings.breaker_failures, settings.breaker_seconds) == (300, 5, 60)
    assert [each.name for each in settings.declared] == ["database/main", "pager"]
    (env,) = SecretSettings.parse(changed(secrets_chain=["env"])).chain
    assert (env.file.store, env.file.mode) == (Path("/srv/secrets.enc"), None)
    (files,) = SecretSettings.parse(changed(secrets_chain=["files"])).chain
    assert files.file.path == Path("/srv/vault.yml")


@pytest.mark.parametrize("about", [
    {**VAULT, "auth": "token"}, {**VAULT, "auth": "jwt", "jwt_path": "/x"}, {**VAULT, "url": "http://vault.example"}, {**VAULT, "url": "https://shop.example:p@vault.example"},
    {**VAULT, "url": "https://vault.example?x"}, {**VAULT, "url": 1}, {**VAULT, "token": "s.value"}, {**VAULT, "ca_path": "relative.pem"}, {**VAULT, "auth": "ldap"},
    {**VAULT, "mount": "a b"}, {**AWS, "region": ""}, {**AWS, "secret_access_key": "x"}, {**AWS, "endpoint_url": "http://aws.example"}, {**LOCAL, "path": "x"},
    {**LOCAL, "key": "x"}, {**ENV, "mode": "open"}, {"type": "keychain"}, {}, {"type": "local"}, {**FILES, "password": "x"},
])  # fmt: skip
def test_a_provider_that_is_none_is_refused_also_when_no_chain_names_it(about):
    with pytest.raises(Refusal, match=r"secrets_providers\.x") as refusal:
        SecretSettings.parse(provider(**about))
    assert refusal.value.reason == "secrets_settings_invalid"


@pytest.mark.parametrize("given", [
    changed(secrets_chain=[]), changed(secrets_chain=["none"]), changed(secrets_chain=["aws", "aws"]), changed(secrets_chain="aws"), changed(secrets_chain=[1]),
    {key: value for key, value in GIVEN.items() if key != "secrets_chain"}, {}, changed(secrets_providers={"A B": AWS}), changed(secrets_providers=[AWS]),
    changed(secrets_cache_seconds=-1), changed(secrets_cache_seconds="300"), changed(secrets_breaker_failures=0), changed(secrets_timeout_seconds=0),
    changed(secrets_swap_accepted="yes"), changed(secrets_unknown=1), changed(secrets_declared={"../x": {}}), changed(secrets_declared={"a": {"type": "x"}}),
    changed(secrets_declared={"a": {"value": "x"}}), changed(secrets_declared={"a": {"description": "a\nb"}}), changed(secrets_declared={"a": None}),
    changed(secrets_declared={"a": {"type": "jwt", "variables": {"password": "X"}}}), changed(secrets_declared={"a": {"variables": {"p": "1X"}}}),
    changed(secrets_declared={"a/b": {}, "a_b": {}}), changed(secrets_declared={"a": {"variables": {"p": "X"}}, "b": {"variables": {"p": "X"}}}),
])  # fmt: skip
def test_settings_that_are_none_are_refused(given):
    with pytest.raises(Refusal) as refusal:
        SecretSettings.parse(given)
    assert refusal.value.reason == "secrets_settings_invalid"
    assert "docs/howto/secrets.md" in refusal.value.remedy


def test_the_numbers_and_a_service_on_this_machine():
    given = provider(type="aws", region="eu-1", endpoint_url="http://127.0.0.1:5000")
    settings = SecretSettings.parse(
        {**given, "secrets_chain": ["x"], "secrets_cache_seconds": 0, "secrets_swap_accepted": True}
    )
    assert (settings.cache_seconds, settings.swap_accepted) == (0, True)
    assert settings.chain[0].aws.endpoint_url == "http://127.0.0.1:5000"


def test_the_store_of_a_chain_is_its_encrypted_one():
    assert SecretSettings.parse(GIVEN).store().label == "local"
    assert SecretSettings.parse(changed(secrets_chain=["vault", "env"])).store().label == "env"
    with pytest.raises(Refusal, match="secret_store_undeclared"):
        SecretSettings.parse(changed(secrets_chain=["vault", "files"])).store()
