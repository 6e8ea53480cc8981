# SPDX-License-Identifier: GPL-3.0-or-later
"""No line without a test, no test without a line, no reason that operators cannot look up."""

from __future__ import annotations

import importlib
from pathlib import Path

import lines
import pytest

HERE = Path(__file__).parent
REASONS = (HERE.parents[2] / "docs/reference/reasons.md").read_text(encoding="utf-8")
TABLES = {
    path.stem: importlib.import_module(path.stem)
    for path in sorted(HERE.glob("test_*.py"))
    if path.stem != Path(__file__).stem
}


def cases(name):
    return [line for module in TABLES.values() for line in getattr(module, name, {})]


def test_each_line_that_must_be_refused_has_one_case():
    promised = [line for group in lines.REFUSED.values() for line in group]
    assert sorted(cases("CASES")) == sorted(promised)
    assert len(set(promised)) == len(promised)


def test_each_line_that_must_be_accepted_has_one_case():
    assert sorted(cases("GOOD")) == sorted(lines.ACCEPTED)


@pytest.mark.parametrize("reason", sorted({reason for group in lines.REFUSED.values() for reason in group.values()}))
def test_each_reason_stands_in_the_reference(reason):
    code, _, detail = reason.partition(".")
    assert f"\n### {code}\n" in REASONS
    assert not detail or f"\n| `{detail}` |" in REASONS
