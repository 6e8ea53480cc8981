# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/compliance.md names commands that are there, for each row at least one, and the recipe for auditors is kept once."""

from __future__ import annotations

import re

import pytest
import repository

PAGE = (repository.ROOT / "docs/compliance.md").read_text(encoding="utf-8")
MAKEFILE = (repository.ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE))
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (CC|A)?\d", line)]


@pytest.mark.parametrize("row", ROWS, ids=[row.split()[1] for row in ROWS])
def test_each_criterion_has_evidence_and_a_command_that_is_there(row):
    _, criterion, does, evidence, commands, _ = [cell.strip() for cell in row.split("|")]
    assert all((criterion, does, evidence))
    found = re.findall(r"`([^`]+)`", commands)
    assert found
    for command in found:
        program, what, *given = command.split()
        if program == "make":
            assert what in TARGETS, command
            assert {each.partition("=")[0] for each in given} <= VARIABLES, command
        else:
            assert program == "ansible-playbook", command
            assert (repository.ROOT / what).is_file(), command


def test_both_kinds_of_criteria_are_there():
    criteria = {row.split()[1] for row in ROWS}
    assert {"CC6.1", "CC6.8", "CC7.1", "CC7.5", "CC8.1", "A1.2", "5(1)(c)", "17", "25", "30", "32(1)(c)"} <= criteria
    assert len(ROWS) > 20


def test_the_recipe_is_kept_in_one_place():
    """The archive's README.md is the how-to: no other page has its steps."""
    pages = {name for name, text in repository.texts(".md") if "pkeyutl -verify -pubin" in text}
    assert pages == {"docs/howto/prove-a-deployment.md"}
