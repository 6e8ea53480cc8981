# SPDX-License-Identifier: GPL-3.0-or-later
"""`.env` files: read strictly, taken where values are made up, and the source of an encrypted store."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.env_file import Declared, EnvFile, example, secrets_in, variables_of
from ansible.module_utils.slipway.secrets.provider import Standing, Unknown
from ansible.module_utils.slipway.secrets.secret import Secret
from safes import CANARY

DECLARED = (
    Declared("database/main", "database", "The shop's database", {"password": "DB_PASSWORD"}),
    Declared("proxy", None, "The proxy's password"),
    Declared("pager", None, "", {"key": "PAGER_KEY"}),
)
DATABASE = "DATABASE_MAIN_HOST=db\nDATABASE_MAIN_USERNAME=shop\nDATABASE_MAIN_DATABASE=shop\n"


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


@pytest.fixture
def env(tmp_path):
    path = tmp_path / ".env"
    path.write_text(
        f"# for development\n{DATABASE}DB_PASSWORD='{CANARY} #1'\nPROXY=\nexport OTHER_TOKEN={CANARY}\nPAGER_KEY=x\n"
    )
    return EnvFile("env", path, DECLARED, "development")


def test_variables_are_the_fields_of_declared_secrets_and_others_are_secrets_of_their_own(env):
    assert env.read("database/main") == Secret(
        "database/main", {"host": "db", "username": "shop", "database": "shop", "password": f"{CANARY} #1"}, "database", "The shop's database"
    )  # fmt: skip
    assert env.read("other_token").value() == CANARY
    assert [entry.name for entry in env.entries()] == ["database/main", "other_token", "pager"]
    assert env.read("pager").value("key") == "x"
    assert not env.origin
    assert CANARY not in repr(env)


def test_an_empty_variable_is_no_secret_and_a_file_has_no_versions(env):
    for name, version in (("proxy", None), ("db_password", None), ("pager", "1")):
        with pytest.raises(Unknown):
            env.read(name, version)


@pytest.mark.parametrize("environment", ["prod", "production", "live", "staging", ""])
def test_a_plain_file_is_refused_where_values_are_real(env, environment):
    env.environment = environment
    assert refused(lambda: env.read("pager")) == "secrets_plain_refused"
    assert refused(env.entries) == "secrets_plain_refused"


def test_nothing_is_written_into_a_plain_file(env):
    before = env.path.read_bytes()
    for change in (
        lambda: env.write(Secret("a", {"value": CANARY})), lambda: env.replace(Secret("a", {"value": CANARY}), ""), lambda: env.version_after(""),
        lambda: env.retire("a", "1", destroyed=True), lambda: env.remove("a"),
    ):  # fmt: skip
        assert refused(change) == "secret_provider_read_only"
    assert env.path.read_bytes() == before


def test_a_file_that_is_not_there_says_how_it_is_made(env):
    env.path.unlink()
    assert refused(lambda: env.read("pager")) == "env_file_missing"


@pytest.mark.parametrize(
    "text", [f"A={CANARY}\nnoise {CANARY}\n", f"A={CANARY}\nA=2\n", f"={CANARY}", f"A B={CANARY}", "A", f"A='{CANARY}", f"A.B={CANARY}", f"-{CANARY}"]
)  # fmt: skip
def test_a_line_that_is_none_is_refused_by_its_number(text):
    assert refused(lambda: variables_of(text.encode(), "x")) == "env_file_invalid"


def test_what_is_no_text_is_refused():
    assert refused(lambda: variables_of(b"A=\xff", "x")) == "env_file_invalid"


def test_other_variables_are_not_looked_up(monkeypatch):
    monkeypatch.setenv("HOME_OF_TEST", CANARY)
    assert variables_of(b"A=${HOME_OF_TEST}\n", "x") == {"A": "${HOME_OF_TEST}"}


@pytest.mark.parametrize("text", [
    DATABASE + f"DB_PASSWORD={CANARY}\nTOKEN=x\n",
    f'{{"database/main": {{"host": "db", "username": "shop", "database": "shop", "password": "{CANARY}"}}, "TOKEN": "x"}}',
])  # fmt: skip
def test_what_is_to_be_encrypted_may_be_variables_or_json(text):
    database, token = secrets_in(text.encode(), "x", DECLARED)
    assert (database.name, database.kind, database.value("password")) == ("database/main", "database", CANARY)
    assert (token.name, token.value()) == ("token", "x")


@pytest.mark.parametrize(("text", "reason"), [
    ("", "env_file_invalid"), ("# nothing", "env_file_invalid"), ("{}", "env_file_invalid"), ("A=", "env_file_invalid"),
    ('{"a": 1.5}', "env_file_invalid"), ('{"a": "x", "a": "y"}', "env_file_invalid"), ('{"a": "x"', "env_file_invalid"),
    ('{"../a": {"b": "c"}}', "secret_name_invalid"), ('{"a/b": {"b": ["c"]}}', "secret_unreadable"), ('{"a/b": {"B": "c"}}', "secret_malformed"),
    ('{"token": {"value": "a"}, "TOKEN": "b"}', "env_file_invalid"), ('{"pager": {"key": "a"}, "PAGER_KEY": "b"}', "env_file_invalid"), ("_A=x", "env_file_invalid"),
    ("FOO=one\nfoo=two", "env_file_invalid"),
    (f"DB_PASSWORD={CANARY}", "secret_malformed"),
])  # fmt: skip
def test_nothing_of_a_malformed_file_is_taken(text, reason):
    assert refused(lambda: secrets_in(text.encode(), "x", DECLARED)) == reason


def test_the_example_has_every_variable_that_is_needed_and_no_value():
    assert example(DECLARED).splitlines()[1:] == [
        "", "# database/main (database): The shop's database", "DATABASE_MAIN_HOST=", "DATABASE_MAIN_USERNAME=", "DB_PASSWORD=",
        "DATABASE_MAIN_DATABASE=", "", "# pager", "PAGER_KEY=", "", "# proxy: The proxy's password", "PROXY=",
    ]  # fmt: skip
    assert set(variables_of(example(DECLARED).encode(), "x").values()) == {""}


def test_how_old_a_variable_is_it_does_not_know(env):
    assert env.standing("pager") == Standing()
    with pytest.raises(Unknown):
        env.standing("proxy")
