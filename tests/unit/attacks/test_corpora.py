# SPDX-License-Identifier: GPL-3.0-or-later
"""Published corpora: Wycheproof's Ed25519 vectors, and the grammar of JSON in the classes that parsers are known to differ on."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ansible.module_utils.slipway.base import canonical
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.trust.dsse import SIGNATURE_BYTES
from ansible.module_utils.slipway.trust.keys import PublicKey
from attacks import bent, judge

VECTORS = json.loads((Path(__file__).parent / "vectors/ed25519.json").read_text())


def verdict(public, message, signature):
    """What the verifier says of a signature, its length included."""
    value = bytes.fromhex(signature)
    try:
        if len(value) != SIGNATURE_BYTES:
            judge(bent(signatures=[{"keyid": "", "sig": base64.b64encode(value).decode()}]))
        return PublicKey(bytes.fromhex(public)).verifies(value, bytes.fromhex(message))
    except Refusal as refusal:
        return refusal.reason


@pytest.mark.parametrize(
    ("public", "message", "signature", "result", "flags"),
    [pytest.param(*vector[1:], id=f"{vector[0]} {vector[5][0]}") for vector in VECTORS],
)
def test_a_vector_of_wycheproof_gets_its_verdict(public, message, signature, result, flags):
    said = verdict(public, message, signature)
    if flags == ["SmallOrderPublicKey"]:
        assert said == "key_weak"
    elif result == "invalid":
        assert said in (False, "signature_length")
    else:  # a key of mixed order is the risk of who made it: what it signs, nobody else can sign
        assert said is True


def test_the_vectors_are_all_there():
    assert len(VECTORS) == 210
    assert {vector[4] for vector in VECTORS} == {"valid", "invalid", "acceptable"}


# After the classes of JSONTestSuite (Seriot, "Parsing JSON is a Minefield"); each is written here anew.
NO_JSON = [
    b"[1 true]", b"[a\xc3\xa5]", b'["": 1]', b'[""],', b"[,1]", b"[1,,2]", b'["x"]]', b'["",]', b'["x"', b"[x", b"[3[4]]", b"[1:2]",
    b"[1,]", b"[,]", b"[-]", b"[   , \"\"]", b'["a",\n4\n,1,', b"[1,,]", b'["\x0ba"\\f]', b"[*]", b'[""', b"[1,", b"[1,\n1\n,1", b"[{}",
    b"[fals]", b"[nul]", b"[tru]", b"[++1234]", b"[+1]", b"[+Inf]", b"[-01]", b"[-1.0.]", b"[-2.]", b"[-NaN]", b"[.-1]", b"[.2e-3]",
    b"[0.1.2]", b"[0.3e+]", b"[0.e1]", b"[0E]", b"[1.0e+]", b"[1 000.0]", b"[1eE2]", b"[2.e3]", b"[9.e+]", b"[Inf]", b"[NaN]",
    b"[\xef\xbc\x91]", b"[1+2]", b"[0x1]", b"[0x42]", b"[Infinity]", b"[0e+-1]", b"[-123.123foo]", b"[123\xe5]", b"[-Infinity]", b"[-foo]",
    b"[- 1]", b"[-012]", b"[-.123]", b"[-1x]", b"[1ea]", b"[1e\xe5]", b"[1.]", b"[.123]", b"[1.2a-3]", b"[1.8011670033376514H-308]",
    b"[012]", b'["x", truth]', b'{[: "x"}\n', b'{"x", null}', b'{"x"::"b"}', b"{\xf0\x9f\x87\xa8}", b'{"a":"a" 123}', b"{key: 'value'}",
    b'{"\xb9":"0",}', b'{"a" b}', b'{:"b"}', b'{"a" "b"}', b'{"a":', b'{"a"', b"{1:1}", b"{9999E9999:1}", b'{"id":0,,,,,}', b"{'a':0}",
    b'{"id":0,}', b'{"a":"b"}/**/', b'{"a":"b"}/**//', b'{"a":"b"}//', b'{"a":"b"}/', b'{"a":"b",,"c":"d"}', b'{a: "b"}', b'{"a":"a',
    b'{ "foo" : "bar", "a" }', b'{"a":"b"}#', b" ", b'["\\uD800\\"]', b'["\\uD800\\u"]', b'["\\uD800\\u1"]', b'["\\uD800\\u1x"]',
    b"[\xc3\xa9]", b'["\\\x00"]', b'["\\\\\\"]', b'["\\x00"]', b'["\\\xf0\x9f\x8c\x80"]', b'["\\\t"]', b'["\\"]', b'["\\uD834\\uDd"]',
    b'["\\uD800\\uD800\\x"]', b'["\\a"]', b'["\\uqqqq"]', b'["\\\xe5"]', b"[\\u0020\"asd\"]", b"[\\n]", b'"', b"['single quote']", b"abc",
    b'["\\', b'["a\x00a"]', b'["new\nline"]', b'["\t"]', b'"\\UA66D"', b'""x', b"<null>", b"[<null>]", b"[1]x", b"[1]]", b'["asd]',
    b"aa\xc3\xa5", b"[True]", b"1]", b'{"x": true,', b"[][]", b"]", b"\xef\xbb{}", b"\xe5", b"[", b"", b"[\x00]", b"2@", b"{}}", b'{"":',
    b'{"a":/*comment*/"b"}', b'{"a": true} "x"', b"['", b"[,", b'[{"":[{"":', b'["a', b'["\\a', b"{", b"{]", b"{,", b"{[", b'{"a', b"{'a'",
    b'["\\{["\\{["\\{["\\{', b"*", b'{"a":"b"}#{}', b"[\\u000A\"\"]", b"[1", b"[ false, nul", b"[ true, fals", b"[ false, tru",
    b'{"asd":"asd"', b"\xc3\xa5", b"[\xe2\x81\xa0]", b"\xef\xbb\xbf", b"[\x0c]",
]  # fmt: skip
JSON = [
    b"[[]   ]", b'[""]', b"[]", b'["a"]', b"[false]", b'[null, 1, "1", {}]', b"[null]", b"[1\n]", b" [1]", b"[1,null,null,null,2]", b"[2] ",
    b"[0]", b"[ 4]", b"[-123]", b"[-1]", b"[123]", b'{"asd":"sdf", "dfg":"fgh"}', b'{"asd":"sdf"}', b"{}", b'{"":0}', b'{"foo\\u0000bar": 42}',
    b'{"a":[]}', b'{"title":"\\u041f\\u043e" }', b'{\n"a": "b"\n}', b'["\\u0060\\u012a\\u12AB"]', b'["\\uD801\\udc37"]',
    b'["\\ud83d\\ude39\\ud83d\\udc8d"]', b'["\\"\\\\\\/\\b\\f\\n\\r\\t"]', b'["\\\\u0000"]', b'["\\""]', b'["a/*b*/c/*d//e"]', b'["\\\\a"]',
    b'["\\\\n"]', b'["\\u0012"]', b'["\\uFFFF"]', b'["asd"]', b'["\xf4\x8f\xbf\xbf"]', b'["\xef\xbf\xbf"]', b'["\\u0000"]', b'["\\u002c"]',
    b'["\xcf\x80"]', b'["\xf0\x9b\xbf\xbf"]', b'"\\uDBFF\\uDFFE"', b'" "', b'["\xe2\x80\xa8"]', b'["\xe2\x80\xa9"]', b'["\\u200B"]',
    b'["\x7f"]', b"false", b"42", b"-1", b"null", b'"asd"', b"true", b'""', b'["a"]\n', b"[true]", b" [] ",
]  # fmt: skip
NOT_OURS = {
    b"[0e1]": "json_number", b"[0e+1]": "json_number", b"[-0]": "json_number", b"[1E22]": "json_number", b"[1E-2]": "json_number",
    b"[123.456e78]": "json_number", b"[-0.000001]": "json_number", b"[123.456789]": "json_number", b"-0.1": "json_number",
    b"[1.5e+9999]": "json_number", b"[123123123123123123123123123123]": "json_number", b'{"a":"b","a":"c"}': "json_duplicate_member",
    b'{"a":"b","a":"b"}': "json_duplicate_member", b'["\\uDADA"]': "json_surrogate", b'["\\uD888\\u1234"]': "json_surrogate",
    b'["\\uDd1e\\uD834"]': "json_surrogate", b'["\\uDFAA"]': "json_surrogate", b'{"\\uDFAA":0}': "json_surrogate",
    b'["\xff"]': "json_not_utf8", b'["\xf4\xbf\xbf\xbf"]': "json_not_utf8", b'["\xc0\xaf"]': "json_not_utf8", b'["\xed\xa0\x80"]': "json_not_utf8",
    b'["\xfc\x83\xbf\xbf\xbf\xbf"]': "json_not_utf8", b'["\xe0\xff"]': "json_not_utf8", b'["\x81"]': "json_not_utf8",
    b"\xff\xfe[\x00]\x00": "json_not_utf8", b"\x00[\x00]": "json_not_utf8", b"[" * 500 + b"]" * 500: "json_too_deep",
    b"\xef\xbb\xbf{}": "json_byte_order_mark",
}  # fmt: skip


@pytest.mark.parametrize("data", NO_JSON)
def test_what_is_no_json_is_refused(data):
    with pytest.raises(Refusal, match=r"json_(invalid|number|trailing_bytes|not_utf8|byte_order_mark)"):
        canonical.parse(data, what="a test")


@pytest.mark.parametrize("data", JSON)
def test_json_within_the_subset_is_read_as_others_read_it(data):
    assert canonical.parse(data, what="a test") == json.loads(data)


@pytest.mark.parametrize(("data", "reason"), NOT_OURS.items())
def test_json_beyond_the_subset_is_refused_by_its_reason(data, reason):
    with pytest.raises(Refusal) as refusal:
        canonical.parse(data, what="a test")
    assert refusal.value.reason == reason
