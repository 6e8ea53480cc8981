# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a text with its golden file, or write the file anew: `pytest tests/golden --update-golden`."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="write tests/golden/*.txt anew; read the difference")


@pytest.fixture
def golden(request):
    """A function of a name and a text; the text must be what tests/golden/<name>.txt says."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.write_text(f"{text}\n", encoding="utf-8")
        assert f"{text}\n" == path.read_text(encoding="utf-8")

    return compare
