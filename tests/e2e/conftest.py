# SPDX-License-Identifier: GPL-3.0-or-later
"""Real hosts for end-to-end tests: an instance of the lab of their own, made once and removed at the end.

SLIPWAY_KEEP_LAB=1 keeps it, which saves a few seconds between runs; `python3 -m lab down --instance e2e` removes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from deployments import CLEAN, Operator

from lab import hosts, lifecycle
from lab.fleet import Fleet
from lab.names import Clone

# One lab for each process of pytest-xdist.
INSTANCE = f"e2e{os.environ.get('PYTEST_XDIST_WORKER', '').removeprefix('gw0')}"


def pytest_configure(config: pytest.Config) -> None:
    """Show what takes long, unless told otherwise."""
    if config.option.durations is None:
        config.option.durations = 10


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Return staging-1 and prod-1 to prod-3, up and answering. What a test breaks, it mends."""
    clone = Clone.here()
    yield Fleet(clone, lifecycle.up(clone, INSTANCE, "staging=1,prod=3"))
    if not os.environ.get("SLIPWAY_KEEP_LAB"):
        lifecycle.down(clone, INSTANCE)


@pytest.fixture(scope="session")
def operator(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """Return an operator whose hosts were bootstrapped a moment ago, with keys and a catalogue of its own."""
    operator = Operator(fleet, tmp_path_factory.mktemp("controller"))
    hosts.in_parallel(lambda host: fleet.inside(host.name, CLEAN), fleet.record.hosts)
    operator.play("playbooks/keys.yml")
    operator.play("playbooks/bootstrap.yml")
    return operator
