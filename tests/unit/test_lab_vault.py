# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Vault of the tests comes from: what is there is taken, and nothing is built twice."""

from __future__ import annotations

import pytest

from lab import shell, vault


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without either, and a directory of its PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shell, "SEARCH_PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def program(name, text="#!/bin/sh\n"):
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    return program


def test_a_binary_on_the_path_is_taken_first(machine):
    vault.cached().parent.mkdir(parents=True)
    vault.cached().touch(0o755)
    assert vault.find() == vault.ensure() == vault.cached()
    bao = machine("bao")
    assert vault.find() == vault.ensure() == bao
    hashicorp = machine("vault")
    assert vault.find() == hashicorp


def test_without_one_it_is_built_once_and_appears_whole(machine, monkeypatch):
    built = []

    def build(scratch, target):
        assert scratch.is_dir()
        built.append(scratch)
        (scratch / "vault").touch(0o755)
        (scratch / "vault").replace(target)

    monkeypatch.setattr(vault, "_build", build)
    monkeypatch.setattr(vault.preflight, "require_space", lambda *_words: None)
    assert vault.find() is None
    assert vault.ensure() == vault.ensure() == vault.cached()
    assert len(built) == 1
    assert not built[0].exists()


@pytest.mark.parametrize(
    ("said", "is_new_enough"),
    [("go1.19.8", False), ("go1.25.4", False), ("go1.25.5", True), ("go1.27rc1", True), ("", False)],
)
def test_go_is_taken_where_it_is_new_enough(machine, said, is_new_enough):
    go = machine("go", f"#!/bin/sh\necho {said}\n")
    assert (vault._version(go) >= vault.GO_VERSION) is is_new_enough


def test_the_versions_are_pinned():
    assert f"github.com/hashicorp/vault v{vault.VERSION}" in vault.MODULE
    assert f"sdk v{vault.SDK_VERSION}" in vault.MODULE
