# SPDX-License-Identifier: GPL-3.0-or-later
"""What group_vars may say of how secrets are renewed."""

from __future__ import annotations

import pytest
from ansible.module_utils.slipway.base.errors import Refusal
from ansible.module_utils.slipway.base.fields import Fields
from ansible.module_utils.slipway.secrets.env_file import Declared
from ansible.module_utils.slipway.secrets.rotation_policy import Recipe, policy_of, rotation_policies

DECLARED = [Declared("database/main", "database"), Declared("pager", "api_key"), Declared("key", "encryption_key")]
DAY = 86400


def policies(**table):
    return rotation_policies(Fields(table, "secrets_rotation", "x"), DECLARED)


def refused(about, name="session"):
    with pytest.raises(Refusal) as refusal:
        policies(**{name: about})
    return refusal.value


def test_what_is_made_follows_from_the_kind_where_nothing_else_is_said():
    database, key, session = policies(**{
        "session": {"max_age_days": 30}, "database/main": {"max_age_days": 1}, "key": {"max_age_days": 90, "old": "kept"},
    })  # fmt: skip
    assert (database.made_by, database.max_age_seconds, dict(database.recipes)) == (
        "generated",
        DAY,
        {"password": Recipe()},
    )
    assert dict(key.recipes) == {"key": Recipe(size=32)}
    assert (key.old, session.old) == ("kept", "deleted")
    assert dict(session.recipes) == {"value": Recipe()}
    assert session.applications == ()


def test_all_of_it_may_be_said():
    (made,) = policies(
        **{
            "database/main": {
                "max_age_days": 7,
                "fields": {"password": {"length": 40, "alphabet": "hexadecimal"}, "pepper": {"bytes": 16}},
            }
        }
    )
    assert dict(made.recipes) == {"password": Recipe(40, "hexadecimal"), "pepper": Recipe(size=16)}
    (static,) = policies(
        **{
            "database/main": {
                "max_age_days": 7,
                "made_by": "database_static",
                "mount": "/db/",
                "roles": ["a", "b"],
                "applications": ["shop", "worker"],
            }
        }
    )
    assert (static.mount, static.roles, static.applications) == ("db", ("a", "b"), ("shop", "worker"))
    (dynamic,) = policies(reports={"max_age_days": 7, "made_by": "database_dynamic", "roles": ["reports"]})
    assert (dynamic.mount, dynamic.roles) == ("database", ("reports",))
    (hand,) = policies(pager={"max_age_days": 365, "made_by": "hand", "old": "destroyed"})
    assert (hand.made_by, hand.old) == ("hand", "destroyed")


@pytest.mark.parametrize("about", [
    {}, {"max_age_days": 0}, {"max_age_days": 3651}, {"max_age_days": "30"}, {"max_age_days": 1, "made_by": "magic"}, {"max_age_days": 1, "old": "revoked"},
    {"max_age_days": 1, "fields": {}}, {"max_age_days": 1, "fields": {"A": {}}}, {"max_age_days": 1, "fields": {"a": {"length": 8}}},
    {"max_age_days": 1, "fields": {"a": {"bytes": 8}}}, {"max_age_days": 1, "fields": {"a": {"alphabet": "abc"}}}, {"max_age_days": 1, "fields": {"a": {"value": "x"}}},
    {"max_age_days": 1, "made_by": "database_static", "roles": ["one"]}, {"max_age_days": 1, "made_by": "database_static", "roles": ["one", "one"]},
    {"max_age_days": 1, "made_by": "database_dynamic", "roles": ["a", "b"]}, {"max_age_days": 1, "made_by": "database_dynamic"}, {"max_age_days": 1, "roles": ["a"]},
    {"max_age_days": 1, "made_by": "database_dynamic", "roles": ["a/../b"]}, {"max_age_days": 1, "applications": ["Shop"]}, {"max_age_days": 1, "applications": ["a", "a"]},
    {"max_age_days": 1, "applications": [1]}, {"max_age_days": 1, "value": "x"},
])  # fmt: skip
def test_what_makes_no_sense_is_refused(about):
    assert refused(about).reason == "x"


def test_what_others_issue_is_not_generated():
    assert "hand" in str(refused({"max_age_days": 1}, "pager"))


def test_one_static_role_leaves_no_time_to_hand_it_out():
    refusal = refused({"max_age_days": 1, "made_by": "database_static", "roles": ["one"]})
    assert "one stays valid while hosts get the other one" in refusal.expected


def test_a_name_must_be_one_of_a_secret():
    refused({"max_age_days": 1}, "../other")


def test_it_is_due_before_it_is_overdue():
    (policy,) = policies(session={"max_age_days": 10})
    assert [(policy.is_due(age), policy.is_overdue(age)) for age in (None, 0, 9 * DAY - 1, 9 * DAY, 10 * DAY, 10 * DAY + 1)] == [
        (False, False), (False, False), (False, False), (True, False), (True, False), (True, True),
    ]  # fmt: skip


def test_a_secret_without_a_policy_is_not_rotated():
    with pytest.raises(Refusal) as refusal:
        policy_of(policies(session={"max_age_days": 1}), "other")
    assert (refusal.value.reason, refusal.value.found) == ("rotation_undeclared", "session")
    assert policy_of(policies(session={"max_age_days": 1}), "session").name == "session"
