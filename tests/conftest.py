# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the tests import the domain by the name under which Ansible ships it."""

import os
from pathlib import Path

import ansible.module_utils
import hypothesis

REPOSITORY = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))

# A busy machine is no bug. Where nobody is there to try again (CI is set), the examples are the same each time.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.register_profile("slipway-ci", deadline=None, derandomize=True, print_blob=True, database=None)
hypothesis.settings.load_profile("slipway-ci" if os.environ.get("CI") else "slipway")

from agents import agent  # noqa: E402, F401 - fixtures for every test, after the path is set
from offices import office  # noqa: E402, F401 - the same
from releases import in_memory, site  # noqa: E402, F401 - fixtures for every test, after the path is set
