# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the encrypted store as a whole."""

from __future__ import annotations

import doors
from safes import CANARY

MODULE = "slipway_secret_store"


def test_a_store_is_made_filled_and_rekeyed(safehouse, tmp_path):
    (tmp_path / ".env").write_text(f"PAGER_KEY={CANARY}\n")
    assert safehouse.ask(MODULE, check=True)["changed"] is True
    assert not safehouse.store.exists()
    made = safehouse.ask(MODULE)
    assert (made["changed"], made["path"], made["key_path"]) == (True, str(safehouse.store), str(safehouse.key))
    assert safehouse.ask(MODULE)["changed"] is False
    filled = safehouse.ask(MODULE, state="filled", source=tmp_path / ".env")
    assert (filled["changed"], filled["names"]) == (True, ["pager"])
    assert CANARY not in str(filled)
    rekeyed = safehouse.ask(MODULE, state="rekeyed", new_key_path=tmp_path / "new")
    assert (rekeyed["changed"], rekeyed["key_path"]) == (True, str(tmp_path / "new"))
    assert safehouse.ask(MODULE)["reason"] == "secrets_key_wrong"
    assert safehouse.ask(MODULE, key_path=tmp_path / "new")["changed"] is False
    assert doors.undocumented(MODULE, {**made, **filled, **rekeyed}) == set()


def test_what_is_needed_is_asked_for(safehouse):
    for state, option in (("filled", "source"), ("rekeyed", "new_key_path")):
        refused = safehouse.ask(MODULE, state=state)
        assert (refused["reason"], refused["changed"]) == ("secret_option_missing", False)
        assert option in refused["expected"]


def test_a_chain_without_a_store_has_none_to_fill(safehouse, tmp_path):
    safehouse.variables["secrets_providers"] = {"aws": {"type": "aws", "region": "eu-1"}}
    safehouse.variables["secrets_chain"] = ["aws"]
    assert safehouse.ask(MODULE)["reason"] == "secret_store_undeclared"
