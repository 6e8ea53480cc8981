# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and accesses as people read them."""

from __future__ import annotations

from ansible.module_utils.slipway.secrets.access_log import AccessLog, Caller
from ansible.module_utils.slipway.secrets.keeper import Listed
from ansible.module_utils.slipway.secrets.provider import Entry
from ansible.module_utils.slipway.secrets.secret_report import accesses_table, listed, secrets_table

FOUND = [Listed(Entry("database/main", "database", "The shop's", "3"), "vault"), Listed(Entry("pager"), None)]


def test_what_lacks_is_plain_to_see():
    assert secrets_table(FOUND).splitlines() == [
        "NAME           PROVIDER  TYPE      VERSION  WHAT FOR",
        "database/main  vault     database  3        The shop's",
        "pager          MISSING   -         -",
    ]
    assert secrets_table([]) == "no secrets"
    assert listed(FOUND)[1] == {"name": "pager", "provider": None, "type": None, "version": None, "description": ""}


def test_an_access_is_a_line(tmp_path, clock):
    log = AccessLog(tmp_path / "access.jsonl")
    caller = Caller("ann", "ansible-1", "prod", "prod-1")
    log.note(
        caller,
        clock,
        operation="read",
        name="a",
        outcome="read",
        field="password",
        provider="vault",
        version="3",
        cached=True,
    )
    log.note(
        Caller("ann", "ansible-1", "prod", ""),
        clock,
        operation="read",
        name="a",
        outcome="refused",
        reason="secret_denied",
    )
    head, first, second = accesses_table(log.found()).splitlines()
    assert "ann  read  a password      prod-1  cache of vault  3        read" in first
    assert "-               -        refused: secret_denied  ansible-1" in second
    assert head.startswith("WHEN ")
    assert accesses_table([]) == "no accesses"
