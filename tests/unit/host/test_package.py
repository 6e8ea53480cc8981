# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident package is put into its place with what Python makes of it, and runs the same with and without that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible.module_utils.slipway.base import frame
from ansible.module_utils.slipway.base.frame import Request
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.host import package

BUILT = resident.build()
ID = "0123456789abcdef" * 2


@pytest.fixture
def machine(host):
    host.resident.parent.mkdir(parents=True)
    return host


def compiled(host):
    return sorted(path.name for path in host.resident.parent.iterdir() if path != host.resident)


def test_it_is_installed_with_its_compiled_form(machine):
    assert not package.is_installed(machine, BUILT)
    package.install(machine, BUILT)
    assert package.is_installed(machine, BUILT)
    assert (machine.resident.read_bytes(), machine.resident.stat().st_mode & 0o777) == (BUILT, 0o755)
    assert compiled(machine) == [f"slipway.pyz.{sys.implementation.cache_tag}.{resident.digest(BUILT)[:16]}"]


def test_what_was_compiled_of_another_package_is_removed(machine):
    package.install(machine, BUILT)
    before = compiled(machine)
    other = BUILT.replace(b"#!/usr/bin/python3", b"#!/usr/bin/python4")
    package.install(machine, other)
    assert len(compiled(machine)) == 1
    assert compiled(machine) != before
    assert not package.is_installed(machine, BUILT)


def test_without_its_compiled_form_it_is_not_installed(machine):
    package.install(machine, BUILT)
    (machine.resident.parent / compiled(machine)[0]).unlink()
    assert not package.is_installed(machine, BUILT)


def test_what_is_no_zip_file_is_kept_as_it_is(machine):
    package.install(machine, b"package")
    assert package.is_installed(machine, b"package")
    assert compiled(machine) == []


def run(path, request):
    words = [sys.executable, "-I", str(path), "exchange"]
    return subprocess.run(words, input=frame.encoded_request(request), capture_output=True, check=False)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_it_answers_from_either_form(machine, is_compiled):
    package.install(machine, BUILT)
    if not is_compiled:
        (machine.resident.parent / compiled(machine)[0]).unlink()
    options = {"application": "no/name", "limit": 1, "witnessed": None}
    content = {"module": "slipway_history_info", "options": options, "check": False, "attached": None}
    done = run(machine.resident, Request(ID, {**content, "package": resident.digest(BUILT)}))
    found = frame.decoded_answer(ID, done.stdout.decode())
    assert (found["result"]["reason"], done.returncode) == ("application_unknown", 0)
    other = run(machine.resident, Request(ID, {**content, "package": "0" * 64}))
    assert frame.decoded_answer(ID, other.stdout.decode()) == {"package": resident.digest(BUILT)}


WHERE = r"""
import runpy, sys
sys.argv = ["slipway", "--version"]
try:
    runpy.run_path(PATH, run_name="__main__")
except SystemExit:
    print(*sorted(module.__file__ for name, module in sys.modules.items() if name.startswith("slipway")), sep="\n")
"""


def test_it_runs_what_was_compiled_and_nothing_else(machine):
    package.install(machine, BUILT)
    program = WHERE.replace("PATH", repr(str(machine.resident)))
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    files = [line for line in done.stdout.splitlines() if line.startswith("/")]
    place = machine.resident.parent / compiled(machine)[0]
    assert files
    assert [file for file in files if not file.startswith(f"{place}/")] == []


def test_nothing_is_written_into_the_package_directory_by_running_it(machine):
    package.install(machine, BUILT)
    before = sorted(os.listdir(machine.resident.parent))
    subprocess.run([sys.executable, "-I", str(machine.resident), "--version"], check=True, capture_output=True)
    assert sorted(os.listdir(machine.resident.parent)) == before
