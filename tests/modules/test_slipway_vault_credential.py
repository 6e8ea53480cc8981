# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to secret ids: issued by an administrator, received by whoever logs in."""

from __future__ import annotations

import doors
import pytest
from safehouse import VAULT_OWN
from safes import CANARY


def test_a_secret_id_goes_from_hand_to_hand_and_into_its_place(vault_house, tmp_path, memory):
    vault_house.ask("slipway_vault_access", **vault_house.administrator)
    parcel = memory / "parcel.json"
    issued = {"role": "deployer", "output": parcel, **vault_house.administrator}
    assert vault_house.ask("slipway_vault_credential", check=True, **issued)["changed"]
    assert not parcel.exists()
    made = vault_house.ask("slipway_vault_credential", **issued)
    assert (made["role"], made["path"]) == ("deployer", str(parcel))
    received = {"state": "received", "source": parcel, **vault_house.own}
    assert vault_house.ask("slipway_vault_credential", check=True, **received)["role"] is None
    taken = vault_house.ask("slipway_vault_credential", **received)
    assert (taken["role"], taken["path"]) == ("deployer", str(tmp_path / "id/secret-id"))
    assert doors.undocumented("slipway_vault_credential", {**made, **taken}) == set()
    assert vault_house.ask("slipway_secret", name="database/main", state="exported", output=tmp_path / "value")[
        "changed"
    ]
    assert (tmp_path / "value").read_text() == CANARY


@pytest.mark.parametrize(("module", "options", "reason"), [
    ("slipway_vault_credential", {**VAULT_OWN, "output": "/dev/shm/x"}, "vault_option_missing"),
    ("slipway_vault_credential", {**VAULT_OWN, "role": "deployer"}, "vault_option_missing"),
    ("slipway_vault_credential", {**VAULT_OWN, "state": "received"}, "vault_option_missing"),
])  # fmt: skip
def test_what_is_missing_is_asked_for(vault_house, module, options, reason):
    assert vault_house.ask(module, **options)["reason"] == reason


def test_a_provider_that_has_no_place_for_a_secret_id_gets_none(vault_house, real_vault, memory):
    vault_house.variables["secrets_providers"]["vault"] = {
        "type": "vault", "url": real_vault.url, "auth": "token", "token_path": str(memory / "token"),
    }  # fmt: skip
    refused = vault_house.ask("slipway_vault_credential", state="received", source=memory / "parcel", **VAULT_OWN)
    assert refused["reason"] == "vault_secret_id_path_missing"
