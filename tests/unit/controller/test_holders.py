# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of holders are shown where there are any, and are nowhere else."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.controller.holders import Holders

LEAD = {"name": "Renée Müller", "email": "r.mueller+prod@example.org"}


def test_a_holder_is_shown_by_name_address_and_role():
    holders = Holders.parse({"lead": LEAD})
    assert holders.named("lead") == "Renée Müller <r.mueller+prod@example.org>"
    assert holders.acting("lead", "engineering-lead") == "Renée Müller <r.mueller+prod@example.org>, engineering-lead"
    assert holders.entry("lead") == LEAD


def test_who_is_not_there_or_not_any_more_is_shown_by_the_id():
    holders = Holders.parse({})
    assert holders.named("lead") == "lead"
    assert holders.acting("lead", "engineering-lead") == "lead, engineering-lead"
    assert holders.entry("lead") == {}
    assert Holders() == holders


@pytest.mark.parametrize(
    "description",
    [
        {"Lead": LEAD}, {"lead": {"name": "Renée"}}, {"lead": {**LEAD, "phone": "1"}}, {"lead": "Renée"}, {1: LEAD},
        {"lead": {**LEAD, "name": "two\nlines"}}, {"lead": {**LEAD, "name": "\u202eeult"}}, {"lead": {**LEAD, "name": ""}},
        {"lead": {**LEAD, "email": "no address"}}, {"lead": {**LEAD, "email": "a@b> <c@d"}}, {"lead": {**LEAD, "email": 5}},
    ],
)  # fmt: skip
def test_an_entry_that_is_wrong_is_refused(description):
    with pytest.raises(Refusal) as refusal:
        Holders.parse(description)
    assert refusal.value.reason == "holders_invalid"
    assert "group_vars/all/holders.yml" in refusal.value.remedy
