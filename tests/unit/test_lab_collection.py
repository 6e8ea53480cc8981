# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the collection awx.awx comes from: fetched once by hash, and of its package nothing else is kept."""

from __future__ import annotations

import sysconfig
import zipfile
from pathlib import Path

import pytest

from lab import collection, shell


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A machine without it, and a package index that has the package; what was downloaded."""
    commands = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "site"))

    def run(command, **_options):
        commands.append(command)
        with zipfile.ZipFile(Path(command[command.index("-d") + 1]) / "ansible-1.whl", "w") as wheel:
            for name in ("awx/awx/MANIFEST.json", "awx/awx/plugins/modules/team.py", "other/other/README.md"):
                wheel.writestr(f"ansible_collections/{name}", name)

    monkeypatch.setattr(shell, "run", run)
    return commands


def test_it_is_fetched_by_its_hash_and_only_it_is_kept(package, tmp_path):
    target = collection.ensure()
    assert target == tmp_path / "site/ansible_collections/awx/awx"
    assert (target / "plugins/modules/team.py").read_text() == "awx/awx/plugins/modules/team.py"
    assert not (tmp_path / "site/ansible_collections/other").exists()
    assert "--require-hashes" in package[0]
    assert [path.name for path in collection.cached().parent.iterdir() if path.name.startswith("fetch-")] == []


def test_a_second_checkout_fetches_nothing_and_replaces_what_is_there(package, tmp_path):
    target = collection.ensure()
    (target / "stale").touch()
    assert collection.ensure() == target
    assert not (target / "stale").exists()
    assert len(package) == 1


def test_another_lock_is_another_collection(package, tmp_path, monkeypatch):
    first = collection.cached()
    monkeypatch.setattr(collection, "LOCK", tmp_path / "awx.lock")
    (tmp_path / "awx.lock").write_text("ansible==2\n")
    assert collection.cached() != first
