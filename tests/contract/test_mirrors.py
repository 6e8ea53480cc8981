# SPDX-License-Identifier: GPL-3.0-or-later
"""Each file of the domain and each module has the test file that is named after it, with tests in it."""

from __future__ import annotations

import ast

import pytest
import repository

DOMAIN = sorted(
    path.relative_to(repository.DOMAIN).with_suffix("").as_posix()
    for path in repository.DOMAIN.rglob("*.py")
    if path.stem != "__init__"
)
TEST_FILES = [path for path in (repository.ROOT / "tests").rglob("test_*.py") if "e2e" not in path.parts]


def names_of_tests(path):
    names = []
    if path.is_file():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


@pytest.mark.parametrize("name", DOMAIN)
def test_a_file_of_the_domain_has_its_unit_test(name):
    room, _, stem = name.rpartition("/")
    assert names_of_tests(repository.ROOT / "tests/unit" / room / f"test_{stem.strip('_')}.py")


@pytest.mark.parametrize("name", repository.MODULES)
def test_a_module_has_its_test(name):
    assert names_of_tests(repository.ROOT / f"tests/modules/test_{name}.py")


@pytest.mark.parametrize("path", sorted((repository.ROOT / "action_plugins").glob("*.py")), ids=lambda path: path.stem)
def test_an_action_plugin_has_the_module_that_documents_it(path):
    assert path.stem in repository.MODULES


@pytest.mark.parametrize("name", sorted(path.name for path in TEST_FILES))
def test_a_test_file_has_a_name_of_its_own(name):
    """Those that run together, since pytest imports them by their bare names."""
    assert len([path for path in TEST_FILES if path.name == name]) == 1
