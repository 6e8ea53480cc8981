# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion checklists: who ticked what, for which version."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.checklist import Checklist, Item

WHOLE = b"""
version: 1.4.0
items:
  - {id: model-card, text: The model card is written, by: j.doe, at: 2026-11-20}
  - {id: limits, text: The limits are reviewed, by: Jane Smith, at: "2026-11-20T18:50:00+05:30"}
  - {id: later, text: It is announced}
"""


def parse(data):
    return Checklist.parse(data)


def refusal(data):
    with pytest.raises(Refusal) as refused:
        parse(data)
    assert refused.value.reason == "checklist_invalid"
    return str(refused.value)


def test_a_checklist_says_who_ticked_what_and_when():
    assert parse(WHOLE) == Checklist(
        "1.4.0",
        (
            Item("model-card", "The model card is written", "j.doe", "2026-11-20"),
            Item("limits", "The limits are reviewed", "Jane Smith", "2026-11-20T13:20:00Z"),
            Item("later", "It is announced"),
        ),
    )
    assert parse(WHOLE).as_dict()["items"][2] == {"id": "later", "text": "It is announced", "by": None, "at": None}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-11-20", "2026-11-20"),
        ("'2026-11-20'", "2026-11-20"),
        ("2026-11-20T18:45:00Z", "2026-11-20T18:45:00Z"),
        ("2026-11-20 18:45:00 +01:00", "2026-11-20T17:45:00Z"),
        ("'2026-11-20T18:45:00Z'", "2026-11-20T18:45:00Z"),
        ("'2026-11-20T18:45:00.5-08:00'", "2026-11-21T02:45:00Z"),
    ],
)
def test_a_moment_is_a_date_or_a_time_with_its_zone(written, read):
    data = f"version: '1'\nitems: [{{id: a, text: A, by: me, at: {written}}}]".encode()
    assert parse(data).items[0].at == read


@pytest.mark.parametrize(
    "moment", ["yes", "2026", "today", "'2026-11-20T18:45:00'", "2026-11-20T18:45:00", "'2026-13-01'"]
)
def test_another_moment_is_refused(moment):
    assert "at: a date" in refusal(f"version: '1'\nitems: [{{id: a, text: A, by: me, at: {moment}}}]".encode())


@pytest.mark.parametrize(
    "data",
    [
        b"version: [",
        b"[]",
        b"version: '1'",
        b"version: '1'\nitems: []",
        b"version: '1'\nitems: {a: b}",
        b"version: 1.4\nitems: [{id: a, text: A}]",
        b"items: [{id: a, text: A}]",
        b"version: '1'\nitems: [{id: a, text: A}]\nowner: me",
        b"version: '1'\nitems: [a]",
        b"version: '1'\nitems: [{id: a}]",
        b"version: '1'\nitems: [{id: A b, text: A}]",
        b"version: '1'\nitems: [{id: a, text: A, ticked: true}]",
        b"version: '1'\nitems: [{id: a, text: A, by: me}]",
        b"version: '1'\nitems: [{id: a, text: A, at: 2026-11-20}]",
        b"version: '1'\nitems: [{id: a, text: A, by: '', at: 2026-11-20}]",
        b"version: '1'\nitems: [{id: a, text: A}, {id: a, text: B}]",
        b"version: '1'\nversion: '2'\nitems: [{id: a, text: A}]",
    ],
)
def test_a_checklist_of_another_form_is_refused(data):
    assert "docs/howto/a-release.md" in refusal(data)


def test_a_complete_checklist_for_the_version_is_accepted():
    Checklist("1.4.0", (Item("a", "A", "me", "2026-11-20"),)).require_complete("1.4.0")


def test_an_incomplete_checklist_is_refused_with_all_open_items():
    checklist = Checklist("1", (Item("a", "A"), Item("b", "B", "me", "2026-11-20"), Item("c", "C")))
    with pytest.raises(Refusal) as refused:
        checklist.require_complete("1")
    assert refused.value.reason == "checklist_incomplete"
    assert refused.value.found == "2 not ticked: a (A); c (C)"


@pytest.mark.parametrize(("version", "expected"), [("1.5.0", "version '1.5.0'"), (None, "states its version")])
def test_a_checklist_for_another_version_is_refused(version, expected):
    with pytest.raises(Refusal) as refused:
        parse(WHOLE).require_complete(version)
    assert refused.value.reason == "checklist_other_version"
    assert expected in refused.value.expected
