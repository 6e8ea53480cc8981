# SPDX-License-Identifier: GPL-3.0-or-later
"""The promotion checklist: what people must have done before a version is promoted, and who ticked what.

    version: 1.4.0               the version that it was ticked for
    items:
      - {id: model-card, text: The model card is written, by: j.doe, at: 2026-11-20}
      - {id: limits, text: The limits are reviewed}          not ticked yet

`at` is a date, or a time as RFC 3339 writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from ..base.clock import timestamp
from ..base.errors import Refusal, shown
from ..base.fields import NAME, ONE_LINE, VERSION, Fields
from ..trust.members import parse_yaml

MAX_CHECKLIST_BYTES: Final = 1 << 20
MAX_ITEMS: Final = 1000
_WHAT: Final = "promotion checklist"
_REASON: Final = "checklist_invalid"
_REMEDY: Final = "Correct the checklist (docs/howto/a-release.md), and make the audit again."


@dataclass(frozen=True)
class Item:
    """One thing to do; ticked when it says by whom and when."""

    id: str
    text: str
    by: str | None = None
    at: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the item as audit.json has it."""
        return {"at": self.at, "by": self.by, "id": self.id, "text": self.text}


@dataclass(frozen=True)
class Checklist:
    """A checklist as it is, complete or not."""

    version: str
    items: tuple[Item, ...]

    @classmethod
    def parse(cls, data: bytes) -> Checklist:
        """Read a checklist strictly, or raise Refusal("checklist_invalid")."""
        try:
            document = parse_yaml(data)
        except (ValueError, RecursionError) as error:
            raise Refusal(_REASON, expected=f"{_WHAT}: YAML", found=_one_line(error), remedy=_REMEDY) from None
        fields = Fields(document, _WHAT, _REASON, _REMEDY)
        checklist = cls(
            version=fields.text("version", VERSION), items=_items(fields.objects("items", maximum=MAX_ITEMS))
        )
        if not checklist.items:
            raise fields.refusal("items", "at least one item", [])
        fields.end()
        return checklist

    def as_dict(self) -> dict[str, Any]:
        """Return {"items", "version"}."""
        return {"items": [item.as_dict() for item in self.items], "version": self.version}

    def require_complete(self, version: str | None) -> None:
        """Refuse a checklist for another version than `version`, and one with open items, which are all named."""
        if self.version != version:
            raise Refusal(
                "checklist_other_version",
                expected=f"a checklist that was ticked for version {shown(version)}"
                if version
                else "a source that states its version, for a checklist to be ticked for",
                found=f"one for {shown(self.version)}",
                remedy="Go through the checklist for this version, then make the audit again.",
            )
        still_open = [item for item in self.items if item.by is None]
        if still_open:
            raise Refusal(
                "checklist_incomplete",
                expected=f"all {len(self.items)} items of the promotion checklist ticked",
                found=f"{len(still_open)} not ticked: " + "; ".join(f"{item.id} ({item.text})" for item in still_open),
                remedy="Do what they say, write by and at to each, then make the audit again.",
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _items(fields: Sequence[Fields]) -> tuple[Item, ...]:
    items: list[Item] = []
    for each in fields:
        item = Item(
            id=each.text("id", NAME),
            text=each.text("text", ONE_LINE),
            by=each.text("by", ONE_LINE) if "by" in each else None,
            at=_moment(each) if "at" in each else None,
        )
        if (item.by is None) != (item.at is None):
            raise each.refusal("by", "both by and at, or neither", item.by)
        if any(item.id == other.id for other in items):
            raise each.refusal("id", "each id once", item.id)
        each.end()
        items.append(item)
    return tuple(items)


def _moment(fields: Fields) -> str:
    """A date as it is, a time in UTC; YAML makes dates and times of texts that look like one."""
    value = fields.take("at")
    refusal = fields.refusal("at", "a date like 2026-11-20, or a time with its zone like 2026-11-20T18:45:00Z", value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) and len(value) > 10 else value
        moment = date.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        raise refusal from None
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise refusal
        return timestamp(int(moment.astimezone(UTC).timestamp()))
    if not isinstance(moment, date):
        raise refusal
    return moment.isoformat()
