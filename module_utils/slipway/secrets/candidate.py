# SPDX-License-Identifier: GPL-3.0-or-later
"""The next version of a secret while only its rotation reads it: a secret of its own, in which stands whose it is.

The id of the rotation and the kind of the secret lie among its fields, under names that no field can have: so they are there at once with the
values, at every provider. One without values is a claim. It is made only where there is none, before anything else is made, so that of two
controllers which rotate the same secret one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..base.errors import Refusal
from .secret import Secret

# Below it lie all candidates; no other secret has such a name.
CANDIDATES: Final = "slipway-rotation"
ROTATION: Final = "slipway-rotation"
KIND: Final = "slipway-type"


def candidate_of(name: str) -> str:
    """Where the next version of a secret is until it is proven."""
    return f"{CANDIDATES}/{name}"


def candidate(
    name: str, rotation: str, fields: Mapping[str, str], kind: str | None = None, version: str = ""
) -> Secret:
    """What is kept there as the next version of ``name``, of the rotation with that id; without ``fields`` a claim."""
    about = {ROTATION: rotation, **({KIND: kind} if kind else {})}
    return Secret(candidate_of(name), {**fields, **about}, version=version)


def is_of(found: Secret | None, rotation: str) -> bool:
    """Whether what was found there is that rotation's."""
    return found is not None and rotation_in(found) == rotation


def rotation_in(found: Secret) -> str:
    """Whose it is; an empty text where that does not stand in it."""
    return found.fields.get(ROTATION, "")


def values_in(found: Secret) -> dict[str, str]:
    """The fields of the secret that it is the next version of; none in a claim."""
    return {name: value for name, value in found.fields.items() if name not in (ROTATION, KIND)}


def taken(name: str, label: str, found: Secret | None) -> Refusal:
    """For a rotation that does not find its own candidate there."""
    whose = "none: somebody has removed it"
    if found is not None:
        whose = f"that of {rotation_in(found) or 'nobody knows whom'}, which is not the rotation of this run"
    return Refusal(
        "rotation_elsewhere",
        expected=f"one rotation of {name} at a time, whose next version is at {label}",
        found=whose,
        remedy=(
            f"If another controller rotates it, wait for its end; the same command there goes on with what was left open. If there is none any more: "
            f"make secrets-rotate NAME={name} BACK=yes takes back what is there."
        ),
    )


@dataclass(frozen=True)
class Candidate:
    """What a run hands out of a secret that it rotates: what that version will be called, and the id of its rotation."""

    version: str
    rotation: str

    def opened(self, name: str, label: str, found: Secret) -> Secret:
        """The secret as it will be, from what was found at its place; Refusal ``rotation_elsewhere`` where that is another rotation's."""
        if not is_of(found, self.rotation):
            raise taken(name, label, found)
        return Secret(name, values_in(found), found.fields.get(KIND), version=self.version)
