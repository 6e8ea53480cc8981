# SPDX-License-Identifier: GPL-3.0-or-later
"""From Ansible's variables to a chain of providers: what the lookup and the actions share."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path

import pytest
from ansible.module_utils.slipway import _secrets
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.ansible_vault import AnsibleVaultFile, NotDecrypted
from ansible.module_utils.slipway.secrets.aws import AwsSecretsManager
from ansible.module_utils.slipway.secrets.env_file import EnvFile
from ansible.module_utils.slipway.secrets.local_store import LocalStore
from ansible.module_utils.slipway.secrets.store_key import make_key
from ansible.module_utils.slipway.secrets.vault import Vault
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from safes import CANARY, own_memory, secret


def variables(tmp_path, *chain, **about):
    return {
        "slipway_state_directory": str(tmp_path / "state"),
        "slipway_environment": "development",
        "inventory_hostname": "prod-1",
        "secrets_chain": [*chain],
        "secrets_providers": {
            "vault": {"type": "vault", "url": "https://vault.example", "auth": "token", "token_path": "/none"},
            "aws": {"type": "aws", "region": "eu-1"},
            "local": {"type": "local", "path": str(tmp_path / "secrets.enc"), "key_path": str(tmp_path / "key")},
            "env": {"type": "env", "path": str(tmp_path / ".env"), "store": str(tmp_path / "secrets.enc"), "key_path": str(tmp_path / "key")},
            "files": {"type": "ansible_vault", "path": str(tmp_path / "vault.yml")},
        },
        **about,
    }  # fmt: skip


def unchanged(value):
    return value


def empty_store(tmp_path):
    key = make_key(tmp_path / "key")
    LocalStore("local", tmp_path / "secrets.enc", lambda: key).make()


@pytest.fixture
def keeper(tmp_path, memory, monkeypatch):
    """A function that makes the keeper of a chain, with memory of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory))
    monkeypatch.delenv("SECRETS_MODE", raising=False)
    monkeypatch.delenv("SECRETS_KEY_PATH", raising=False)

    def make(*chain, template=unchanged, loader=None, **about):
        given = variables(tmp_path, *chain, secrets_swap_accepted=True, **about)
        return _secrets.keeper_of(given, template, loader or DataLoader())

    return make


def test_each_type_has_its_provider_in_the_order_of_the_chain(keeper):
    made = keeper("vault", "aws", "local", "files").providers
    assert [type(each) for each in made] == [Vault, AwsSecretsManager, LocalStore, AnsibleVaultFile]
    assert [each.label for each in made] == ["vault", "aws", "local", "files"]


def test_a_secret_is_read_and_noted(keeper, tmp_path, memory):
    empty_store(tmp_path)
    made = keeper("local")
    made.write("database/main", secret().fields, None)
    assert made.read("database/main", "password") == CANARY
    _begun, written, read = made.log.records()
    assert (tmp_path / "state/access.jsonl").exists()
    assert (read["environment"], read["host"], read["provider"]) == ("development", "prod-1", "local")
    assert read["run_id"] == written["run_id"] == _secrets.run_id(os.getpid())
    assert made.place.directory == memory / "slipway-secrets"


def test_templates_in_the_settings_are_filled_in(keeper):
    filled = {"{{ x }}": "eu-7"}

    def template(value):
        if isinstance(value, dict):
            return {key: template(each) for key, each in value.items()}
        return filled.get(value, value) if isinstance(value, str) else value

    made = keeper("a", template=template, secrets_providers={"a": {"type": "aws", "region": "{{ x }}"}})
    assert made.providers[0].settings.region == "eu-7"


@pytest.mark.parametrize(("said", "variable", "kind"), [
    (None, None, LocalStore), ("plain", None, EnvFile), ("encrypted", "plain", EnvFile), ("plain", "encrypted", LocalStore),
])  # fmt: skip
def test_the_mode_of_the_environment_wins_and_encrypted_is_the_default(
    keeper, tmp_path, monkeypatch, said, variable, kind
):
    if variable:
        monkeypatch.setenv("SECRETS_MODE", variable)
    providers = variables(tmp_path)["secrets_providers"]
    if said:
        providers["env"]["mode"] = said
    (made,) = keeper("env", secrets_providers=providers).providers
    assert isinstance(made, kind)


