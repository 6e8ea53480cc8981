# SPDX-License-Identifier: GPL-3.0-or-later
"""Who the holders of keys are, for people: names and addresses by holder id. Controller only.

Signed documents and hosts know ids alone. So an entry can be corrected or erased at any time, and only what is shown changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..base.fields import NAME, ONE_LINE, Fields

MAX_HOLDERS: Final = 10_000
ADDRESS: Final = re.compile(r"[^\x00-\x20\x7f-\xa0\u2028-\u202e\u2066-\u2069<>@,;]{1,64}@[A-Za-z0-9.-]{1,190}\Z")


@dataclass(frozen=True)
class Person:
    """Whom a holder id stands for."""

    name: str
    email: str


@dataclass(frozen=True)
class Holders:
    """The people behind holder ids; whoever is not here is shown by the id alone."""

    people: Mapping[str, Person] = field(default_factory=dict)

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> Holders:
        """Read `{id: {name, email}}` (group_vars/all/holders.yml); anything else is refused (`holders_invalid`)."""
        remedy = "Correct trust_holders (group_vars/all/holders.yml)."
        fields = Fields({"trust_holders": dict(description)}, "variables", "holders_invalid", remedy)
        people: dict[str, Person] = {}
        for holder, entry in fields.table("trust_holders", NAME, maximum=MAX_HOLDERS).items():
            people[holder] = Person(entry.text("name", ONE_LINE), entry.text("email", ADDRESS))
            entry.end()
        return cls(people)

    def named(self, holder: str) -> str:
        """Return "Name <address>", or the id of somebody who is not here."""
        person = self.people.get(holder)
        return f"{person.name} <{person.email}>" if person else holder

    def acting(self, holder: str, role: str) -> str:
        """Return "Name <address>, role"."""
        return f"{self.named(holder)}, {role}"

    def entry(self, holder: str) -> dict[str, str]:
        """Return {name, email}, nothing for somebody who is not here."""
        person = self.people.get(holder)
        return {"name": person.name, "email": person.email} if person else {}
