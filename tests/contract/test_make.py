# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given to make goes through a shell into templates of Ansible: nothing in it may mean something to either."""

from __future__ import annotations

import re
import subprocess

import pytest
import repository

MAKEFILE = (repository.ROOT / "Makefile").read_text(encoding="utf-8")
GIVEN = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.MULTILINE)
# PYTHON names the interpreter that makes the virtual environment, OPTIONS are options of ansible-playbook.
FREE = {"PYTHON", "OPTIONS"}


def make(target, *given):
    command = ["make", "--no-print-directory", "-n", target, *given]
    return subprocess.run(command, cwd=repository.ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", sorted(set(GIVEN) - FREE))
@pytest.mark.parametrize("value", ["v1'; touch x; '", '"', "`id`", "{{ lookup('pipe', 'id') }}", "a}"])
def test_a_value_that_means_something_to_shell_or_template_is_refused(name, value):
    refused = make("help", f"{name}={value}")
    assert refused.returncode == 2
    assert f"{name}: expected a value without quotes and braces" in refused.stderr
    assert refused.stdout == ""


def test_plain_values_are_taken():
    taken = make("approval-add", "FILE=/tmp/an approval of v1.json", "LIMIT=prod:!prod-3")
    assert taken.returncode == 0
    assert """-e approval_file='"/tmp/an approval of v1.json"\'""" in taken.stdout
