# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the ages of secrets."""

from __future__ import annotations

import doors
from safes import CANARY

MODULE = "slipway_secret_age_info"


def test_ages_are_told_for_people_programs_and_alerts(safehouse):
    safehouse.variables["secrets_rotation"] = {"pager": {"max_age_days": 30, "made_by": "hand"}}
    safehouse.ask("slipway_secret_store")
    safehouse.ask("slipway_secret", name="pager", fields={"key": CANARY})
    answer = safehouse.ask(MODULE)
    assert [(each["name"], each["state"]) for each in answer["ages"]] == [
        ("database/main", "missing"),
        ("pager", "fresh"),
    ]
    assert (answer["overdue"], answer["environment"], answer["changed"]) == ([], "development", False)
    assert "pager" in answer["table"]
    assert (
        'slipway_secret_max_age_seconds{environment="development",provider="local",secret="pager"} 2592000\n'
        in answer["metrics"]
    )
    assert CANARY not in str(answer)
    assert doors.undocumented(MODULE, answer) == set()
