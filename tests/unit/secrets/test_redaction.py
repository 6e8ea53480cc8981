# SPDX-License-Identifier: GPL-3.0-or-later
"""Values are found in whatever they were written by: the encoders here are other people's, and what stands around is anything."""

from __future__ import annotations

import base64
import html
import json
import pprint
import shlex
import subprocess
import urllib.parse

import markupsafe
import pytest
import yaml
from ansible.module_utils.slipway.secrets.redaction import MASK, SHORTEST, Redactor, forms
from hypothesis import given
from hypothesis import strategies as st

VALUES = {
    "a word": "correct-horse-battery",
    "every mark": "p\"a'q $(x)`y` &<b> %41 +/=\\n;ü€",
    "not ASCII": "Größenwahn-ключ-鍵",
    "lines": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQC7VJTU\n-----END KEY-----\n",
    "long": "k" + "0123456789abcdef" * 12,
    "the shortest": "x7!Qz9&k",
}
ENCODERS = {
    "literal": lambda value: value,
    "JSON": json.dumps,
    "JSON without escapes": lambda value: json.dumps({"a": [value]}, ensure_ascii=False, indent=4),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"password": value})),
    "YAML": lambda value: yaml.safe_dump({"a": {"b": value}}),
    "YAML folded": lambda value: yaml.safe_dump({"a": {"b": f"the password is {value}, they say"}}, width=30),
    "YAML in blocks": lambda value: yaml.safe_dump({"a": value}, default_style="|", allow_unicode=True),
    "repr": repr,
    "pprint": lambda value: pprint.pformat({"a": f"some words before {value}"}, width=20),
    "shlex": lambda value: f"psql {shlex.quote(value)}",
    "bash %q": lambda value: bash('printf "%q" "$1"', value),
    "bash -x": lambda value: bash("set -x; exec 2>&1; : \"$1\"", value),
    "URL": lambda value: f"postgres://shop:{urllib.parse.quote(value, safe='')}@db/shop",
    "URL path": urllib.parse.quote,
    "URL query": lambda value: urllib.parse.urlencode({"p": value}),
    "HTML": html.escape,
    "HTML as Jinja writes it": lambda value: str(markupsafe.escape(value)),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 of the tool": lambda value: bash('printf "%s" "$1" | base64 -w 20', value),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "basic authentication": lambda value: "Basic " + base64.b64encode(f"shop:{value}".encode()).decode(),
    "base64 in lines": lambda value: base64.encodebytes(f"user=shop&password={value}&x=1".encode()).decode(),
    "JSON in base64": lambda value: base64.b64encode(json.dumps({"a": value}).encode()).decode(),
    "JSON without escapes in base64": lambda value: base64.b64encode(json.dumps([value], ensure_ascii=False).encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "HEXADECIMAL": lambda value: value.encode().hex().upper(),
}  # fmt: skip


def bash(script, value):
    done = subprocess.run(
        ["bash", "-c", script, "bash", value],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    return done.stdout


def redactor_of(*values):
    redactor = Redactor()
    redactor.add(values)
    return redactor


def decoded_by_hand(text, value):
    """Whether somebody who knows the encodings could read the value in a text."""
    return (
        value in text
        or value.encode().hex() in text.lower()
        or value in urllib.parse.unquote_plus(text)
        or value in html.unescape(text)
    )


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_found_however_it_was_written(kind, encoder):
    value = VALUES[kind]
    written = ENCODERS[encoder](value)
    redacted = redactor_of(value).text(f"before {written} after")
    assert MASK in redacted, written
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert not decoded_by_hand(redacted, value)


@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    wrap=st.integers(4, 100),
    value=st.text(min_size=SHORTEST, max_size=60),
)
def test_in_base64_it_is_found_at_every_alignment_whatever_stands_around(before, after, wrap, value):
    data = value.encode("utf-8", "surrogatepass")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(before + data + after).decode()
        lines = "\n".join(text[start : start + wrap] for start in range(0, len(text), wrap))
        assert redactor_of(value).finds(lines)


@given(before=st.text(), after=st.text(), value=st.text("abcdefgh0123 \"'\\$%&/=ü", min_size=16, max_size=40))
def test_what_stands_around_stays_as_it_was(before, after, value):
    redactor = redactor_of(value)
    if len([character for character in value if character not in " \\\"'"]) < SHORTEST:
        return
    redacted = redactor.text(f"{before}|{value.strip()}|{after}")
    assert MASK in redacted
    assert value.strip() not in redacted


def test_of_several_lines_each_long_one_is_found_alone():
    redactor = redactor_of(VALUES["lines"])
    assert redactor.text("> MIIEvQIBADANBgkqhkiG9w0BAQEF <") == f"> {MASK} <"
    assert redactor.text("  a: |\n    MIIEvQIBADANBgkqhkiG9w0BAQEF\n") == f"  a: |\n    {MASK}\n"


def test_two_values_and_one_in_another_are_each_masked_once():
    redactor = redactor_of("correct-horse", "correct-horse-battery", "staple-99")
    assert redactor.text("a correct-horse-battery b staple-99 c correct-horse d") == f"a {MASK} b {MASK} c {MASK} d"
    assert redactor.text("correct-horse-battery" * 3) in (MASK, MASK * 3)


def test_what_is_short_or_something_else_stays():
    redactor = redactor_of("abc", "", "1234567", VALUES["a word"])
    for text in ("abc 1234567", "correct-horse", "", "base64 Y29ycmVjdA=="):
        assert redactor.text(text) is text
    assert forms("1234567") == frozenset()


def test_data_are_masked_at_any_depth_and_left_alone_where_nothing_is_in_them():
    redactor = redactor_of(VALUES["every mark"], "12345678")
    clean = {"a": [1, True, None, {"b": "c"}]}
    assert redactor.data(clean) is clean
    value = VALUES["every mark"]
    found = redactor.data({"a": [f"x{value}y", {value: 12345678}, ("z", None, True)], "b": {"c"}})
    assert found == {"a": [f"x{MASK}y", {MASK: MASK}, ["z", None, True]], "b": ["c"]}


def test_without_a_value_nothing_is_done():
    redactor = Redactor()
    text, data = "text", {"a": "b"}
    assert redactor.text(text) is text
    assert redactor.data(data) is data
    assert not redactor.finds(text)
    assert len(redactor) == 0