def test_a_mode_that_is_none_is_refused(keeper, monkeypatch):
    monkeypatch.setenv("SECRETS_MODE", "open")
    with pytest.raises(Refusal, match="secrets_mode_invalid"):
        keeper("env")


@pytest.mark.parametrize("environment", ["prod", "staging", None, ""])
def test_a_plain_file_is_refused_before_anything_is_read(keeper, monkeypatch, environment):
    monkeypatch.setenv("SECRETS_MODE", "plain")
    with pytest.raises(Refusal, match="secrets_plain_refused"):
        keeper("env", slipway_environment=environment)


def test_without_memory_it_is_said_and_works_all_the_same(keeper, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(_secrets.display, "warning", said.append)
    monkeypatch.setattr(
        _secrets, "open_volatile", lambda *_a, **_o: (_ for _ in ()).throw(_secrets.NotVolatile("on ext4"))
    )
    empty_store(tmp_path)
    made = keeper("local")
    made.write("pager", {"value": CANARY}, None)
    assert made.read("pager") == CANARY
    assert made.place is None
    assert "on ext4" in said[0]


def test_that_the_better_memory_is_not_used_is_said(keeper, monkeypatch, memory, tmp_path):
    said = []
    (memory / "session").mkdir()
    memory.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(memory / "session"))
    monkeypatch.setattr(_secrets.display, "warning", said.append)
    monkeypatch.setattr(_secrets, "open_volatile", partial(_secrets.open_volatile, shared=tmp_path / "none"))
    assert keeper("local").place is None
    assert f"others may rename what is in {memory}" in said.pop()
    with own_memory() as shared:
        monkeypatch.setattr(_secrets, "open_volatile", partial(_secrets.open_volatile.func, shared=shared))
        assert keeper("local").place.directory.parent == shared
    assert f"others may rename what is in {memory}" in said.pop()


def test_ansible_decrypts_with_the_passwords_of_the_run(keeper, tmp_path):
    loader = DataLoader()
    loader.set_vault_secrets([("default", VaultSecret(b"a password"))])
    (tmp_path / "vault.yml").write_bytes(
        VaultLib([("default", VaultSecret(b"a password"))]).encrypt(f"pager: {CANARY}")
    )
    assert keeper("files", loader=loader).read("pager") == CANARY
    loader.set_vault_secrets([("default", VaultSecret(b"another"))])
    with pytest.raises(NotDecrypted):
        _secrets.decrypting(loader)((tmp_path / "vault.yml").read_bytes())


def test_an_option_that_the_lookup_does_not_have_is_refused():
    _secrets.require_options({"field": "a"}, {"field", "version"})
    with pytest.raises(Refusal) as refusal:
        _secrets.require_options({"field": "a", "verison": CANARY}, {"field", "version"})
    assert (refusal.value.reason, refusal.value.found) == ("lookup_option_unknown", "verison")
    assert CANARY not in str(refusal.value)


def test_the_workers_of_a_run_are_known_by_its_main_process():
    assert _secrets.main_process() == os.getpid()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(
        target=lambda: answers.put((_secrets.main_process(), _secrets.run_id(_secrets.main_process())))
    )
    worker.start()
    assert answers.get() == (os.getpid(), _secrets.run_id(os.getpid()))
    worker.join()


def test_the_log_is_in_the_state_directory(tmp_path):
    log = _secrets.access_log(variables(tmp_path), unchanged, None)
    assert log.path == Path(tmp_path / "state/access.jsonl")


def test_what_ansible_notes_on_values_is_left_behind():
    tagged = DataLoader().load("a: [5, true, null, x, 1.5]")
    assert [type(each) for each in _secrets.plain(tagged)["a"]] == [int, bool, type(None), str, float]
    assert type(_secrets.plain(tagged)) is dict
