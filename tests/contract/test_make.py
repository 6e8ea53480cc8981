# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given to make goes through a shell into templates of Ansible: nothing in it may mean something to either."""

from __future__ import annotations

import re
import shlex
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


COMMANDS = [
    (path, line)
    for path in repository.tracked()
    if path.endswith(".md")
    for line in re.findall(r"^\$ (make .*)", (repository.ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
]


def test_what_documents_give_to_make_is_taken():
    """A shell takes the quotes around a value away; those within it are left, and make refuses them."""
    given = [
        (path, word)
        for path, line in COMMANDS
        for word in shlex.split(line, comments=True)
        if word.partition("=")[0] in set(GIVEN) - FREE
    ]
    assert given
    assert [each for each in given if set(each[1]) & set("'\"`{}")] == []


def test_plain_values_are_taken():
    taken = make("approval-add", "FILE=/tmp/an approval of v1.json", "LIMIT=prod:!prod-3")
    assert taken.returncode == 0
    assert """-e approval_file='"/tmp/an approval of v1.json"\'""" in taken.stdout
