# SPDX-License-Identifier: GPL-3.0-or-later
"""The door to the access log."""

from __future__ import annotations

import doors
from safes import CANARY

MODULE = "slipway_access_info"


def test_who_had_what_is_found_by_name_person_and_time(safehouse):
    safehouse.variables["awx_user_name"] = "ann"
    safehouse.ask("slipway_secret_store")
    safehouse.ask("slipway_secret", name="pager", fields={"key": CANARY})
    safehouse.variables["awx_user_name"] = "bob"
    safehouse.ask("slipway_secret", name="pager", state="exported", output=safehouse.directory / "value")
    answer = safehouse.ask(MODULE, name="pager")
    assert [(each["by"], each["operation"], each["outcome"]) for each in answer["records"]] == [
        ("ann", "write", "begun"),
        ("ann", "write", "written"),
        ("bob", "read", "read"),
    ]
    assert [each["by"] for each in safehouse.ask(MODULE, by="bob")["records"]] == ["bob"]
    assert safehouse.ask(MODULE, since="2099-01-01T00:00:00Z")["table"] == "no accesses"
    assert safehouse.ask(MODULE, through="2001-01-01T00:00:00Z")["records"] == []
    assert safehouse.ask(MODULE, since="yesterday")["reason"] == "access_time_invalid"
    assert CANARY not in str(answer)
    assert doors.undocumented(MODULE, answer) == set()


def test_a_changed_line_shows(safehouse):
    safehouse.ask("slipway_secret_store")
    safehouse.ask("slipway_secret", name="pager", fields={"key": CANARY})
    log = safehouse.directory / "state/access.jsonl"
    log.write_bytes(log.read_bytes().replace(b"pager", b"other") + log.read_bytes())
    assert safehouse.ask(MODULE)["reason"] == "access_log_altered"
