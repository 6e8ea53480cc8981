# SPDX-License-Identifier: GPL-3.0-or-later
"""A request and its answer arrive whole or not at all, whatever is printed around them."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.slipway.base import frame
from ansible.module_utils.slipway.base.frame import Request

ID = "0123456789abcdef" * 2
OTHER = "f" * 32
REQUEST = Request(ID, {"options": {"name": "Zoë", "note": "a\nb"}}, b"\x00slipway-request\n\xff")
ANSWER = {"result": {"msg": "Zoë\nslipway-answer", "changed": True}}
PRINTED = frame.encoded_answer(ID, ANSWER)


@pytest.mark.parametrize(
    "request_", [REQUEST, Request(ID, {}), Request(ID, {"a": [1, None, 1.5, "\ud800"]}, b"x" * 70000)]
)
def test_a_request_arrives_as_it_was_sent(request_):
    assert frame.decoded_request(frame.encoded_request(request_)) == request_


def damaged():
    data = frame.encoded_request(REQUEST)
    yield b""
    yield b"hello\n" + data
    yield data + b"\n"
    yield data.replace(ID.encode(), b"0")
    yield data.replace(b"{", b"[", 1)
    yield b"slipway-request %s 2 0\n[]" % ID.encode()
    yield b"slipway-request %s 2 0\n{}{}" % ID.encode()
    for end in range(0, len(data), 7):
        yield data[:end]


@pytest.mark.parametrize("data", list(damaged()))
def test_what_is_not_exactly_a_request_is_none(data):
    with pytest.raises(ValueError):  # noqa: PT011 - of json too
        frame.decoded_request(data)


def test_a_request_that_is_too_long_is_not_sent():
    room = frame.REQUEST_LIMIT - len(frame.encoded_request(Request(ID, {}, b"x" * (1 << 22)))) + (1 << 22)
    assert len(frame.encoded_request(Request(ID, {}, b"x" * room))) == frame.REQUEST_LIMIT
    with pytest.raises(ValueError, match=f"a request of {frame.REQUEST_LIMIT + 1} bytes"):
        frame.encoded_request(Request(ID, {}, b"x" * (room + 1)))


@pytest.mark.parametrize(
    "around", ["", "Welcome!\n", "no line feed", f"slipway-answer {OTHER} 2\n{{}}\n", "slipway-answer\n"]
)
def test_an_answer_is_found_in_whatever_is_printed_around_it(around):
    assert frame.decoded_answer(ID, around + PRINTED) == ANSWER
    assert frame.decoded_answer(ID, around + PRINTED + around) == ANSWER


def test_a_terminal_may_have_changed_the_line_ends():
    assert frame.decoded_answer(ID, PRINTED.replace("\n", "\r\n")) == ANSWER


@pytest.mark.parametrize("end", range(len(PRINTED)))
def test_an_answer_that_was_cut_off_is_none(end):
    assert frame.decoded_answer(ID, PRINTED[:end]) is None


@pytest.mark.parametrize(
    "printed",
    [
        "",
        json.dumps(ANSWER),
        frame.encoded_answer(OTHER, ANSWER),
        PRINTED.replace("changed", "chan\nged"),
        f"\nslipway-answer {ID} 2\n[]\n",
        f"\nslipway-answer {ID} 2\n{{]\n",
        f"> slipway-answer {ID} 2\n{{}}\n",
    ],
)
def test_what_is_not_the_answer_to_this_request_is_none(printed):
    assert frame.decoded_answer(ID, printed) is None
