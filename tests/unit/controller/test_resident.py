# SPDX-License-Identifier: GPL-3.0-or-later
"""One file that a host can run on its own, the same bytes from the same sources."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import ansible.module_utils.slipway
import pytest
from ansible.module_utils.slipway import __version__
from ansible.module_utils.slipway.controller import resident
from releases import V1

PACKAGE = Path(ansible.module_utils.slipway.__file__).parent
IN_ROOT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from slipway.__main__ import main
from slipway.host.places import Host
sys.exit(main(sys.argv[3:], Host(root=Path(sys.argv[2]))))
"""
IMPORT_ALL = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import slipway
names = [module.name for module in pkgutil.walk_packages(slipway.__path__, "slipway.")]
for name in names:
    importlib.import_module(name)
foreign = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"slipway", "__main__"}
print(len(names), sorted(name for name in foreign if not name.startswith("_")))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("resident") / "slipway.pyz"
    path.write_bytes(resident.build())
    path.chmod(0o755)
    return path


def python(*arguments, environment=None):
    """Isolated, and without site packages: a host has none of the controller's."""
    return subprocess.run(
        [sys.executable, "-I", "-S", *arguments], capture_output=True, text=True, check=False, env=environment, cwd="/"
    )


def test_the_package_says_its_version(package):
    finished = python(package, "--version")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, f"slipway {__version__}\n", "")


def test_the_status_of_an_empty_host_is_an_empty_table(package, tmp_path):
    finished = python("-c", IN_ROOT, package, tmp_path, "status")
    assert (finished.returncode, finished.stderr) == (0, "")
    head = ["application", "active", "since", "by", "health", "previous", "bad", "trust", "history", "checked"]
    assert finished.stdout.split() == head


def test_a_host_verifies_itself_with_nothing_but_the_package(package, site):
    site.build("v1", V1)
    site.deploy("v1")
    in_root = IN_ROOT.replace("root=Path(sys.argv[2])", f"root=Path(sys.argv[2]), uid={os.geteuid()}")

    def verified():
        # The controller's site packages stand for the host's python3-cryptography.
        argv = [sys.executable, "-I", "-c", in_root, package, site.host.root, "verify", "shop"]
        return subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")

    finished = verified()
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines()[1].split()[:4] == ["shop", "v1", "intact", "intact"]
    site.places.history.write_bytes(b"")
    finished = verified()
    assert finished.returncode == 1
    assert finished.stdout.splitlines()[1].split()[:4] == ["shop", "v1", "intact", "truncated"]


def test_the_package_is_a_module_for_whoever_has_it_on_the_path(package):
    environment = {"PYTHONPATH": str(package), "PATH": os.environ["PATH"]}

    def run(*arguments):
        argv = [sys.executable, "-m", "slipway", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, cwd="/")

    assert run("--version").stdout == f"slipway {__version__}\n"
    finished = run("verify", "not-here")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.partition(":")[0] in ("host_identity_missing", "application_not_bootstrapped")


def test_every_verb_works_on_an_empty_host(package, tmp_path):
    for verb, output in (("status", "[]"), ("verify", "[]"), ("history", ""), ("recover", "")):
        finished = python("-c", IN_ROOT, package, tmp_path, verb, "--json")
        assert (finished.returncode, finished.stdout.strip(), finished.stderr) == (0, output, "")
    assert list(tmp_path.iterdir()) == []


def test_the_agent_has_a_door_of_its_own(package):
    finished = python(package, "watch", "--help")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("usage: slipway watch ")
    program = f"import runpy, sys; sys.argv = ['slipway', 'watch', 'run']; runpy.run_path({str(package)!r}, run_name='__main__')"
    finished = python("-X", "importtime", "-c", program)
    assert "slipway.watch.agent" in finished.stderr
    # What it needs on no day but that of a person who asks something takes a tenth of its memory.
    assert [
        name for name in ("argparse", "http.client", "slipway.host.handler") if f" {name}\n" in finished.stderr
    ] == []


def test_a_refusal_is_one_sentence_and_exit_code_1(package, tmp_path):
    finished = python("-c", IN_ROOT, package, tmp_path, "history", "shop")
    assert finished.returncode == 1
    assert finished.stderr.startswith("application_not_bootstrapped: expected ")


def test_wrong_usage_is_exit_code_2(package):
    assert python(package, "deploy").returncode == 2


def test_the_package_is_a_program_of_the_hosts_own_python(package):
    assert package.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")


def test_the_environment_cannot_slip_another_module_in(package, tmp_path):
    (tmp_path / "slipway").mkdir()
    (tmp_path / "slipway/__init__.py").write_text("raise SystemExit('from elsewhere')")
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('from elsewhere')")
    finished = python(package, "--version", environment={"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": "/dev/null"})
    assert finished.stdout == f"slipway {__version__}\n"


def test_everything_in_the_package_imports_with_the_standard_library_alone(package):
    finished = python("-c", IMPORT_ALL, package)
    assert (finished.returncode, finished.stderr) == (0, "")
    count, foreign = finished.stdout.split(maxsplit=1)
    assert int(count) == len(resident.files()) - 1  # slipway itself is not counted
    assert json.loads(foreign.replace("'", '"')) == []


def test_what_only_a_controller_uses_stays_there():
    with zipfile.ZipFile(io.BytesIO(resident.build())) as archive:
        names = set(archive.namelist())
    there = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    left = {name for name in there if name.as_posix() not in {each.removeprefix("slipway/") for each in names}}
    assert {name.parts[0] for name in left} == resident.CONTROLLER_ONLY
    assert names == {"__main__.py"} | {f"slipway/{name.as_posix()}" for name in there - left}


def test_the_bytes_depend_on_the_sources_alone(tmp_path):
    copy = tmp_path / "elsewhere"
    for path in sorted(PACKAGE.rglob("*.py"), reverse=True):
        twin = copy / path.relative_to(PACKAGE)
        twin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, twin)
        os.utime(twin, (1, 1))
        twin.chmod(0o600)
    (copy / "__pycache__").mkdir()
    (copy / "notes.txt").write_text("not ours")
    assert resident.build(copy) == resident.build() == resident.build(PACKAGE)


def test_nothing_is_compressed_since_that_differs_between_builds_of_zlib():
    with zipfile.ZipFile(io.BytesIO(resident.build())) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


def test_another_source_makes_another_digest(tmp_path):
    copy = tmp_path / "slipway"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = resident.digest(resident.build(copy))
    (copy / "base/errors.py").write_text((copy / "base/errors.py").read_text() + "\n")
    assert resident.digest(resident.build(copy)) != before


def test_a_digest_is_the_sha256_of_the_bytes():
    assert resident.digest(b"x") == hashlib.sha256(b"x").hexdigest()


def test_the_package_is_the_one_that_ansible_ships():
    assert Path(resident.__file__).parent.parent == PACKAGE
