# SPDX-License-Identifier: GPL-3.0-or-later
"""Envelopes and JSON that two readers could understand differently, or that no reader should try to."""

from __future__ import annotations

import base64
import json
import os

import pytest
import signed
from ansible.module_utils.slipway.trust import policy
from attacks import DOCUMENT, KIND, MANIFEST, bent, judge, members, number, statement
from lines import judged

ENVELOPE = json.dumps(members()).encode()
PAYLOAD = members()["payload"]
TWIN = b'"payloadType": "application/json", '
DEEP = b'"source":{"kind":"directory",'


def sparse(place):
    """A trust policy of a gibibyte that takes no room."""
    with open(place / "policy", "wb") as stream:
        os.truncate(stream.fileno(), 1 << 30)
    return policy.read_policy(place / "policy")


CASES = {
    "a wrong payloadType": lambda _: judge(bent(payloadType="application/json")),
    "a payloadType in another case": lambda _: judge(bent(payloadType=KIND.replace("json", "JSON"))),
    "no payloadType": lambda _: judge(bent(payloadType=...)),
    "a wrong _type": lambda _: judge(statement(_type="https://in-toto.io/Statement/v0.1")),
    "a wrong predicateType": lambda _: judge(statement(predicateType="https://slipway.dev/approval/v1")),
    "a duplicate member": lambda _: judge(ENVELOPE.replace(b"{", b"{" + TWIN, 1)),
    "a duplicate member in the other order": lambda _: judge(ENVELOPE[:-1] + b", " + TWIN[:-2] + b"}"),
    "a duplicate member deep down": lambda _: judge(signed.sign(MANIFEST.replace(DEEP, DEEP + DEEP[10:]))),
    "a case twin": lambda _: judge(bent(PayloadType=KIND)),
    "a byte order mark": lambda _: judge(b"\xef\xbb\xbf" + ENVELOPE),
    "UTF-16": lambda _: judge(ENVELOPE.decode().encode("utf-16-le")),
    "NaN": lambda _: judge(number(b"NaN")),
    "Infinity": lambda _: judge(number(b"Infinity")),
    "2 to the 53rd": lambda _: judge(number(b"9007199254740992")),
    "minus zero": lambda _: judge(number(b"-0")),
    "1.0": lambda _: judge(number(b"1.0")),
    "01": lambda _: judge(number(b"01")),
    "a lone surrogate": lambda _: judge(number(b'"\\ud800"')),
    "trailing bytes": lambda _: judge(ENVELOPE + b"x"),
    "a second document": lambda _: judge(ENVELOPE + b"\n" + ENVELOPE),
    "a nesting of 100,000": lambda _: judge(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a string of a gibibyte": sparse,
    "an envelope of more than a mebibyte": lambda _: judge(ENVELOPE + b" " * (1 << 20)),
    "a million signatures": lambda _: judge(bent(signatures=[{}] * 1_000_000)),
    "seventeen signatures": lambda _: judge(bent(signatures=members()["signatures"] * 17)),
    "base64 with white space": lambda _: judge(bent(payload=PAYLOAD[:4] + "\n" + PAYLOAD[4:])),
    "base64 with wrong padding": lambda _: judge(bent(payload=base64.b64encode(b'{"a":1}').decode().rstrip("="))),
    "base64 with stray bits": lambda _: judge(bent(payload="eyJhIjoxfR==")),
    "a payload that is not canonical": lambda _: judge(signed.sign(json.dumps(DOCUMENT).encode())),
    "an array for an envelope": lambda _: judge(b"[" + ENVELOPE + b"]"),
    "null for signatures": lambda _: judge(bent(signatures=None)),
    "an array for a statement": lambda _: judge(signed.sign(b"[" + MANIFEST + b"]")),
    "null for a predicate": lambda _: judge(statement(predicate=None)),
    "an empty subject": lambda _: judge(statement(subject=[])),
}


@pytest.mark.parametrize("line", CASES)
def test_a_hostile_envelope_is_refused(line, tmp_path):
    judged(line, lambda: CASES[line](tmp_path))


def test_the_same_envelope_is_right_when_nothing_is_bent():
    assert judge(ENVELOPE).release_id == "v1.2.3"
