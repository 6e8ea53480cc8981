# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to policies and AppRoles of a Vault."""

from __future__ import annotations

import doors
import pytest
from safehouse import VAULT_OWN, VAULT_ROLES


def test_what_would_be_changed_is_shown_then_done_once_and_what_is_left_over_is_kept_until_asked(vault_house):
    as_administrator = vault_house.administrator
    planned = vault_house.ask("slipway_vault_access", check=True, **as_administrator)
    assert planned["changed"]
    assert planned["diff"][0]["before"] == ""
    assert '"shop/data' not in planned["diff"][0]["after"]
    assert "secret/data/shop/database/main" in planned["diff"][0]["after"]
    done = vault_house.ask("slipway_vault_access", **as_administrator)
    assert done["changes"] == planned["changes"]
    assert doors.undocumented("slipway_vault_access", done) == set()
    again = vault_house.ask("slipway_vault_access", **as_administrator)
    assert (again["changed"], again["table"], again["left_over"]) == (False, "nothing to do", [])

    fewer = {**as_administrator, "roles": {"emergency": VAULT_ROLES["emergency"]}}
    kept = vault_house.ask("slipway_vault_access", **fewer)
    assert (kept["changed"], kept["left_over"]) == (False, [f"{vault_house.own['owner']}-deployer"])
    for check, changed in ((True, True), (False, True), (False, False)):
        removed = vault_house.ask("slipway_vault_access", check=check, leftovers="removed", **fewer)
        assert (removed["changed"], removed["left_over"]) == (changed, [])


@pytest.mark.parametrize(("module", "options", "reason"), [
    ("slipway_vault_access", {"provider": "other", **VAULT_OWN}, "vault_provider_missing"),
    ("slipway_vault_access", {**VAULT_OWN, "owner": "No"}, "vault_roles_invalid"),
])  # fmt: skip
def test_what_is_missing_is_asked_for(vault_house, module, options, reason):
    assert vault_house.ask(module, **options)["reason"] == reason
