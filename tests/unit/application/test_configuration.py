# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of an application's configuration: what may be declared, and which values fit."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.application.configuration import Configuration, Key, Unfit, Value, judge, read

CANARY = "canary-5e5d3f0a"
# The configurations of a service in production: its database, its API and its bot.
DATABASE = {
    "DATABASE_URL": {"type": "str", "required": True, "secret": True},
    "DB_POOL_SIZE": {"type": "int", "default": 10, "minimum": 1, "maximum": 100},
    "DB_MAX_OVERFLOW": {"type": "int", "default": 20, "minimum": 0},
}
API = {
    "API_HOST": {"type": "str", "default": "0.0.0.0"},
    "API_PORT": {"type": "int", "default": 8000, "minimum": 1, "maximum": 65535},
    "API_WORKERS": {"type": "int", "default": 4, "minimum": 1},
    "SECRET_KEY": {"type": "str", "required": True, "secret": True, "min_length": 32},
}
BOT = {
    "BOT_TOKEN": {"type": "str", "required": True, "secret": True},
    "ADMIN_IDS": {"type": "list", "default": []},
}
SERVICE = {**DATABASE, **API, **BOT}


def declared(keys, files=()):
    """The configuration, and the mistakes in it as "where: expected, found"."""
    mistakes = []
    configuration = read(
        {"keys": keys, "files": list(files)},
        lambda where, expected, found: mistakes.append(f"{where}: {expected}, {found}"),
    )
    return configuration, mistakes


def key(**description) -> Key:
    configuration, mistakes = declared({"KEY": description})
    assert mistakes == []
    return configuration.keys[0]


def findings(keys, values):
    """What is told of each key when the service gets these values from one file."""
    configuration, mistakes = declared(keys)
    assert mistakes == []
    return {
        each.name: judge(
            each, Value(values[each.name], "/etc/bot.env") if each.name in values else None, place="in /etc/bot.env"
        )
        for each in configuration.keys
    }


# what is declared


def test_nothing_declared_is_nothing_to_check():
    assert read({}, lambda *mistake: pytest.fail(str(mistake))) == Configuration()


def test_the_configurations_of_a_service_are_declared_with_types_defaults_and_limits():
    configuration, mistakes = declared(SERVICE, ["/etc/bot/bot.env", "-/etc/bot/local.env"])
    assert mistakes == []
    assert configuration.files == ("/etc/bot/bot.env", "-/etc/bot/local.env")
    assert [key.name for key in configuration.keys] == list(SERVICE)
    assert {key.name: key.default for key in configuration.keys if key.default is not None} == {
        "DB_POOL_SIZE": 10, "DB_MAX_OVERFLOW": 20, "API_HOST": "0.0.0.0", "API_PORT": 8000, "API_WORKERS": 4, "ADMIN_IDS": (),
    }  # fmt: skip
    assert [key.name for key in configuration.keys if key.required] == ["DATABASE_URL", "SECRET_KEY", "BOT_TOKEN"]
    assert [key.name for key in configuration.keys if key.secret] == ["DATABASE_URL", "SECRET_KEY", "BOT_TOKEN"]
    assert configuration.key("SECRET_KEY").min_length == 32


def test_a_credential_has_the_name_of_its_key_unless_another_is_given():
    assert key().credential == "KEY"
    assert key(credential="bot.key").credential == "bot.key"


@pytest.mark.parametrize(
    ("description", "mistake"),
    [
        ({"type": "integer"}, "type: one of str, int, float, bool, list, integer"),
        ({"typ": "int"}, "typ: one of the keys type, required,"),
        ({"required": "yes"}, "required: true or false, a value of type str"),
        ({"secret": 1}, "secret: true or false, a value of type int"),
        ({"credential": "../x"}, "credential: the name of a credential"),
        ({"type": "int", "default": "10"}, "default: a whole number, a value of type str"),
        ({"type": "int", "default": True}, "default: a whole number, a value of type bool"),
        ({"type": "int", "default": 1.5}, "default: a whole number, a value of type float"),
        ({"type": "int", "default": 200, "maximum": 100}, "default: a whole number of at most 100, '200'"),
        ({"type": "float", "default": float("nan")}, "default: a number, a value of type float"),
        ({"type": "bool", "default": "true"}, "default: true or false, a value of type str"),
        ({"type": "str", "default": 5}, "default: a text, a value of type int"),
        ({"type": "str", "default": "ab", "min_length": 3}, "default: a text of at least 3 characters, 2 characters"),
        ({"type": "list", "default": "a,b"}, "default: items with commas between them, a value of type str"),
        ({"type": "list", "default": [1.5]}, "default: items with commas between them, a value of type list"),
        (
            {"type": "list", "default": [""]},
            "default: items that are not empty, without commas or spaces around them, item 1",
        ),
        (
            {"type": "list", "default": ["a", " "]},
            "default: items that are not empty, without commas or spaces around them, item 2",
        ),
        (
            {"type": "list", "default": ["a", "b,c"]},
            "default: items that are not empty, without commas or spaces around",
        ),
        (
            {"type": "list", "default": [" a"]},
            "default: items that are not empty, without commas or spaces around them",
        ),
        ({"type": "list", "default": [1], "min_length": 2}, "of at least 2 items, 1 item"),
        ({"required": True, "default": "x"}, "default: no default, since the key is required"),
        ({"secret": True, "default": CANARY}, "default: no default: a secret does not belong in a description, one"),
        ({"type": "str", "minimum": 1}, "minimum: it only with the type int or float, type str"),
        ({"type": "int", "min_length": 1}, "min_length: it only with the type str or list, type int"),
        ({"type": "int", "minimum": 1.5}, "minimum: a whole number, 1.5"),
        ({"type": "int", "minimum": True}, "minimum: a whole number, True"),
        ({"type": "float", "maximum": float("inf")}, "maximum: a number, inf"),
        ({"min_length": -1}, "min_length: a whole number, -1"),
        ({"type": "int", "minimum": 5, "maximum": 4}, "a lower limit that is not above the upper one, 5 and 4"),
        ({"min_length": 5, "max_length": 4}, "a lower limit that is not above the upper one, 5 and 4"),
        (CANARY, "configuration.keys.KEY: a mapping, a value of type str"),
        (None, "configuration.keys.KEY: a mapping, nothing"),
    ],
)
def test_a_wrong_declaration_is_named(description, mistake):
    _configuration, mistakes = declared({"KEY": description})
    assert [each for each in mistakes if mistake in each], mistakes
    assert CANARY not in str(mistakes)


