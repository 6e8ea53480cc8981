# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the list of secrets."""

from __future__ import annotations

import doors
from safes import CANARY

MODULE = "slipway_secret_info"


def test_names_are_listed_with_what_is_missing_and_without_values(safehouse):
    safehouse.ask("slipway_secret_store")
    safehouse.ask("slipway_secret", name="pager", fields={"key": CANARY})
    answer = safehouse.ask(MODULE)
    assert [(each["name"], each["provider"]) for each in answer["secrets"]] == [
        ("database/main", None),
        ("pager", "local"),
    ]
    assert "database/main  MISSING" in answer["table"]
    assert "DATABASE_MAIN_PASSWORD=\n" in answer["example"]
    assert CANARY not in str(answer)
    assert answer["changed"] is False
    assert doors.undocumented(MODULE, answer) == set()


def test_what_a_secret_must_have_is_said_without_asking_anybody(safehouse):
    assert safehouse.ask(MODULE, name="pager")["fields"] == ["key"]
    assert safehouse.ask(MODULE, name="other")["fields"] == ["value"]
    assert safehouse.ask(MODULE, name="other", type="jwt")["fields"] == ["secret"]
    assert len(safehouse.ask(MODULE, declared_only=True)["secrets"]) == 2
    assert safehouse.ask(MODULE)["reason"] == "secret_store_missing"
    assert safehouse.ask(MODULE, name="../x")["reason"] == "secret_name_invalid"


def test_without_a_terminal_nobody_types_what_a_secret_must_have(safehouse):
    refused = safehouse.ask(MODULE, name="pager", is_typed=True)
    assert refused["reason"] == "nobody_to_ask"
    assert "FILE=" in refused["remedy"]
