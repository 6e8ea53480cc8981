# SPDX-License-Identifier: GPL-3.0-or-later
"""What git says about a source: real checkouts."""

from __future__ import annotations

import subprocess

import pytest
from ansible.module_utils.slipway.controller.checkout import Checkout, look


def git(directory, *arguments):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.strip()


def ships(path):
    return not path.startswith("build") and "__pycache__" not in path


@pytest.fixture
def source(tmp_path):
    """A source in a directory of a checkout that has more."""
    git(tmp_path, "init", "-q", "-b", "main")
    directory = tmp_path / "apps/hello"
    directory.mkdir(parents=True)
    (directory / "run").write_text("1")
    (directory / ".gitignore").write_text("build/\n__pycache__/\n*.log\n")
    (tmp_path / "README").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "All")
    return directory


def test_a_source_that_is_exactly_a_commit_has_its_branch_and_tag(source):
    commit = git(source, "rev-parse", "HEAD")
    assert look(source, ships) == Checkout(commit, "main", None)
    git(source, "tag", "v1.2.0")
    assert look(source, ships) == Checkout(commit, "main", "v1.2.0")
    assert look(source, ships).is_clean


def test_a_commit_that_is_checked_out_as_such_has_no_branch(source):
    git(source, "checkout", "-q", "--detach")
    assert look(source, ships).branch is None
    assert look(source, ships).is_clean


def test_changes_beside_the_source_do_not_count(source):
    (source.parents[1] / "README").write_text("2")
    (source.parent / "new").write_text("2")
    assert look(source, ships).is_clean


@pytest.mark.parametrize(
    "change",
    [
        lambda s: (s / "run").write_text("2"),
        lambda s: (s / "run").unlink(),
        lambda s: (s / "run").rename(s / "walk"),
        lambda s: git(s, "mv", "run", "walk"),
        lambda s: (s / "new").write_text(""),
        lambda s: (s / "a\nb").write_text(""),
        lambda s: (s / "shipped.log").write_text(""),
        lambda s: (s / "build.txt").write_text(""),
    ],
    ids=[
        "changed",
        "removed",
        "renamed",
        "renamed with git",
        "added",
        "a strange name",
        "ignored, but shipped",
        "not shipped, but not ignored",
    ],
)
def test_a_source_that_is_changed_is_no_commit(source, change):
    change(source)
    assert look(source, ships) == Checkout()


def test_what_git_ignores_and_is_not_shipped_is_no_change(source):
    for name in ("build", "__pycache__", "lib/__pycache__"):
        (source / name).mkdir(parents=True)
        (source / name / "x").write_text("")
    assert look(source, ships).is_clean


def test_a_directory_that_git_ignores_altogether_is_no_commit(source):
    inner = source / "build/inner"
    inner.mkdir(parents=True)
    (inner / "run").write_text("")
    assert look(inner, lambda path: True) == Checkout()


def test_a_repository_without_a_commit_is_none(tmp_path):
    git(tmp_path, "init", "-q")
    assert look(tmp_path, ships) == Checkout()


def test_what_is_no_checkout_is_none(tmp_path):
    assert look(tmp_path, ships) == Checkout()


def test_without_git_there_is_none(source, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert look(source, ships) == Checkout()


def test_gits_own_variables_do_not_mislead(source, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert look(source, ships).is_clean
