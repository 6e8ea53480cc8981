# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the emergency access."""

from __future__ import annotations

import doors
import pytest


def test_the_emergency_access_is_sealed_opened_used_by_any_command_and_shut(vault_house, memory, tmp_path):
    vault_house.ask("slipway_vault_access", **vault_house.administrator)
    halves = {"first": memory / "first.json", "second": memory / "second.json", "reason": "the deployer is locked out"}
    assert (
        vault_house.ask("slipway_break_glass", check=True, state="sealed", **halves, **vault_house.administrator)[
            "seal"
        ]
        is None
    )
    sealed = vault_house.ask("slipway_break_glass", state="sealed", **halves, **vault_house.administrator)
    opened = vault_house.ask("slipway_break_glass", state="opened", directory=memory / "open", **halves)
    assert (opened["seal"], opened["minutes"], opened["variables"]) == (
        sealed["seal"],
        15,
        str(memory / "open/variables.json"),
    )
    assert doors.undocumented("slipway_break_glass", opened) == set()
    shut = vault_house.ask("slipway_break_glass", state="shut", directory=memory / "open")
    assert shut["seal"] == sealed["seal"]
    records = vault_house.ask("slipway_access_info", name="break-glass")["records"]
    assert [(each["operation"], each["outcome"]) for each in records] == [
        ("seal", "begun"), ("seal", "sealed"), ("open", "begun"), ("open", "opened"), ("shut", "begun"), ("shut", "shut"),
    ]  # fmt: skip


@pytest.mark.parametrize(("module", "options", "reason"), [
    ("slipway_break_glass", {"state": "opened"}, "break_glass_option_missing"),
    ("slipway_break_glass", {"state": "shut"}, "break_glass_option_missing"),
    ("slipway_break_glass", {"state": "shut", "directory": "/dev/shm/none"}, "break_glass_not_open"),
])  # fmt: skip
def test_what_is_missing_is_asked_for(vault_house, module, options, reason):
    assert vault_house.ask(module, **options)["reason"] == reason