def test_every_mistake_is_named_at_once():
    _configuration, mistakes = declared(
        {"A": {"type": "int", "default": "x"}, "B-C": {}, "D": {"secret": "no"}}, ["etc/x"]
    )
    assert [mistake.partition(":")[0] for mistake in mistakes] == [
        "configuration.keys.A.default", "configuration.keys.B-C", "configuration.keys.D.secret", "configuration.files[0]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "files", ["/etc/x", ["etc/x"], ["/etc/../x"], ["--/etc/x"], ["//etc/x"], [5], ["/etc/x\n"], ["-"]]
)
def test_files_are_a_list_of_absolute_paths(files):
    mistakes = []
    read({"files": files}, lambda *mistake: mistakes.append(mistake))
    assert mistakes


@pytest.mark.parametrize("value", [None, [], "x", {"keys": []}, {"keys": {}, "more": 1}])
def test_a_configuration_of_another_shape_is_named(value):
    mistakes = []
    read(value, lambda *mistake: mistakes.append(mistake))
    assert mistakes


def test_values_of_ansible_s_own_types_are_what_they_are():
    class Text(str):
        """As Ansible tags what it has read."""

    class Number(int):
        """The same."""

    class Decimal(float):
        """The same."""

    configuration, mistakes = declared(
        {
            Text("PORT"): {"type": Text("int"), "default": Number(8000), "minimum": Number(1)},
            "SHARE": {"type": "float", "default": Decimal(0.5), "maximum": Decimal(0.9)},
            "IDS": {"type": "list", "default": [Text("a"), Number(1)], "min_length": Number(1)},
        },
        [Text("/etc/bot.env")],
    )
    assert mistakes == []
    assert [key.default for key in configuration.keys] == [8000, 0.5, ("a", "1")]


# which values fit


@pytest.mark.parametrize(
    ("description", "text", "value"),
    [
        ({}, "", ""),
        ({}, " a b ", " a b "),
        ({"type": "int"}, "8000", 8000),
        ({"type": "int"}, " -7 ", -7),
        ({"type": "float"}, "0.25", 0.25),
        ({"type": "float"}, "1e3", 1000.0),
        ({"type": "float", "minimum": 0, "maximum": 0.5}, ".5", 0.5),
        ({"type": "bool"}, "True", True),
        ({"type": "bool"}, "off", False),
        ({"type": "bool"}, "1", True),
        ({"type": "list"}, "", ()),
        ({"type": "list"}, "1, 2,3", ("1", "2", "3")),
        ({"type": "list", "max_length": 1}, "1", ("1",)),
        ({"min_length": 3, "max_length": 3}, "äöü", "äöü"),
    ],
)
def test_a_value_that_fits_is_converted(description, text, value):
    assert key(**description).convert(text) == value
    assert type(key(**description).convert(text)) is type(value)


