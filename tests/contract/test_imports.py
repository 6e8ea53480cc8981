# SPDX-License-Identifier: GPL-3.0-or-later
"""What the domain may import: on hosts the standard library and cryptography, and Ansible in few files only."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import PurePosixPath

import pytest
import repository
from ansible.module_utils.slipway.controller import resident
from ansible.module_utils.slipway.trust import members

FILES = sorted(path.relative_to(repository.DOMAIN).as_posix() for path in repository.DOMAIN.rglob("*.py"))
ROOMS = ("base", "trust", "application", "host", "watch", "secrets", "controller")
ANSIBLE = {"_action.py", "_awx.py", "_masking.py", "_module.py", "_secrets.py"}
DOORS = {*ANSIBLE, "_secret_action.py", "_state.py"}
ON_HOSTS = [name for name in FILES if name.partition("/")[0] not in resident.CONTROLLER_ONLY]
ON_CONTROLLERS_TOO = {"yaml", "jinja2", "jsonschema", "packaging", "paramiko", "psycopg", "referencing"}
PROVIDERS = {"boto3", "botocore", "dotenv", "hvac", "requests", "tenacity", "urllib3"}
# What a controller alone runs of a file that hosts have too: asked for by members.CONTROLLER_CHECKS and while building.
LATE = {"trust/members.py": ON_CONTROLLERS_TOO}


def absolute_imports(nodes):
    """Top-level packages that are imported there, by name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def rooms_of_imports(name):
    """The rooms, or files beside them, from which the file imports, wherever in it."""
    here, found = PurePosixPath(name).parts[:-1], set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            above = here[: len(here) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {(*above, *each.split("."))[0] for each in names}
    return found


def parsed(name):
    return ast.parse((repository.DOMAIN / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FILES)
def test_only_the_doors_import_ansible(name):
    assert ("ansible" in absolute_imports(ast.walk(parsed(name)))) == (name in ANSIBLE)


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_the_standard_library_cryptography_and_its_own_package(name):
    allowed = set(sys.stdlib_module_names) | {"cryptography"}
    if name not in ON_HOSTS:
        allowed |= ON_CONTROLLERS_TOO | {"ansible"}
    if name.startswith("secrets/"):
        allowed |= PROVIDERS
    assert absolute_imports(ast.walk(parsed(name))) - allowed - LATE.get(name, set()) == set()


@pytest.mark.parametrize("name", FILES)
def test_the_package_imports_itself_relatively(name):
    assert all(node.level <= 2 for node in ast.walk(parsed(name)) if isinstance(node, ast.ImportFrom))
    assert "slipway" not in absolute_imports(ast.walk(parsed(name)))


@pytest.mark.parametrize("name", [name for name in FILES if "/" in name])
def test_a_room_imports_only_itself_and_those_before_it(name):
    below = ROOMS[: ROOMS.index(name.partition("/")[0]) + 1]
    assert rooms_of_imports(name) - {*below, "__version__"} == set()


def test_the_resident_command_imports_nothing_that_only_controllers_have():
    assert rooms_of_imports("__main__.py") & resident.CONTROLLER_ONLY == set()


def test_every_file_is_in_a_room_but_the_doors():
    assert {name.partition("/")[0] for name in FILES} == {*ROOMS, *DOORS, "__init__.py", "__main__.py"}


def test_the_resident_package_has_exactly_the_files_of_hosts():
    with zipfile.ZipFile(io.BytesIO(resident.build())) as package:
        names = set(package.namelist())
    assert names == {"__main__.py", *(f"slipway/{name}" for name in ON_HOSTS)}


def test_the_resident_package_runs_where_there_is_nothing_but_cryptography(tmp_path):
    package = tmp_path / "slipway.pyz"
    package.write_bytes(resident.build())
    names = [name.removesuffix(".py").replace("/", ".") for name in ON_HOSTS if "__" not in name]
    modules = [f"slipway.{name}" for name in names]
    checks = sorted(members.HOST_CHECKS)
    program = f"""
import importlib, sys
allowed = set(sys.stdlib_module_names) | {{"cryptography", "slipway", "cffi", "_cffi_backend", "typing_extensions"}}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"a host has no {{name}}")
sys.meta_path.insert(0, Nothing())
sys.path.insert(0, {str(package)!r})
for name in {modules!r}:
    importlib.import_module(name)
from slipway.trust import members
files = {{"a.json": b'{{"v": "1"}}', "a.toml": b'v = "1"', "a.yaml": b"v: '1'"}}
declared = [members.Member(f"a.{{kind}}", True, kind, {{"type": "object"}}, "v") for kind in ("json", "toml", "yaml")]
members.check(declared, files.get, "1", frozenset({checks!r}))
print(len({modules!r}))
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout.strip(), run.stderr) == (str(len(modules)), "")


@pytest.mark.parametrize("name", repository.MODULES)
def test_a_module_imports_the_standard_library_and_the_domain(name):
    tree = ast.parse((repository.ROOT / f"library/{name}.py").read_text(encoding="utf-8"))
    assert absolute_imports(ast.walk(tree)) - set(sys.stdlib_module_names) == {"ansible"}
    from_ansible = {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "ansible" in node.module
    }
    assert [name for name in from_ansible if not name.startswith("ansible.module_utils.slipway.")] == []
