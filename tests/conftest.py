# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the tests import the domain by the name under which Ansible ships it."""

import os
from collections.abc import Callable
from pathlib import Path

import ansible.module_utils
import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))

# A busy machine is no bug. Where nobody is there to try again (CI is set), the examples are the same each time.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.register_profile("slipway-ci", deadline=None, derandomize=True, print_blob=True, database=None)
hypothesis.settings.load_profile("slipway-ci" if os.environ.get("CI") else "slipway")

FIGURE = "figure"


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a figure that a test counted: it is printed at the end of the run, in whichever process the test ran."""
    return lambda figure: request.node.user_properties.append((FIGURE, figure))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    figures = [
        f"{report.nodeid}: {text}" for report in reports for key, text in report.user_properties if key == FIGURE
    ]
    if figures:
        terminalreporter.section("counted")
        terminalreporter.write_line("\n".join(sorted(figures)))


from agents import agent  # noqa: E402, F401 - fixtures for every test, after the path is set
from awx_stand_in import awx  # noqa: E402, F401 - the same
from balancers import pair, played_pair  # noqa: E402, F401 - the same
from databases import postgres, postgres_server, state_place  # noqa: E402, F401 - the same
from offices import office  # noqa: E402, F401 - the same
from releases import in_memory, site, two  # noqa: E402, F401 - fixtures for every test, after the path is set
from safehouse import safehouse, vault_house  # noqa: E402, F401 - the same
from safes import answering, dripping, memory, place  # noqa: E402, F401 - fixtures of secrets
from sinks import sinks  # noqa: E402, F401 - receivers of alerts
from users import volume  # noqa: E402, F401 - a directory of another user
from vaults import real_vault, vault_server  # noqa: E402, F401 - the same
