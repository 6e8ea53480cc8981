# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and accesses as people read them: names, never values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..base.table import table
from ..trust.chain import Record
from .keeper import Listed
from .vault_access import Change


def listed(found: Sequence[Listed]) -> list[dict[str, Any]]:
    """[{name, provider (null where it is missing), type, version, description}], as they were listed."""
    return [
        {
            "name": each.entry.name, "provider": each.provider, "type": each.entry.kind, "version": each.entry.version or None,
            "description": each.entry.description,
        }
        for each in found
    ]  # fmt: skip


def secrets_table(found: Sequence[Listed]) -> str:
    """The same as a table."""
    rows = [
        (each.entry.name, each.provider or "MISSING", each.entry.kind or "-", each.entry.version or "-", each.entry.description)
        for each in found
    ]  # fmt: skip
    return table(("NAME", "PROVIDER", "TYPE", "VERSION", "WHAT FOR"), rows) if rows else "no secrets"


def accesses_table(records: Sequence[Record]) -> str:
    """Who asked for what, a line for each access."""
    rows = [
        (
            each["timestamp"], each["by"], each["operation"], each["name"] + (f" {each['field']}" if each["field"] else ""), each["host"] or "-",
            ("cache of " if each["cached"] else "") + (each["provider"] or "-"), each["version"] or "-",
            each["outcome"] + (f": {each['reason']}" if each["reason"] else ""), each["run_id"],
        )
        for each in records
    ]  # fmt: skip
    head = ("WHEN", "WHO", "DID", "NAME AND FIELD", "HOST", "PROVIDER", "VERSION", "OUTCOME", "RUN")
    return table(head, rows) if rows else "no accesses"


def vault_table(changes: Sequence[Change]) -> str:
    """What is done at a Vault, or would be."""
    return (
        table(("DO", "WHAT", "NAME"), [(each.action, each.kind, each.name) for each in changes])
        if changes
        else "nothing to do"
    )


def vault_difference(change: Change) -> dict[str, str]:
    """A change as Ansible shows it with --diff."""
    title = f"{change.kind} {change.name}"
    return {
        "before_header": title, "after_header": title, "before": _as_text(change.before), "after": _as_text(change.after),
    }  # fmt: skip


def _as_text(said: object) -> str:
    text = "" if said is None else said if isinstance(said, str) else json.dumps(said, indent=2, sort_keys=True)
    return f"{text}\n" if text else ""
