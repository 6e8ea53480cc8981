# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of secrets as operators give them: make, from a key to a value, with nothing of it on the way."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import repository
from safes import CANARY
from test_playbooks import typed

DECLARED = {
    "database/main": {"description": "The shop's database", "variables": {"password": "DB_PASSWORD"}},
    "pager": {"type": "api_key"},
}


@pytest.fixture
def make(tmp_path, memory):
    """A function that runs a target for a chain of one store below tmp_path; returns (exit code, output)."""
    given = {
        "slipway_state_directory": str(tmp_path / "state"), "slipway_environment": "development", "secrets_swap_accepted": True,
        "secrets_declared": DECLARED,
    }  # fmt: skip
    (tmp_path / "given.json").write_text(json.dumps(given))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SECRETS_", "MAKE"))}
    environment |= {"XDG_RUNTIME_DIR": str(memory), "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")}

    def run(target, *words, key_path=None):
        options = f"OPTIONS=-i localhost, -e @{tmp_path}/given.json --diff -vv"
        extra = {"SECRETS_KEY_PATH": str(key_path)} if key_path else {}
        done = subprocess.run(
            ["make", "--no-print-directory", target, options, *words], cwd=repository.ROOT, env=environment | extra,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        is_value = target == "secrets-get" and done.returncode == 0
        return done.returncode, done.stdout if is_value else " ".join((done.stdout + done.stderr).split())

    run.environment = environment
    return run


def test_from_a_key_to_a_value_to_another_key(make, tmp_path):
    code, output = make("secrets-key")
    assert (code, "state/secrets.enc: made" in output) == (0, True), output

    (tmp_path / "old.env").write_text(f"DB_PASSWORD={CANARY}\nOTHER_TOKEN={CANARY}\n")
    (tmp_path / "old.env").chmod(0o644)
    code, output = make("secrets-encrypt", f"FILE={tmp_path}/old.env")
    assert code == 0, output
    assert "database/main, other_token set" in output
    assert f"(mode 0644): chmod 600 {tmp_path}/old.env, or remove it" in output
    assert CANARY not in output

    assert make("secrets-get", "NAME=database/main") == (0, CANARY)
    code, output = make("secrets-get", "NAME=database/main", "FIELD=pin")
    assert code != 0
    assert "secret_field_missing" in output

    (tmp_path / "pager.json").write_text(json.dumps({"key": f"{CANARY}-2"}))
    (tmp_path / "pager.json").chmod(0o600)
    code, output = make("secrets-set", "NAME=pager", f"FILE={tmp_path}/pager.json", "MESSAGE=Who is woken up")
    assert code == 0, output
    assert "chmod" not in output
    assert CANARY not in output

    code, output = make("secrets-list")
    assert code == 0, output
    assert "MISSING" not in output
    assert CANARY not in output

    code, output = make("secrets-rekey", f"KEY={tmp_path}/new.key")
    assert code == 0, output
    assert "secrets_key_wrong" in make("secrets-list")[1]
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "value").symlink_to(tmp_path / "mine")  # what somebody else has put there
    assert make("secrets-get", "NAME=pager", f"OUTPUT={tmp_path}/value", key_path=tmp_path / "new.key")[0] == 0
    assert (tmp_path / "value").read_text() == f"{CANARY}-2"
    assert (tmp_path / "mine").read_text() == "mine"

    code, output = make("secrets-access", "NAME=pager")
    assert code == 0, output
    assert "write" in output
    assert "exported" not in output
    assert CANARY not in output


def test_the_example_has_what_is_declared(make, tmp_path):
    code, output = make("secrets-example", f"OUTPUT={tmp_path}/.env.example")
    assert code == 0, output
    assert (tmp_path / ".env.example").read_text().splitlines()[2:] == [
        "# database/main: The shop's database", "DB_PASSWORD=", "", "# pager (api_key)", "PAGER_KEY=",
    ]  # fmt: skip


def test_a_value_that_is_typed_is_not_shown(make, tmp_path):
    assert make("secrets-key")[0] == 0
    options = f"OPTIONS=-i localhost, -e @{tmp_path}/given.json"
    words = ["make", "--no-print-directory", "secrets-set", options, "NAME=pager"]
    code, output = typed(words, make.environment, ("pager, key", CANARY))
    assert code == 0, output
    assert CANARY not in output
    assert make("secrets-get", "NAME=pager") == (0, CANARY)


def test_what_nobody_typed_is_not_set(make, tmp_path):
    assert make("secrets-key")[0] == 0
    code, output = make("secrets-set", "NAME=proxy")
    assert code != 0
    assert "nobody_to_ask: expected a terminal at which the fields of proxy are typed" in output
    options = f"OPTIONS=-i localhost, -e @{tmp_path}/given.json"
    code, output = typed(
        ["make", "--no-print-directory", "secrets-set", options, "NAME=proxy"], make.environment, ("proxy, value", "")
    )
    assert code != 0
    assert "secret_malformed: expected proxy to have value: a text that is not empty" in " ".join(output.split())
    assert "proxy" not in make("secrets-list")[1]


@pytest.mark.parametrize(("target", "words"), [
    ("secrets-key", ()), ("secrets-list", ()), ("secrets-age", ()), ("secrets-flush", ()), ("secrets-set", ("NAME=pager", "FILE=pager.json")),
    ("secrets-get", ("NAME=pager",)), ("vault-plan", ()), ("vault-receive", ("FILE=secret-id.json",)), ("break-glass-shut", ()),
])  # fmt: skip
def test_an_environment_without_hosts_is_refused(make, target, words):
    code, output = make(target, "ENVIRONMENT=prd", *words)
    assert code != 0
    assert "no_hosts: expected hosts in the group prd, found none" in output


def test_forgetting_and_what_is_needed(make):
    assert make("secrets-flush")[0] == 0
    for target, what in (
        ("secrets-encrypt", "FILE"),
        ("secrets-set", "NAME"),
        ("secrets-get", "NAME"),
        ("secrets-rekey", "KEY"),
    ):
        code, output = make(target)
        assert code != 0
        assert f"{what}: expected" in output
