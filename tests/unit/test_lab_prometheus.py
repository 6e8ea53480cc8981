# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Prometheus' programs for the tests come from: what is there is taken, and nothing is installed."""

from __future__ import annotations

import pytest

from lab import prometheus, shell


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without any of them, and a directory of its PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shell, "SEARCH_PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def put(directory, names=prometheus.PROGRAMS):
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch(0o755)


def test_programs_on_the_path_are_taken_first_if_they_are_all_there(machine):
    put(prometheus.cached())
    put(machine, prometheus.PROGRAMS[:2])
    assert prometheus.find() == prometheus.ensure() == prometheus.cached()
    put(machine)
    assert prometheus.find() == machine


def test_without_them_they_are_fetched_once_and_appear_together(machine, monkeypatch):
    fetched = []

    def fetch(scratch):
        fetched.append(scratch)
        put(scratch / "programs")

    monkeypatch.setattr(prometheus, "_fetch", fetch)
    prometheus.cached().mkdir(parents=True)  # what an interrupted run may have left
    assert prometheus.find() is None
    assert prometheus.ensure() == prometheus.ensure() == prometheus.cached()
    assert len(fetched) == 1
    assert not fetched[0].exists()
