# SPDX-License-Identifier: GPL-3.0-or-later
"""Two halves of a word: together they are it, alone each is noise, and what does not belong together is told."""

from __future__ import annotations

import dataclasses
import json

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets import halves

WORD = "3f09ab12-75cc-4b6c-9d0e-2f8a4d1c7e55"
ABOUT = {"seal": "2026-11-22T00:00:00Z-1", "provider": "vault"}


def refused(call, reason):
    with pytest.raises(Refusal) as refusal:
        call()
    assert refusal.value.reason == reason
    assert WORD not in str(refusal.value)


def test_both_halves_are_the_word_in_either_order(tmp_path):
    for number, half in enumerate(halves.split(WORD, ABOUT)):
        (tmp_path / str(number)).write_bytes(half.encoded())
        assert WORD.encode() not in half.encoded()
        assert WORD.encode().hex().encode() not in half.encoded()
    first, second = (halves.read(tmp_path / str(number)) for number in range(2))
    assert halves.joined(first, second) == halves.joined(second, first) == WORD
    assert first.data.hex() not in repr(first)


def test_a_half_is_another_one_each_time_and_every_bit_of_it_is_either():
    """With one half any word is as likely as any other: over many seals each bit of a half is set about half of the time."""
    number = 4000
    made = [half.data for _ in range(number // 2) for half in halves.split(WORD, ABOUT)]
    assert len(set(made)) == number
    for bit in range(len(WORD) * 8):
        ones = sum(data[bit // 8] >> bit % 8 & 1 for data in made)
        assert abs(ones - number / 2) < number / 10, bit  # 12 standard deviations


def test_halves_that_do_not_belong_together_are_refused():
    first, second = halves.split(WORD, ABOUT)
    other, _ = halves.split(WORD, {**ABOUT, "seal": "2026-11-23T00:00:00Z-2"})
    forged = dataclasses.replace(second, data=bytes([second.data[0] ^ 1]) + second.data[1:])
    longer = dataclasses.replace(second, data=second.data + b"x")
    renamed = dataclasses.replace(first, side="second")
    readdressed = dataclasses.replace(second, about={**ABOUT, "provider": "another"})
    same_seal, _ = halves.split(f"{WORD[:-1]}6", ABOUT)
    for one, two in (
        (first, first),
        (first, renamed),
        (other, second),
        (first, forged),
        (first, readdressed),
        (first, longer),
        (same_seal, second),
    ):
        refused(lambda one=one, two=two: halves.joined(one, two), "break_glass_halves_unlike")


@pytest.mark.parametrize("change", [
    None, b"", b"{", b"[]", {"format": 2}, {"side": "third"}, {"half": "xx"}, {"half": 7}, {"check": 1}, {"seal": 7}, {"half": None},
])  # fmt: skip
def test_what_is_no_half_is_refused(tmp_path, change):
    path = tmp_path / "half"
    if isinstance(change, dict):
        document = {**json.loads(halves.split(WORD, ABOUT)[0].encoded()), **change}
        path.write_text(json.dumps(document))
    elif change is not None:
        path.write_bytes(change)
    refused(lambda: halves.read(path), "break_glass_half_invalid")
