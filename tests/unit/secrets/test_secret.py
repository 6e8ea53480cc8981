# SPDX-License-Identifier: GPL-3.0-or-later
"""A secret shows its name and the names of its fields, and nothing else by accident."""

from __future__ import annotations

import traceback

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.secret import Secret, fields_of, require_name
from safes import CANARY, secret


def refused(call):
    with pytest.raises(Refusal) as refusal:
        call()
    assert CANARY not in str(refusal.value)
    return refusal.value.reason


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda each: f"{[each]}"])
def test_no_way_of_showing_a_secret_shows_a_value(show):
    assert (
        show(secret()).strip("[]")
        == "Secret(name='database/main', fields=['password', 'username'], kind=None, version='1')"
    )


def test_a_traceback_with_a_secret_in_it_has_no_value():
    def fail(each):
        raise ValueError(each)

    try:
        fail(secret())
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "database/main" in shown
    assert CANARY not in shown


def test_a_field_is_found_by_its_name_and_the_only_one_without():
    assert secret().value("password") == CANARY
    assert Secret("a", {"value": CANARY}).value() == CANARY
    assert refused(secret().value) == "secret_field_needed"
    assert refused(Secret("a", {}).value) == "secret_field_needed"
    assert refused(lambda: secret().value("pass")) == "secret_field_missing"
    assert refused(lambda: Secret("a", {}).value("pass")) == "secret_field_missing"


@pytest.mark.parametrize("name", ["a", "database/main", "a-b_c/0/d", "/".join("abcdefgh"), "x" * 200])
def test_names_that_are_some(name):
    assert require_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", "..", "a/..", "../a", "a/../b", "A", "a b", "a\n", "a\0", "ä", "a.b", "a%2fb", "a?version=1", "-a", "x" * 201,
     "/".join("abcdefghi"), None, 1, ["a"]],
)  # fmt: skip
def test_names_that_are_none_or_mean_another_path(name):
    assert refused(lambda: require_name(name)) == "secret_name_invalid"


def test_fields_are_texts_and_a_text_alone_is_the_field_value():
    assert fields_of("a", {"port": 5432, "password": CANARY}) == {"port": "5432", "password": CANARY}
    assert fields_of("a", CANARY) == {"value": CANARY}


@pytest.mark.parametrize(
    "data", [None, {}, [CANARY], {"a": {"b": CANARY}}, {"a": None}, {"a": True}, {1: CANARY}, 5, b"x"]
)
def test_what_has_no_plain_fields_is_refused(data):
    assert refused(lambda: fields_of("a", data)) == "secret_unreadable"