@pytest.mark.parametrize(
    ("description", "text", "found"),
    [
        ({"required": True}, "", "an empty value"),
        ({"type": "int"}, "", "an empty value"),
        ({"type": "int"}, "8 000", "'8 000'"),
        ({"type": "int"}, "1.0", "'1.0'"),
        ({"type": "int"}, "١٢", "'\\u0661\\u0662'"),
        ({"type": "int"}, "9" * 5000, "'" + "9" * 58 + "…"),
        ({"type": "int", "minimum": 1}, "0", "'0'"),
        ({"type": "int", "maximum": 100}, "101", "'101'"),
        ({"type": "float"}, "nan", "'nan'"),
        ({"type": "float"}, "inf", "'inf'"),
        ({"type": "float"}, "1e999", "'1e999'"),
        ({"type": "float", "maximum": 0.5}, "0.51", "'0.51'"),
        ({"type": "bool"}, "perhaps", "'perhaps'"),
        ({"type": "bool"}, "2", "'2'"),
        ({"type": "list"}, "1,,2", "'1,,2' with an empty item"),
        ({"type": "list", "min_length": 1}, "", "0 items"),
        ({"type": "list", "max_length": 1}, "1,2", "2 items"),
        ({"min_length": 3}, "ab", "2 characters"),
        ({"max_length": 0}, "a", "1 character"),
        ({"type": "int", "secret": True}, CANARY, "a secret of 15 characters"),
        ({"type": "float", "secret": True, "maximum": 1}, "12345", "a secret of 5 characters"),
        ({"type": "bool", "secret": True}, "x", "a secret of 1 character"),
        ({"type": "list", "secret": True}, f"{CANARY},", "a secret of 16 characters with an empty item"),
        ({"secret": True, "min_length": 32}, CANARY, "a secret of 15 characters"),
    ],
)
def test_a_value_that_does_not_fit_is_told_but_never_a_secret(description, text, found):
    with pytest.raises(Unfit) as unfit:
        key(**description).convert(text)
    assert unfit.value.found == found
    assert CANARY not in repr(unfit.value)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ({}, "a text"),
        ({"min_length": 32}, "a text of at least 32 characters"),
        ({"max_length": 1}, "a text of at most 1 character"),
        ({"min_length": 1, "max_length": 8}, "a text of 1 to 8 characters"),
        ({"type": "int", "minimum": 1, "maximum": 100}, "a whole number from 1 to 100"),
        ({"type": "int", "minimum": 1}, "a whole number of at least 1"),
        ({"type": "float", "maximum": 0.5}, "a number of at most 0.5"),
        ({"type": "list", "min_length": 1}, "items with commas between them of at least 1 item"),
        ({"type": "bool"}, "true or false"),
    ],
)
def test_what_fits_is_said_in_words(description, expected):
    assert key(**description).expected() == expected


# five errors at once


def test_every_error_of_a_configuration_is_told_at_once_and_no_secret_is():
    told = findings(
        SERVICE,
        {
            "DB_POOL_SIZE": "many", "API_PORT": "70000", "SECRET_KEY": CANARY, "API_WORKERS": "0", "ADMIN_IDS": "1,,2",
            "BOT_TOKEN": CANARY * 3,
        },
    )  # fmt: skip
    wrong = {name: (finding.found, finding.remedy) for name, finding in told.items() if finding.problem}
    assert wrong == {
        "DATABASE_URL": ("required, not set", "Set it to a text in /etc/bot.env."),
        "DB_POOL_SIZE": ("'many' (/etc/bot.env)", "Set it to a whole number from 1 to 100 in /etc/bot.env."),
        "API_PORT": ("'70000' (/etc/bot.env)", "Set it to a whole number from 1 to 65535 in /etc/bot.env."),
        "API_WORKERS": ("'0' (/etc/bot.env)", "Set it to a whole number of at least 1 in /etc/bot.env."),
        "SECRET_KEY": (
            "a secret of 15 characters (/etc/bot.env)", "Set it to a text of at least 32 characters in /etc/bot.env.",
        ),
        "ADMIN_IDS": (
            "'1,,2' with an empty item (/etc/bot.env)", "Set it to items with commas between them in /etc/bot.env.",
        ),
    }  # fmt: skip
    assert told["BOT_TOKEN"].found == "a secret of 45 characters (/etc/bot.env)"
    assert CANARY not in str(told)


def test_what_is_not_set_but_has_a_default_or_is_optional_is_told_as_such():
    told = findings(
        {
            **API,
            "NOTE": {},
            "DEBUG": {"type": "bool", "default": False},
            "ADMIN_IDS": {"type": "list", "default": [1, 2]},
        },
        {"SECRET_KEY": "k" * 32},
    )
    assert {name: finding.found for name, finding in told.items()} == {
        "API_HOST": "not set (default '0.0.0.0')", "API_PORT": "not set (default 8000)", "API_WORKERS": "not set (default 4)",
        "SECRET_KEY": "a secret of 32 characters (/etc/bot.env)", "NOTE": "not set (no default)",
        "DEBUG": "not set (default false)", "ADMIN_IDS": "not set (default 1,2)",
    }  # fmt: skip
    assert not any(finding.problem for finding in told.values())


def test_no_items_are_a_default_too():
    assert findings(BOT, {"BOT_TOKEN": "t"})["ADMIN_IDS"].found == "not set (default no items)"


def test_what_is_there_but_cannot_be_read_counts_as_set():
    finding = judge(key(required=True, secret=True), Value(None, "the credential /etc/credstore/k"), place="")
    assert (finding.problem, finding.found) == (
        False,
        "there, not readable from here (the credential /etc/credstore/k)",
    )
