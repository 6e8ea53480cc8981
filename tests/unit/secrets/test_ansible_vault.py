# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ansible-vault, encrypted and decrypted by Ansible itself."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.ansible_vault import AnsibleVaultFile, NotDecrypted
from ansible.module_utils.slipway.secrets.provider import Standing, Unknown
from ansible.module_utils.slipway.secrets.secret import Secret
from ansible.parsing.vault import VaultLib, VaultSecret
from safes import CANARY

VAULT = VaultLib([("default", VaultSecret(b"a password"))])
OTHER = VaultLib([("default", VaultSecret(b"another password"))])


def decrypting(vault):
    def decrypt(data):
        try:
            return vault.decrypt(data)
        except AnsibleError:
            raise NotDecrypted from None

    return decrypt


@pytest.fixture
def file(tmp_path):
    """A function that makes a file with that content and returns its provider."""

    def make(text, vault=VAULT):
        path = tmp_path / "vault.yml"
        path.write_bytes(VAULT.encrypt(text))
        return AnsibleVaultFile("files", path, decrypting(vault))

    return make


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


def test_names_have_fields_or_one_value(file):
    provider = file(f"database/main: {{password: {CANARY}, port: 5432}}\npager: {CANARY}\n")
    assert provider.read("database/main") == Secret("database/main", {"password": CANARY, "port": "5432"})
    assert provider.read("pager").value() == CANARY
    assert [entry.name for entry in provider.entries()] == ["database/main", "pager"]
    for name, version in (("none", None), ("pager", "1")):
        with pytest.raises(Unknown):
            provider.read(name, version)
    assert CANARY not in repr(provider)


def test_another_content_has_another_origin(file):
    assert file("a: b").origin != file("a: c").origin


def test_without_its_password_nothing_is_read(file):
    assert refused(lambda: file(f"a: {CANARY}", OTHER).read("a")) == "vault_password_missing"
    assert refused(lambda: file(f"a: {CANARY}", VaultLib([])).entries()) == "vault_password_missing"


def test_an_altered_byte_is_refused(file):
    provider = file(f"a: {CANARY}")
    data = provider.path.read_bytes()
    provider.path.write_bytes(data[:-3] + (b"0" if data[-3:-2] != b"0" else b"1") + data[-2:])
    assert refused(lambda: provider.read("a")) == "vault_password_missing"


def test_a_file_that_is_missing_or_plain_is_named(file):
    provider = file("a: b")
    provider.path.write_text(f"a: {CANARY}\n")
    assert refused(lambda: provider.read("a")) == "vault_file_plain"
    provider.path.unlink()
    assert refused(lambda: provider.read("a")) == "vault_file_missing"


@pytest.mark.parametrize(
    "text", [f"[{CANARY}]", f"A B: {CANARY}", f"1: {CANARY}", f"a: {CANARY}: b", "", f"{{a: {CANARY}"]
)
def test_a_content_that_is_none_is_refused_without_showing_it(file, text):
    assert refused(lambda: file(text).read("a")) == "vault_file_unreadable"


def test_it_is_edited_by_ansible_vault(file):
    provider = file("a: b")
    before = provider.path.read_bytes()
    for change in (
        lambda: provider.write(Secret("a", {"value": CANARY})), lambda: provider.replace(Secret("a", {"value": CANARY}), ""),
        lambda: provider.version_after(""), lambda: provider.retire("a", "1", destroyed=True), lambda: provider.remove("a"),
    ):  # fmt: skip
        assert refused(change) == "secret_provider_read_only"
    assert provider.standing("a") == Standing()
    assert provider.path.read_bytes() == before
