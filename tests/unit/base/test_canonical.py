# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict JSON in, canonical JSON out."""

from __future__ import annotations

import json

import pytest
import rfc8785
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from hypothesis import given
from hypothesis import strategies as st

# RFC 8785, section 3.2.3: the names of its sorting example in their canonical order (its values are without floats).
SORTING_EXAMPLE = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\U0001f600": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
}
SORTED_NAMES = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]

REFUSED = {
    "a duplicate member": (b'{"a":1,"a":1}', "json_duplicate_member"),
    "a duplicate member deep down": (b'[{"x":[{"a":1,"b":2,"a":3}]}]', "json_duplicate_member"),
    "a duplicate member that is escaped once": (b'{"a":1,"\\u0061":2}', "json_duplicate_member"),
    "members that differ in case": (b'{"payloadType":1,"PayloadType":2}', "json_case_twin"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "json_byte_order_mark"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "json_not_utf8"),
    "UTF-16 without a mark": ('{"a":1}'.encode("utf-16-le"), "json_not_utf8"),
    "UTF-32 without a mark": ('{"a":1}'.encode("utf-32-be"), "json_not_utf8"),
    "overlong UTF-8": (b'"\xc0\xaf"', "json_not_utf8"),
    "an encoded surrogate": (b'"\xed\xa0\x80"', "json_not_utf8"),
    "NaN": (b"NaN", "json_number"),
    "Infinity": (b"[Infinity]", "json_number"),
    "minus Infinity": (b"[-Infinity]", "json_number"),
    "2 to the 53rd": (b"9007199254740992", "json_number"),
    "minus 2 to the 53rd": (b"-9007199254740992", "json_number"),
    "a number of a million digits": (b"1" * 1_000_000, "json_number"),
    "minus zero": (b"-0", "json_number"),
    "a fraction of zero": (b"1.0", "json_number"),
    "an exponent": (b"1e3", "json_number"),
    "a leading zero": (b"01", "json_number"),
    "a leading zero in an array": (b"[00]", "json_number"),
    "a lone high surrogate": (b'"\\ud800"', "json_surrogate"),
    "a lone low surrogate in a name": (b'{"\\udc00":1}', "json_surrogate"),
    "a second document": (b"{}{}", "json_trailing_bytes"),
    "trailing bytes": (b"{} x", "json_trailing_bytes"),
    "a trailing NUL": (b"{}\x00", "json_trailing_bytes"),
    "a second number": (b"0 1", "json_trailing_bytes"),
    "a hexadecimal number": (b"0x1", "json_trailing_bytes"),
    "a digit after a text": (b'"0"1', "json_trailing_bytes"),
    "nothing": (b"", "json_invalid"),
    "a comma too many": (b"[1,]", "json_invalid"),
    "a raw control character": (b'"\n"', "json_invalid"),
    "a nesting of 33": (b"[" * 33 + b"]" * 33, "json_too_deep"),
    "a nesting of 33 objects": (b'{"a":' * 33 + b"1" + b"}" * 33, "json_too_deep"),
    "a nesting of 100,000": (b"[" * 100_000 + b"]" * 100_000, "json_too_deep"),
    "more than the limit": (b'"' + b"x" * (1 << 20) + b'"', "json_too_large"),
}


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_json_that_readers_differ_on_is_refused(data, reason):
    with pytest.raises(Refusal) as refused:
        canonical.parse(data, what="a test")
    assert refused.value.reason == reason
    assert refused.value.expected.startswith("a test: ")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"b" : 1, "a" : [true, null] }\n', {"b": 1, "a": [True, None]}),
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", -(2**53) + 1),
        (b"[" * 32 + b"]" * 32, json.loads("[" * 32 + "]" * 32)),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('"zażółć"'.encode(), "zażółć"),
        (b'[{"a":1,"b":2},{"b":1,"a":2}]', [{"a": 1, "b": 2}, {"b": 1, "a": 2}]),
    ],
)
def test_sound_json_is_read(data, value):
    assert canonical.parse(data, what="a test") == value


def test_the_limit_is_the_callers():
    assert canonical.parse(b"[1]", what="a test", limit=3) == [1]
    with pytest.raises(Refusal, match="json_too_large"):
        canonical.parse(b"[10]", what="a test", limit=3)


@pytest.mark.parametrize("data", [b'{"b":1,"a":2}', b'{"a": 1}', b"[1]\n", b'"\\u0061"', b'"\\/"', b'"\\u000A"'])
def test_another_spelling_of_the_same_document_is_refused(data):
    canonical.parse(data, what="a test")
    with pytest.raises(Refusal, match="json_not_canonical"):
        canonical.parse_canonical(data, what="a test")


