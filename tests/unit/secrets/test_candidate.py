# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in the place of a candidate: values, and whose they are."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.secrets.candidate import (
    Candidate,
    candidate,
    candidate_of,
    is_of,
    rotation_in,
    taken,
    values_in,
)
from ansible.module_utils.slipway.secrets.secret import FIELD, Secret
from safes import CANARY

NAME, FIELDS = "database/main", {"password": CANARY}


def test_whose_it_is_stands_beside_the_values_where_no_field_can_stand():
    made = candidate(NAME, "rotation_1", FIELDS, "database", "2")
    assert (made.name, made.version, rotation_in(made), values_in(made)) == (
        candidate_of(NAME),
        "2",
        "rotation_1",
        FIELDS,
    )
    assert not any(FIELD.match(name) for name in set(made.fields) - set(FIELDS))
    assert values_in(candidate(NAME, "rotation_1", {})) == {}
    assert [is_of(each, "rotation_1") for each in (made, candidate(NAME, "rotation_2", FIELDS), None)] == [
        True,
        False,
        False,
    ]


def test_it_is_opened_as_the_secret_that_it_will_be():
    ours = Candidate("4", "rotation_1")
    made = candidate(NAME, "rotation_1", FIELDS, "database", "2")
    assert ours.opened(NAME, "vault", made) == Secret(NAME, FIELDS, "database", version="4")
    assert ours.opened(NAME, "vault", candidate(NAME, "rotation_1", FIELDS)).kind is None


@pytest.mark.parametrize(("found", "said"), [
    (candidate(NAME, "rotation_2", FIELDS), "that of rotation_2, which is not the rotation of this run"),
    (Secret(candidate_of(NAME), FIELDS), "that of nobody knows whom, which is not the rotation of this run"),
])  # fmt: skip
def test_that_of_another_rotation_stays_closed(found, said):
    with pytest.raises(Refusal) as refusal:
        Candidate("4", "rotation_1").opened(NAME, "vault", found)
    assert (refusal.value.reason, refusal.value.found) == ("rotation_elsewhere", said)
    assert CANARY not in str(refusal.value)


def test_that_there_is_none_is_said():
    assert taken(NAME, "vault", None).found == "none: somebody has removed it"
