# SPDX-License-Identifier: GPL-3.0-or-later
"""Let the tests import the domain by the name under which Ansible ships it."""

from pathlib import Path

import ansible.module_utils

REPOSITORY = Path(__file__).resolve().parent.parent
ansible.module_utils.__path__.append(str(REPOSITORY / "module_utils"))

from releases import site  # noqa: E402, F401  a fixture
