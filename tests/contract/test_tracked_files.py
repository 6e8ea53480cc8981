# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be in no file, what must be in each, and linters that nobody silenced."""

from __future__ import annotations

import ast
import re

import pytest
import repository
import yaml

PYTHON = [name for name, text in repository.texts() if name.endswith(".py") or text.startswith("#!/usr/bin/env python")]
# Machines that a file may name: formats, distributions. What ends in .example and what is 192.0.2.x (RFC 5737) never exists.
KNOWN_MACHINES = {
    "127.0.0.1", "archive.ubuntu.com", "deb.debian.org", "events.pagerduty.com", "example.com", "fsf.org", "in-toto.io", "json-schema.org", "localhost",
    "slipway.dev", "www.apache.org", "www.gnu.org", "x",
}  # fmt: skip
# Written so that the pattern does not match itself.
MACHINE_PATHS = re.compile(r"/wor[k]/|/tmp/bas[h]_jobs|/hom[e]/(?!operator/)|/User[s]/|/\.pyen[v]/")
WORKPLACE = re.compile(r"\bfar[m]-\w|\bbefore-sto[p]\b")
SECRETS = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]"),
    "a cloud key": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of a code host": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{20}|glpat-[\w-]{20})"),
    "a token of a chat": re.compile(r"\bxox[abprs]-[\w-]{10}"),
}
# In YAML and INI: a value of a name that means a secret, unless it is a template, a path or nothing.
SECRET_VALUE = re.compile(
    r"^\s*-?\s*\w*(?:password|passwd|passphrase|secret|token|api_key|private_key)[ \t]*[:=][ \t]*(?![{\"'/.]*(?:\{\{|/|$)|(?:true|false)$)[\"']?[^\s\"']{4}",
    re.IGNORECASE | re.MULTILINE,
)
PIPED = re.compile(r"\b(curl|wget)\b[^\n|]*\|\s*(sudo\s+)?(ba|da|z)?sh\b")


def files_with(pattern, *suffixes):
    return [name for name, text in repository.texts(*suffixes) if pattern.search(text)]


def test_no_file_names_a_path_of_a_machine():
    assert files_with(MACHINE_PATHS) == []


def test_no_file_names_a_machine_that_is_not_known():
    found = {}
    for name, text in repository.texts():
        if name.endswith(".svg"):
            continue  # names of its format, no addresses
        for machine in re.findall(r"https?://([A-Za-z0-9.-]+)", text):
            is_for_documents = machine.endswith(".example") or machine.startswith("192.0.2.")
            if machine.rstrip(".") not in KNOWN_MACHINES and not is_for_documents:
                found.setdefault(machine, name)
    assert found == {}


def test_no_file_names_the_tools_of_a_workplace():
    assert files_with(WORKPLACE) == []


def test_locked_versions_name_no_index():
    locks = dict(repository.texts(".lock"))
    names = ("awx", "bench", "builder", "controller", "dev", "execution-environment")
    assert set(locks) == {f"requirements/{name}.lock" for name in names}
    assert [name for name, text in locks.items() if re.search(r"index-url|find-links|@ (file|https?):|://", text)] == []


@pytest.mark.parametrize("what", SECRETS)
def test_no_file_has_a_secret(what):
    assert files_with(SECRETS[what]) == []


def test_no_setting_has_a_secret():
    assert files_with(SECRET_VALUE, ".yml", ".yaml", ".cfg", ".ini", "hosts", ".j2", ".toml") == []


def test_nothing_is_downloaded_into_a_shell():
    assert files_with(PIPED) == []


@pytest.mark.parametrize("name", PYTHON)
def test_a_python_file_begins_with_its_licence_and_says_what_it_is_for(name):
    lines = (repository.ROOT / name).read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert first == "# SPDX-License-Identifier: GPL-3.0-or-later"
    assert ast.get_docstring(ast.parse("\n".join(lines)))


@pytest.mark.parametrize("name", PYTHON)
def test_no_python_file_swallows_every_error(name):
    tree = ast.parse((repository.ROOT / name).read_text(encoding="utf-8"))
    swallowed = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert swallowed == []


def test_ansible_lint_skips_nothing():
    settings = yaml.safe_load((repository.ROOT / ".ansible-lint").read_text(encoding="utf-8"))
    assert settings["profile"] == "production"
    assert settings["skip_list"] == []
    assert settings["warn_list"] == []
    assert settings["strict"] is True
    assert set(settings["exclude_paths"]) <= {".venv/", ".slipway/", ".ansible/", "examples/"}


def test_every_silenced_rule_is_named_and_says_why():
    unexplained = []
    rule = r"[A-Z]+[0-9]+|[a-z-]+(?:\[[a-z-]+\])?"
    for name, text in repository.texts(".py", ".yml", ".yaml"):
        for number, line in enumerate(text.splitlines(), 1):
            if "noqa" in line and not line.lstrip().startswith("#") and name != "tests/contract/test_tracked_files.py":
                why = re.search(rf"# noqa: (?:{rule})(?:, ?(?:{rule}))*(?:\s+[-#]*\s*)(\w+ \w+.*)", line)
                unexplained += [] if why else [f"{name}:{number}"]
    assert unexplained == []


def test_the_hooks_before_a_commit_fetch_nothing():
    settings = yaml.safe_load((repository.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {each["repo"] for each in settings["repos"]} == {"local"}
    hooks = [hook for each in settings["repos"] for hook in each["hooks"]]
    assert {hook["id"] for hook in hooks} >= {"ruff", "ruff-format", "yamllint", "ansible-lint", "mypy"}
    assert {hook["language"] for hook in hooks} == {"system"}
