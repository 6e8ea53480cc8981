# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the tests import the domain by the name under which Ansible ships it."""

from pathlib import Path

import ansible.module_utils
import hypothesis

REPOSITORY = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))

# A busy machine is no bug.
hypothesis.settings.register_profile("slipway", deadline=None)
hypothesis.settings.load_profile("slipway")

from agents import agent  # noqa: E402, F401 - fixtures for every test, after the path is set
from offices import office  # noqa: E402, F401 - the same
from releases import in_memory, site  # noqa: E402, F401 - fixtures for every test, after the path is set
