# SPDX-License-Identifier: GPL-3.0-or-later
"""How secrets are renewed, as ``secrets_rotation`` says: who makes the next value, how old it may get, what becomes of the old one.

A secret that is not in it is never rotated by Slipway, and never overdue.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..base.errors import Refusal
from ..base.fields import NAME as APPLICATION
from ..base.fields import Fields
from .env_file import Declared
from .secret import FIELD, MAX_FIELDS, NAME

GENERATED: Final = "generated"
DYNAMIC: Final = "database_dynamic"
STATIC: Final = "database_static"
BY_HAND: Final = "hand"
MAKERS: Final = (GENERATED, DYNAMIC, STATIC, BY_HAND)
OLD_VERSIONS: Final = ("deleted", "destroyed", "kept")
DAY: Final = 86400
LONGEST_DAYS: Final = 3650
LEAST_BITS: Final = 128
MAX_LENGTH: Final = 1024
# A secret is due when so much of its time is over, so that a daily timer is there before the alert.
DUE_SHARE: Final = 0.9
ALPHABETS: Final[Mapping[str, str]] = {
    "letters_and_digits": string.ascii_letters + string.digits,
    "hexadecimal": "0123456789abcdef",
    "url_safe": string.ascii_letters + string.digits + "-_",
    "printable": string.ascii_letters
    + string.digits
    + "!#%()*+,-./:;<=>?@[]^_{|}~",  # nothing that a shell or a quote eats
}
_MOUNT: Final = re.compile(r"[\w./-]{1,128}\Z")
_ROLE: Final = re.compile(r"[\w.-]{1,128}\Z")
_WORD: Final = re.compile(r"[a-z_]{1,32}\Z")


@dataclass(frozen=True)
class Recipe:
    """How a field is made: ``length`` characters of an alphabet, or ``size`` bytes as base64 where that is not 0."""

    length: int = 32
    alphabet: str = "letters_and_digits"
    size: int = 0

    @property
    def bits(self) -> float:
        """How much there is to guess."""
        return self.size * 8 if self.size else self.length * math.log2(len(ALPHABETS[self.alphabet]))


# What is made anew of a secret of a kind where nothing else is said. What others issue (s3, broker, api_key), nobody here can make.
RECIPES: Final[Mapping[str | None, Mapping[str, Recipe]]] = {
    "database": {"password": Recipe()},
    "encryption_key": {"key": Recipe(size=32)},
    "jwt": {"secret": Recipe(64)},
    None: {"value": Recipe()},
}


@dataclass(frozen=True)
class RotationPolicy:
    """How one secret is renewed.

    ``made_by``: generated (here, by ``recipes`` for each field), database_dynamic (new credentials of the one role of Vault's database engine), database_static
    (two roles of it, of which one is in use and the other gets a new password), hand (somebody brings the fields).
    ``applications`` are all that read it, empty for the one that is rotated with; ``old`` is what becomes of the version before.
    """

    name: str
    max_age_seconds: int
    made_by: str = GENERATED
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    applications: tuple[str, ...] = ()
    old: str = "deleted"
    mount: str = "database"
    roles: tuple[str, ...] = ()

    def is_due(self, age_seconds: int | None) -> bool:
        """Whether it is time, for a timer that asks once a day; of an age that nobody knows, nobody can tell."""
        return age_seconds is not None and age_seconds >= self.max_age_seconds * DUE_SHARE

    def is_overdue(self, age_seconds: int | None) -> bool:
        return age_seconds is not None and age_seconds > self.max_age_seconds


def rotation_policies(table: Fields, declared: Sequence[Declared]) -> tuple[RotationPolicy, ...]:
    """Read ``secrets_rotation``: {name: {max_age_days, made_by, fields, applications, old, mount, roles}}, sorted by name."""
    kinds = {each.name: each.kind for each in declared}
    return tuple(
        _policy(name, table.object(name), kinds.get(name)) for name in table.keys_like(NAME, maximum=1000)
    )  # fmt: skip


def _policy(name: str, about: Fields, kind: str | None) -> RotationPolicy:
    days = about.integer("max_age_days", minimum=1, maximum=LONGEST_DAYS)
    made_by = about.choice("made_by", *MAKERS) if "made_by" in about else GENERATED
    recipes = _recipes(about, kind) if made_by == GENERATED else {}
    mount = "database"
    roles: tuple[str, ...] = ()
    if made_by in (DYNAMIC, STATIC):
        mount = about.text("mount", _MOUNT).strip("/") if "mount" in about else mount
        roles = _roles(about, 1 if made_by == DYNAMIC else 2)
    policy = RotationPolicy(
        name, days * DAY, made_by, recipes, _applications(about),
        about.choice("old", *OLD_VERSIONS) if "old" in about else "deleted", mount, roles,
    )  # fmt: skip
    about.end()
    return policy


def _recipes(about: Fields, kind: str | None) -> Mapping[str, Recipe]:
    if "fields" not in about:
        if kind not in RECIPES:
            raise about.refusal("made_by", f"{BY_HAND}, since who gave out the {kind} makes it; or fields", GENERATED)
        return RECIPES[kind]
    table = about.object("fields")
    recipes = {name: _recipe(table.object(name)) for name in table.keys_like(FIELD, maximum=MAX_FIELDS)}
    if not recipes:
        raise about.refusal("fields", "at least one field that is made anew", recipes)
    return recipes


def _recipe(about: Fields) -> Recipe:
    if "bytes" in about:
        recipe = Recipe(size=about.integer("bytes", minimum=1, maximum=MAX_LENGTH))
    else:
        recipe = Recipe(
            about.integer("length", minimum=1, maximum=MAX_LENGTH) if "length" in about else Recipe.length,
            about.choice("alphabet", *ALPHABETS) if "alphabet" in about else Recipe.alphabet,
        )
    about.end()
    if recipe.bits < LEAST_BITS:
        raise about.refusal("", f"at least {LEAST_BITS} bits of chance", f"{recipe.bits:.0f}")
    return recipe


def _roles(about: Fields, count: int) -> tuple[str, ...]:
    roles = about.array("roles", maximum=2)
    if len(roles) != count or not all(isinstance(each, str) and _ROLE.match(each) for each in roles):
        what = "one role" if count == 1 else "two roles, so that one stays valid while hosts get the other one"
        raise about.refusal("roles", what, roles)
    if len(set(roles)) != count:
        raise about.refusal("roles", "two different roles", roles)
    return tuple(roles)


def _applications(about: Fields) -> tuple[str, ...]:
    given = about.array("applications", maximum=32) if "applications" in about else []
    if not all(isinstance(each, str) and APPLICATION.match(each) for each in given) or len(set(given)) != len(given):
        raise about.refusal("applications", "names of slipway_applications, each once", given)
    return tuple(given)


def policy_of(policies: Sequence[RotationPolicy], name: str) -> RotationPolicy:
    """The policy of a secret; Refusal ``rotation_undeclared`` where nobody said how it is renewed."""
    for policy in policies:
        if policy.name == name:
            return policy
    raise Refusal(
        "rotation_undeclared",
        expected=f"{name} in secrets_rotation",
        found=", ".join(policy.name for policy in policies) or "nothing",
        remedy="Say there who makes it and how old it may get; docs/howto/rotate-secrets.md has examples.",
    )
