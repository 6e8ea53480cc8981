# SPDX-License-Identifier: GPL-3.0-or-later
"""The threat model names tests that there are, and leaves nobody out."""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath

import pytest
import repository

PAGE = (repository.ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## Who can do what")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ")
][1:]


def defined_in(name):
    files = [path for path in repository.tracked() if path.startswith("tests/") and PurePosixPath(path).name == name]
    return {
        node.name
        for path in files
        for node in ast.parse((repository.ROOT / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=[f"{number} {row[2][:40]}" for number, row in enumerate(ROWS)])
def test_each_row_names_tests_that_there_are(row):
    assert len(row) == 4
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[3])
    assert named
    assert [test for file, test in named if test not in defined_in(file)] == []


def test_the_attackers_are_all_there():
    attackers = [row[0] for row in ROWS if row[0]]
    assert len(attackers) == 21
