# SPDX-License-Identifier: GPL-3.0-or-later
"""What one holder, in one role, says of one release: the in-toto Statement v1 that approvals and authorizations share.

Its only subject is `manifest`, by the digest of the release manifest's payload; so it says nothing of any other release.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..base import canonical
from ..base.clock import seconds_of
from ..base.errors import Refusal, shown
from ..base.fields import SHA256, Fields

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
SUBJECT: Final = "manifest"


def encode(predicate_type: str, manifest_digest: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the canonical payload; whoever makes one reads it back before it is signed."""
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": dict(predicate),
            "predicateType": predicate_type,
            "subject": [{"digest": {"sha256": manifest_digest}, "name": SUBJECT}],
        }
    )


def require_type(statement: Fields, predicate_type: str) -> None:
    """Refuse another type of statement, or a statement about something else."""
    for name, expected in (("_type", STATEMENT_TYPE), ("predicateType", predicate_type)):
        found = statement.take(name)
        if found != expected:
            raise Refusal(
                "statement_type",
                expected=f"{statement.where}.{name}: {expected}",
                found=shown(found),
                remedy="This is a document of another kind; give the right file.",
            )


def subject(statement: Fields) -> str:
    """Return the digest of the manifest, which is the one subject."""
    only = subjects_of(statement, f"the subject {SUBJECT}", 1)[0]
    only.choice("name", SUBJECT)
    sha256 = sha256_of(only)
    only.end()
    return sha256


def subjects_of(statement: Fields, expected: str, count: int) -> list[Fields]:
    """Return the subjects, which are `count`: a statement about less or more is another statement."""
    found = statement.take("subject")
    if not isinstance(found, list) or len(found) != count:
        raise Refusal(
            "statement_subject",
            expected=f"{statement.where}.subject: {expected}",
            found=shown(found),
            remedy=statement.remedy,
        )
    where = f"{statement.where}.subject"
    return [Fields(each, f"{where}[{i}]", statement.reason, statement.remedy) for i, each in enumerate(found)]


def sha256_of(subject: Fields) -> str:
    """Return the digest of a subject: one SHA-256 and nothing beside it, since readers choose differently among several."""
    found = subject.take("digest")
    sha256 = found.get("sha256") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(sha256, str) or not SHA256.match(sha256):
        raise Refusal(
            "digest_malformed",
            expected=f'{subject.where}.digest: {{"sha256": 64 lower-case hex digits}}',
            found=shown(found),
            remedy=subject.remedy,
        )
    return sha256


def lifetime(fields: Fields) -> tuple[str, str]:
    """Return `created` and `expires`, which is later."""
    created, expires = fields.time("created"), fields.time("expires")
    if seconds_of(expires) <= seconds_of(created):
        raise fields.refusal("expires", f"a time after {created}", expires)
    return created, expires
