# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a signed object strictly."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base import fields
from ansible.module_utils.slipway.base.errors import Refusal


def read(value, method, *arguments, **options):
    return getattr(fields.Fields({"a": value}, "a test", "bad"), method)("a", *arguments, **options)


def test_members_are_taken_once_and_none_may_be_left():
    taken = fields.Fields({"a": 1, "b": True}, "a test", "bad")
    assert "b" in taken
    assert taken.integer("a") == 1
    with pytest.raises(Refusal, match=r"no further member; found \['b'\]"):
        taken.end()
    assert taken.boolean("b") is True
    taken.end()
    with pytest.raises(Refusal, match=r"a test\.a: the member"):
        taken.take("a")


def test_a_number_of_a_class_of_its_own_is_the_number():
    class Tagged(int):
        """As Ansible hands numbers on."""

    assert type(read(Tagged(3), "integer", maximum=5)) is int
    with pytest.raises(Refusal, match="an integer from 0 to 5"):
        read(Tagged(6), "integer", maximum=5)


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_what_is_no_object_has_no_members(value):
    with pytest.raises(Refusal, match="an object"):
        fields.Fields(value, "a test", "bad")


@pytest.mark.parametrize("value", [{1: 2}, {1: 2, "a": 3}, {None: 1}, {True: 1, "b": 1}])
def test_an_object_whose_member_names_are_no_texts_is_refused(value):
    with pytest.raises(Refusal, match="member names that are texts"):
        fields.Fields(value, "a test", "bad")


GOOD = [
    ("x1_-", "text", (fields.NAME,), {}),
    ("v1.2.3", "text", (fields.RELEASE_ID,), {}),
    ("1.2.3+build", "text", (fields.VERSION,), {}),
    ("json", "choice", ("json", "yaml"), {}),
    (0, "integer", (), {}),
    (2**53 - 1, "integer", (), {}),
    (False, "boolean", (), {}),
    ("2024-02-29T23:59:59Z", "time", (), {}),
    ([1, "two"], "array", (), {"maximum": 2}),
]


@pytest.mark.parametrize(("value", "method", "arguments", "options"), GOOD)
def test_a_sound_value_is_returned(value, method, arguments, options):
    assert read(value, method, *arguments, **options) == value


BAD = [
    *[(value, "text", (fields.NAME,), {}) for value in (None, 1, "", "X", "1a", "a b", "a\n", "a" * 64)],
    *[(value, "text", (fields.RELEASE_ID,), {}) for value in (".a", "-a", "a..b", "a/b", "a\n", "", "a" * 129, "é")],
    *[(value, "text", (fields.VERSION,), {}) for value in ("", "1 2", "-1", "1\n", None)],
    *[(value, "text", (fields.SHA256,), {}) for value in ("a" * 63, "a" * 65, "A" * 64, "", "a" * 64 + "\n")],
    *[(value, "text", (fields.ONE_LINE,), {}) for value in ("", "a\nb", "\x1b[1m", "\u202e", "\x9b", "x" * 256)],
    *[(value, "text", (fields.GIT_COMMIT,), {}) for value in ("abc", "a" * 41, "A" * 40)],
    *[(value, "choice", ("json", "yaml"), {}) for value in ("xml", None, 1, ["json"])],
    *[(value, "integer", (), {"maximum": 5}) for value in (-1, 6, True, "1", None, 1.0)],
    *[(value, "boolean", (), {}) for value in (0, 1, "true", None)],
    *[(value, "array", (), {"maximum": 2}) for value in ([1, 2, 3], {}, None, "ab")],
    *[
        (value, "time", (), {})
        for value in (
            "2024-02-30T00:00:00Z",
            "2024-01-01T00:00:00.0Z",
            "2024-01-01T00:00:00+00:00",
            "2024-01-01t00:00:00z",
            "2024-01-01 00:00:00Z",
            "2024-1-1T0:0:0Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00Z\n",
            "99999-01-01T00:00:00Z",
            "",
            0,
            None,
        )
    ],
]


@pytest.mark.parametrize(("value", "method", "arguments", "options"), BAD)
def test_an_unsound_value_is_refused(value, method, arguments, options):
    with pytest.raises(Refusal) as refusal:
        read(value, method, *arguments, **options)
    assert refusal.value.reason == "bad"
    assert refusal.value.expected.startswith("a test.a: ")


def test_nested_members_are_named_by_their_place():
    taken = fields.Fields({"a": [{"b": {}}]}, "a test", "bad", "Mend it.")
    with pytest.raises(Refusal) as refusal:
        taken.objects("a", maximum=1)[0].object("b").integer("c")
    assert refusal.value.expected == "a test.a[0].b.c: the member"
    assert refusal.value.remedy == "Mend it."


def test_a_table_has_names_that_are_data():
    table = fields.Fields({"a": {"y": {}, "x": {}}}, "a test", "bad").table("a", fields.NAME, maximum=2)
    assert list(table) == ["x", "y"]


@pytest.mark.parametrize("table", [{"x": {}, "y": {}, "z": {}}, {"No Name": {}}, {"x": 1}])
def test_a_table_of_another_shape_is_refused(table):
    with pytest.raises(Refusal, match="bad"):
        fields.Fields({"a": table}, "a test", "bad").table("a", fields.NAME, maximum=2)


def test_a_release_id_is_plain():
    assert fields.require_release_id("v1.2.3") is None


@pytest.mark.parametrize("release_id", ["../v1", "", ".hidden", "a/b", "a..b", "v1\n"])
def test_a_release_id_that_could_be_a_path_is_refused(release_id):
    with pytest.raises(Refusal, match="release_id_invalid"):
        fields.require_release_id(release_id)