def test_the_canonical_spelling_is_accepted():
    assert canonical.parse_canonical(b'{"a":[1,"\xc3\xb6"],"b":null}', what="a test") == {"a": [1, "ö"], "b": None}


def test_names_are_sorted_as_in_the_rfc():
    encoded = canonical.encode(SORTING_EXAMPLE)
    assert list(json.loads(encoded)) == SORTED_NAMES
    assert canonical.parse_canonical(encoded, what="a test") == SORTING_EXAMPLE


def test_strings_are_written_as_in_the_rfc():
    # RFC 8785, section 3.2.2: the string of its example, with what each escape must become.
    value = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert canonical.encode(value) == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


@pytest.mark.parametrize("value", [1.0, float("nan"), b"bytes", {1}, object()])
def test_what_lies_outside_the_subset_is_not_written(value):
    with pytest.raises(Refusal, match="json_type"):
        canonical.encode({"a": [value]})


def test_a_name_that_is_no_string_is_not_written():
    with pytest.raises(Refusal, match="json_type"):
        canonical.encode({1: "a"})


def test_an_integer_that_others_would_round_is_not_written():
    with pytest.raises(Refusal, match="json_number"):
        canonical.encode([2**53])


def test_a_nesting_that_would_not_be_read_is_not_written():
    value: list = []
    for _ in range(32):
        value = [value]
    with pytest.raises(Refusal, match="json_too_deep"):
        canonical.encode(value)


def test_a_lone_surrogate_is_not_written():
    with pytest.raises(Refusal, match="json_surrogate"):
        canonical.encode("\ud800")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_our_bytes_are_those_of_the_rfc8785_package(value):
    assert canonical.encode(value) == rfc8785.dumps(value)


def outcome(read, data):
    """What `read` returns, or the reason why it refuses."""
    try:
        return read(data, what="a test")
    except Refusal as refusal:
        return refusal.reason


@given(VALUES)
def test_what_is_written_is_read_back_unless_members_differ_only_in_case(value):
    assert outcome(canonical.parse_canonical, canonical.encode(value)) in (value, "json_case_twin")


@given(st.binary(max_size=64))
def test_what_is_read_at_all_is_read_the_same_from_its_canonical_spelling(data):
    value = outcome(canonical.parse, data)
    assert canonical.parse_canonical(canonical.encode(value), what="a test") == value


SPELLED = st.sampled_from(
    [b'{"a":1}', b'{"a":1,"a":1}', b'{"a":1,"A":2}', b'{"b":1,"a":2}', b'{"a": 1}', b"[1.0]", b"[1e3]", b"[-0]", b"[NaN]", b"null",
     b"9007199254740991", b"9007199254740992", b"[" * 33 + b"]" * 33, b"[" * 32 + b"]" * 32, b'{"a":"[[[[["}', b'"\\ud800"', b'"\\u0061"',
     '{"\U0001f600":1,"\ufb33":2}'.encode(), '{"\ufb33":2,"\U0001f600":1}'.encode(), '{"\u00f6":1}'.encode(), b"\xff", b""],
)  # fmt: skip


def the_longer_look(data, *, what):
    value = canonical.parse(data, what=what)
    if canonical.encode(value) != data:
        raise Refusal("json_not_canonical", expected="", found="", remedy="")
    return value


@given(st.one_of(SPELLED, st.binary(max_size=60), VALUES.map(rfc8785.dumps)))
def test_the_short_look_at_plain_documents_never_differs_from_the_longer_one(data):
    assert outcome(canonical.parse_canonical, data) == outcome(the_longer_look, data)


@pytest.mark.parametrize("data", [case for case, _reason in REFUSED.values()])
def test_the_short_look_accepts_nothing_that_is_refused(data):
    assert len(data) > canonical.DEFAULT_LIMIT or canonical._plain(data) is None


def test_the_names_that_are_remembered_stay_few_and_short():
    for number in range(2000):
        canonical.parse_canonical(canonical.encode({f"{number}": 1, "x" * number: 2}), what="it")
    assert len(canonical._plain_names) <= canonical._NAMES_REMEMBERED
    assert max(sum(map(len, names)) for names in canonical._plain_names) <= canonical._NAMES_LENGTH
    for _ in range(2):
        assert outcome(canonical.parse_canonical, b'{"Payload":2,"payload":1}') == "json_case_twin"
